"""The store: rotation, faults of the disk, kills and damage; nothing is lost silently, nothing bad passes."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.io.faulty_files import PowerCut, Scripted, fails
from twin.io.files import Files
from twin.io.formats import open_capture
from twin.io.integrity import verify
from twin.io.manifest import seal_of, segments_of
from twin.io.seal import Signer
from twin.io.segments import CaptureWriter
from twin.io.settings import Store
from twin.model import Frame, Kind, Side

NOON_US = 1_795_000_000_000_000
STEP_NS = 251_000_000  # a little more than one group commit
CALL = '[2,"{0}","Heartbeat",{{}}]'
KEY = bytes(32)
SMALL = Store(segment_bytes=4_000)


def frame(seq: int) -> Frame:
    return Frame(
        seq=seq,
        at_us=NOON_US + seq,
        link="c1",
        station="CP7",
        kind=Kind.TEXT,
        sender=Side.STATION,
        text=CALL.format(seq),
    )


def writer_of(
    folder: Path, *, policy: Store = SMALL, files: Files | None = None, resume: bool = False, key: bytes = KEY
) -> CaptureWriter:
    return CaptureWriter(
        folder / "c",
        created_us=NOON_US,
        vantage="proxy",
        policy=policy,
        files=files,
        signer=Signer(key),
        resume=resume,
    )


class Run:
    """A recorder in small: numbers frames, keeps those the store refused apart, commits when told."""

    def __init__(self, writer: CaptureWriter) -> None:
        self.writer = writer
        self.seq = writer.recovered.last_seq if writer.recovered else 0
        self.now_ns = 0
        self.refused = 0
        self.acknowledged = self.seq

    def say(self, frames: int = 1) -> None:
        for _ in range(frames):
            if self.writer.write(frame(self.seq + 1)):
                self.seq += 1
            else:
                self.refused += 1

    def commit(self) -> bool:
        self.now_ns += STEP_NS
        done = self.writer.commit(self.now_ns)
        if done:
            self.acknowledged = self.seq
        return done

    def close(self) -> list[Frame]:
        return self.writer.close(NOON_US)


def seqs(folder: Path) -> list[int]:
    reading = open_capture(folder / "c")
    return [seen.seq for seen in reading.frames]


def sound(folder: Path) -> bool:
    return not verify(folder / "c").problems


@pytest.mark.parametrize("compress", [False, True])
def test_segments_follow_one_another_and_are_sealed(tmp_path: Path, compress: bool) -> None:
    run = Run(writer_of(tmp_path, policy=replace(SMALL, compress=compress)))
    for _ in range(30):
        run.say()
        run.commit()
    assert run.close() == []
    held = segments_of(tmp_path / "c")
    assert len(held) > 2
    assert {path.suffix for path in held} == {".zst" if compress else ".jsonl"}
    assert all(seal_of(path).exists() for path in held)
    assert seqs(tmp_path) == list(range(1, 31))
    verdict = verify(tmp_path / "c")
    assert (verdict.problems, verdict.sealed_to_seq, verdict.lines) == ([], 30, 30)


def test_a_segment_is_also_closed_by_time_and_on_request(tmp_path: Path) -> None:
    run = Run(writer_of(tmp_path, policy=Store(segment_s=10)))
    for _ in range(100):
        run.say()
        run.commit()
    by_time = len(segments_of(tmp_path / "c"))
    run.writer.rotate(run.now_ns)
    run.say()
    run.close()
    assert by_time == 3
    assert len(segments_of(tmp_path / "c")) == 4
    assert sound(tmp_path)


def test_a_sealed_segment_can_be_copied_away_while_recording_goes_on(tmp_path: Path) -> None:
    run = Run(writer_of(tmp_path))
    away = tmp_path / "away" / "c"
    away.mkdir(parents=True)
    copied: dict[str, bytes] = {}
    for _ in range(40):
        run.say()
        run.commit()
        for seal in sorted((tmp_path / "c").glob("*.seal")):
            segment = seal.with_suffix(".jsonl")
            for path in (seal, segment):
                data = path.read_bytes()
                assert copied.setdefault(path.name, data) == data  # once sealed it never changes
                (away / path.name).write_bytes(data)
    run.close()
    assert len(copied) > 4
    problems = {problem.what for problem in verify(away).problems}
    assert problems == {"is missing"}  # the manifest stayed behind; the segments and their seals are sound


# ---- quota


def test_at_the_quota_the_oldest_segment_goes_and_is_told_of(tmp_path: Path) -> None:
    run = Run(writer_of(tmp_path, policy=Store(segment_bytes=2_000, quota_bytes=9_000)))
    for _ in range(100):
        run.say()
        run.commit()
    run.close()
    held = seqs(tmp_path)
    assert held == list(range(held[0], 101))
    assert held[0] > 20
    assert sum(path.stat().st_size for path in segments_of(tmp_path / "c")) <= 9_000
    verdict = verify(tmp_path / "c")
    assert verdict.problems == []
    assert any("removed for the quota" in note for note in verdict.notes)
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_bytes())
    assert sum(entry["lines"] for entry in manifest["segments"]) == 100


def test_at_the_quota_recording_may_stop_instead(tmp_path: Path) -> None:
    run = Run(writer_of(tmp_path, policy=Store(quota_bytes=5_000, on_quota="stop")))
    for _ in range(100):
        run.say()
        run.commit()
    assert run.writer.problem == "quota"
    assert run.refused > 50
    assert run.seq + run.refused == 100
    run.close()
    assert seqs(tmp_path) == list(range(1, run.seq + 1))
    assert sound(tmp_path)


# ---- disk


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE])
def test_a_disk_that_comes_back_has_lost_nothing_that_was_accepted(tmp_path: Path, code: int) -> None:
    out = [False]

    def at(number: int, name: str) -> None:
        if out[0] and name != "is_at":
            raise OSError(code, os.strerror(code))

    run = Run(writer_of(tmp_path, files=Scripted(at)))
    run.say(5)
    assert run.commit()
    out[0] = True
    run.say(5)
    assert not run.commit()
    assert run.writer.problem == f"disk: {os.strerror(code)}"
    run.say(5)
    out[0] = False
    while not run.commit():
        assert run.now_ns < 20 * STEP_NS
    assert run.writer.problem == ""
    run.say(5)
    assert run.close() == []
    assert run.refused == 0
    assert seqs(tmp_path) == list(range(1, 21))
    assert sound(tmp_path)


def test_what_does_not_fit_into_the_buffer_is_refused_and_only_that(tmp_path: Path) -> None:
    out = [False]

    def at(number: int, name: str) -> None:
        if out[0] and name in ("write", "open_new"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = Run(writer_of(tmp_path, files=Scripted(at)))
    out[0] = True
    while not run.refused:
        run.say(100)
        run.commit()
    accepted = run.seq
    out[0] = False
    while not run.commit():
        pass
    run.say()
    run.close()
    assert seqs(tmp_path) == list(range(1, accepted + 2))
    assert sound(tmp_path)


def test_a_disk_that_stays_out_is_told_at_the_end(tmp_path: Path) -> None:
    out = [False]

    def at(number: int, name: str) -> None:
        if out[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = Run(writer_of(tmp_path, files=Scripted(at)))
    run.say(3)
    run.commit()
    out[0] = True
    run.say(4)
    assert [left.seq for left in run.close()] == [4, 5, 6, 7]
    assert seqs(tmp_path) == [1, 2, 3]


def test_a_removed_directory_is_made_again(tmp_path: Path) -> None:
    run = Run(writer_of(tmp_path))
    run.say(5)
    run.commit()
    shutil.rmtree(tmp_path / "c")
    run.say(5)
    while not run.commit():
        assert run.now_ns < 20 * STEP_NS
    run.close()
    assert seqs(tmp_path) == [6, 7, 8, 9, 10]


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    """RLIMIT_FSIZE in a child: a real refusal by the kernel, in the middle of a line."""
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from tests.io.test_store import Run, writer_of, SMALL\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from twin.io.settings import Store\n"
        "run = Run(writer_of(Path(sys.argv[1]), policy=Store()))\n"
        "run.say(5); run.commit()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        "run.say(30); assert not run.commit(), 'it fitted'\n"
        "assert run.writer.problem == 'disk: File too large', run.writer.problem\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "for _ in range(9): run.commit()\n"
        "assert run.close() == [] and not run.writer.problem\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert seqs(tmp_path) == list(range(1, 36))
    assert sound(tmp_path)


def test_no_descriptor_left_is_a_fault_of_the_disk(tmp_path: Path) -> None:
    run = Run(writer_of(tmp_path, policy=Store(segment_bytes=1_000)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(fd.name) for fd in Path("/proc/self/fd").iterdir()) + 1
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
        fillers = []
        try:
            while True:
                fillers.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        for _ in range(20):
            run.say()
            run.commit()
        assert "Too many open files" in run.writer.problem
        for fd in fillers:
            os.close(fd)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    while not run.commit():
        assert run.now_ns < 60 * STEP_NS
    run.close()
    assert seqs(tmp_path) == list(range(1, 21))
    assert sound(tmp_path)


def calls_of(folder: Path, act: Callable[[Run], None]) -> int:
    """How many file calls a run without a fault makes."""
    files = Scripted(lambda number, name: None)
    act(Run(writer_of(folder, files=files)))
    return files.calls


def work(run: Run) -> None:
    for _ in range(12):
        run.say(2)
        run.commit()
    for _ in range(12):  # time for a disk to come back
        run.commit()
    run.close()


@pytest.mark.parametrize("for_good", [False, True])
def test_every_file_call_may_fail(tmp_path: Path, for_good: bool) -> None:
    calls = calls_of(tmp_path / "whole", work)
    for number in range(1, calls + 1, 1 if not for_good else 3):
        folder = tmp_path / f"{number}"
        files = Scripted(fails(number, float("inf") if for_good else number))
        try:
            run = Run(writer_of(folder, files=files))
        except OSError:
            continue  # it could not even begin, and said so
        work(run)
        if not for_good:
            assert seqs(folder) == list(range(1, 25)), number
            assert sound(folder) or verify(folder / "c").problems[0].segment == "manifest.json", number
        elif (folder / "c").exists() and run.acknowledged:
            assert seqs(folder)[: run.acknowledged] == list(range(1, run.acknowledged + 1)), number


# ---- kills


KILLED = (
    "import os, sys; from pathlib import Path\n"
    "from tests.io.faulty_files import Scripted, dies\n"
    "from tests.io.test_store import Run, writer_of\n"
    "when, after, folder = int(sys.argv[1]), sys.argv[2] == 'after', Path(sys.argv[3])\n"
    "run = Run(writer_of(folder, files=Scripted(dies(when), after=after), resume=True))\n"
    "for _ in range(9):\n"
    "    run.say(3)\n"
    "    if run.commit(): os.write(1, b'%d\\n' % run.seq)\n"
    "run.close()\n"
)


def killed(folder: Path, when: int, after: str) -> tuple[int, int]:
    """The exit code of a writer killed at a call, and the last ``seq`` it said was safe."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(when), after, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout.split()
    assert done.returncode in (0, -9), done.stderr
    return done.returncode, int(told[-1]) if told else 0


@pytest.mark.parametrize("after", ["before", "after"])
def test_a_kill_at_any_publication_step_loses_nothing_that_was_synced(tmp_path: Path, after: str) -> None:
    kills = 0
    for when in count(1, 4):
        folder = tmp_path / f"{when}"
        code, safe = killed(folder, when, after)
        kills += code == -9
        if code == 0:
            break
        recovers(folder, safe)
    assert kills > 10


def recovers(folder: Path, safe: int) -> None:
    """What a kill left holds everything that was safe, and a new writer goes on behind it."""
    held = seqs(folder) if (folder / "c").exists() and segments_of(folder / "c") else []
    assert held[:safe] == list(range(1, safe + 1))
    run = Run(writer_of(folder, resume=True))
    before = run.seq
    assert before >= safe
    run.say(3)
    run.close()
    assert seqs(folder) == list(range(1, before + 4))
    assert sound(folder), verify(folder / "c").problems


def test_twice_killed_is_once_continued(tmp_path: Path) -> None:
    for when in (25, 31, 17):
        killed(tmp_path, when, "before")
    recovers(tmp_path, 0)


@pytest.mark.parametrize("syncs", [True, False])
def test_a_power_cut_leaves_what_was_synced(tmp_path: Path, syncs: bool) -> None:
    """Without the syncs the same look finds the loss: the test sees what it is there to see."""
    files = PowerCut(syncs=syncs)
    run = Run(writer_of(tmp_path, files=files))
    for _ in range(5):
        run.say(2)
        run.commit()
    safe = run.acknowledged
    run.say(2)
    files.cut_power()
    held = seqs(tmp_path) if any(path.stat().st_size for path in segments_of(tmp_path / "c")) else []
    assert (held[:safe] == list(range(1, safe + 1))) is syncs


def test_a_torn_tail_goes_to_quarantine_and_hides_nothing(tmp_path: Path) -> None:
    run = Run(writer_of(tmp_path, policy=Store()))
    run.say(5)
    run.commit()
    segment = segments_of(tmp_path / "c")[0]
    whole = segment.read_bytes()
    os.close(run.writer._lock)  # as if the process were gone
    segment.write_bytes(whole[:-40])
    again = writer_of(tmp_path, policy=Store(), resume=True)
    assert again.recovered is not None
    assert (again.recovered.last_seq, again.recovered.torn_bytes > 0) == (4, True)
    torn = list((tmp_path / "c" / "quarantine").iterdir())
    assert len(torn) == 1
    assert whole.endswith(torn[0].read_bytes() + whole[-40:])
    again.write(frame(5))
    again.close(NOON_US)
    assert seqs(tmp_path) == [1, 2, 3, 4, 5]
    assert sound(tmp_path)


def test_two_writers_never_share_a_capture(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    with pytest.raises(BlockingIOError, match="another process is recording"):
        writer_of(tmp_path, resume=True)
    writer.close(NOON_US)


def test_a_capture_with_another_key_is_not_gone_on_with(tmp_path: Path) -> None:
    first = CaptureWriter(tmp_path / "c", created_us=0, vantage="proxy", head={"redaction": {"key": "a"}})
    first.close(0)
    with pytest.raises(ValueError, match="another redaction"):
        CaptureWriter(
            tmp_path / "c", created_us=0, vantage="proxy", head={"redaction": {"key": "b"}}, resume=True
        )


# ---- damage


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed")
    run = Run(writer_of(folder))
    for _ in range(36):
        run.say()
        run.commit()
    run.close()
    return folder / "c"


def copies(sealed: Path, folder: Path) -> Iterator[Path]:
    """The same capture, whole again each time."""
    place = folder / "c"
    while True:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(sealed, place)
        yield place


def readable_before(capture: Path, seq: int) -> bool:
    reading = open_capture(capture)
    held = [seen.seq for seen in reading.frames if seen.kind is Kind.TEXT]
    return held[: seq - 1] == list(range(1, seq))


def test_every_flipped_bit_shows_and_hides_nothing_before_it(sealed: Path, tmp_path: Path) -> None:
    capture = next(copies(sealed, tmp_path))
    path = segments_of(capture)[1]
    whole = path.read_bytes()
    starts = [0, *(place + 1 for place, byte in enumerate(whole) if byte == 10)]
    first = int(json.loads(whole.splitlines()[0])["meta"]["seq"])
    for place in range(0, len(whole), 7):
        for bit in (0, 3, 7):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            assert verify(capture).problems, (place, bit)
        line = sum(start <= place for start in starts) - 1
        assert readable_before(capture, first + line)


@pytest.mark.parametrize("name", ["segment-00002.seal", "manifest.json"])
def test_every_flipped_bit_of_seal_and_manifest_shows(sealed: Path, tmp_path: Path, name: str) -> None:
    capture = next(copies(sealed, tmp_path))
    path = capture / name
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        path.write_bytes(flipped)
        if canonical(flipped) != canonical(whole):
            assert verify(capture).problems, place


def canonical(data: bytes) -> object:
    """What JSON says: white space between its tokens and the case of a hexadecimal digit mean nothing."""
    try:
        return json.loads(data.decode().casefold())
    except ValueError:
        return data


def test_every_cut_shows(sealed: Path, tmp_path: Path) -> None:
    capture = next(copies(sealed, tmp_path))
    path = segments_of(capture)[-1]
    whole = path.read_bytes()
    for size in range(max(0, len(whole) - 4096), len(whole)):
        path.write_bytes(whole[:size])
        assert verify(capture).problems, size


def test_tampering_has_a_name(sealed: Path, tmp_path: Path) -> None:
    fresh = copies(sealed, tmp_path)

    def bad(capture: Path) -> tuple[str, int | None]:
        problem = verify(capture).problems[0]
        return problem.segment, problem.line

    one = segments_of(sealed)[0].read_bytes().splitlines(keepends=True)
    for lines, where in (
        (one[1:], 1),  # cut out at the start
        (one[:2] + one[3:], 3),
        ([one[0], one[2], one[1], *one[3:]], 2),
        ([one[0], one[1], one[1], *one[2:]], 3),
        ([one[0], one[1].replace(b"Heartbeat", b"HeartBeat"), *one[2:]], 3),
    ):
        capture = next(fresh)
        segments_of(capture)[0].write_bytes(b"".join(lines))
        assert bad(capture) == ("segment-00001.jsonl", where)
    capture = next(fresh)
    segments_of(capture)[1].unlink()
    assert bad(capture) == ("segment-00002.jsonl", 0)
    capture = next(fresh)
    (capture / "segment-00002.seal").unlink()
    assert verify(capture).problems
    capture = next(fresh)
    (capture / "manifest.json").unlink()
    assert bad(capture) == ("manifest.json", 0)


def test_an_old_epoch_sealed_again_with_another_key_shows(sealed: Path, tmp_path: Path) -> None:
    from twin.io.seal import decoded, encoded

    capture = next(copies(sealed, tmp_path))
    place = capture / "segment-00002.seal"
    said = decoded(place.read_bytes()).statement
    fields = {
        name: getattr(said, name)
        for name in said.__struct_fields__
        if name not in ("key_id", "public_key", "format", "version")
    }
    newer = Signer(b"\7" * 32)
    place.write_bytes(encoded(newer.seal(**fields)))
    told = [problem.what for problem in verify(capture).problems]
    assert any("another key" in what for what in told)
    assert any("does not follow from the seal before it" in what for what in told)
    pinned = [Signer(KEY).public_key]
    assert any("not named" in problem.what for problem in verify(capture, pinned).problems)
    assert verify(sealed, pinned).problems == []


def test_without_the_chain_a_swap_in_an_unsealed_segment_would_pass(tmp_path: Path) -> None:
    """The chain is what finds it: with every ``prev`` made right again nothing is left to see but the seq."""
    run = Run(writer_of(tmp_path, policy=Store()))
    run.say(4)
    run.commit()
    path = segments_of(tmp_path / "c")[0]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join((lines[0], lines[2], lines[1], lines[3])))
    assert verify(tmp_path / "c").problems
    path.write_bytes(b"".join(lines))
    assert verify(tmp_path / "c").problems == []
    run.close()


@pytest.mark.parametrize(
    "name", ["manifest.json", "segment-00001.jsonl", "segment-00001.seal", "segment-00009.jsonl.zst"]
)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"{}",
        b"[1]",
        b'{"segments":[1,{"name":5}],"version":1}',
        b"[" * 50_000,
        b"\x28\xb5\x2f\xfd garbage",
    ],
)
def test_any_bytes_in_any_file_are_a_verdict(sealed: Path, tmp_path: Path, name: str, data: bytes) -> None:
    capture = next(copies(sealed, tmp_path))
    (capture / name).write_bytes(data)
    assert verify(capture).problems
