"""What the store meets beside one fault: faults in a row, hands in its directory, lies in its manifest."""

import contextlib
import errno
import json
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.io.faulty_files import Scripted, fails
from tests.io.test_store import KEY, NOON_US, SMALL, Run, frame, seqs, writer_of
from twin.io.extract import encoded as encoded_extract
from twin.io.extract import extract, verify_extract
from twin.io.files import Files
from twin.io.integrity import verify
from twin.io.manifest import encoded, segments_of
from twin.io.recovery import recover
from twin.io.seal import Signer
from twin.io.segment_lines import lines_of
from twin.io.settings import Store

QUOTA = Store(segment_bytes=2_000, quota_bytes=9_000)
PUBLIC = Signer(KEY).public_key


def recorded(folder: Path, frames: int = 36, policy: Store = SMALL) -> Path:
    """A closed and sealed capture."""
    run = Run(writer_of(folder, policy=policy))
    for _ in range(frames):
        run.say()
        run.commit()
    run.close()
    return folder / "c"


@pytest.mark.parametrize("in_a_row", [2, 3, 6])
def test_faults_in_a_row_leave_nothing_twice(tmp_path: Path, in_a_row: int) -> None:
    """The second fault hits the cut of what the first one left half-written."""
    for number in range(8, 100, 3):
        folder = tmp_path / f"{number}"
        try:
            run = Run(writer_of(folder, files=Scripted(fails(number, number + in_a_row - 1))))
        except OSError:
            continue
        for _ in range(12):
            run.say(2)
            run.commit()
        for _ in range(9 * in_a_row):
            run.commit()
        left = [waiting.seq for waiting in run.close()]
        assert seqs(folder) + left == list(range(1, 25)), number
        assert {problem.segment for problem in verify(folder / "c").problems} <= {"manifest.json"}, number


def test_a_disk_that_stays_out_costs_no_descriptors(tmp_path: Path) -> None:
    out: list[str] = []

    def at(number: int, name: str) -> None:
        if name in out:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    run = Run(writer_of(tmp_path, files=Scripted(at)))
    held = len(list(Path("/proc/self/fd").iterdir()))
    out[:] = ["write", "sync_directory"]
    for _ in range(40):
        run.say()
        run.commit()
    assert len(list(Path("/proc/self/fd").iterdir())) <= held
    out.clear()
    while not run.commit():
        assert run.now_ns < 30_000_000_000
    run.close()
    assert seqs(tmp_path) == list(range(1, 41))
    assert not verify(tmp_path / "c").problems


def test_a_directory_made_again_is_locked_again(tmp_path: Path) -> None:
    run = Run(writer_of(tmp_path))
    (tmp_path / "c").rename(tmp_path / "moved")
    run.say()
    while not run.commit():
        assert run.now_ns < 30_000_000_000
    with pytest.raises(BlockingIOError):
        writer_of(tmp_path, resume=True)
    run.close()


# ---- quota


def test_segments_moved_away_by_hand_do_not_stop_the_quota(tmp_path: Path) -> None:
    run = Run(writer_of(tmp_path, policy=QUOTA))
    for number in range(100):
        run.say()
        run.commit()
        assert run.writer.problem == ""
        if number == 14:
            segments_of(tmp_path / "c")[0].unlink()
    run.close()
    assert sum(path.stat().st_size for path in segments_of(tmp_path / "c")) <= 9_000
    assert not verify(tmp_path / "c").problems


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("compress", [False, True])
def test_a_stop_at_any_call_leaves_a_sound_capture(tmp_path: Path, compress: bool, after: bool) -> None:
    """As a kill would: no call is made any more. Also between a removal for the quota and its word."""
    policy = replace(QUOTA, compress=compress)
    for when in count(30, 3):
        folder = tmp_path / f"{when}"
        files = Scripted(gone_from(when), after=after)
        try:
            run = Run(writer_of(folder, policy=policy, files=files))
            for _ in range(60):
                run.say()
                run.commit()
            run.close()
        except Gone:
            with contextlib.suppress(OSError):  # it may have been the last thing to be closed
                os.close(run.writer._lock)
        else:
            break
        again = Run(writer_of(folder, policy=policy, resume=True))
        assert again.seq >= run.acknowledged
        again.say(2)
        again.close()
        assert verify(folder / "c").problems == [], when
        assert sorted((folder / "c").glob("*.jsonl*")) == segments_of(folder / "c"), when
    assert when > 200


class Gone(BaseException):
    """The process is no more."""


def gone_from(when: int) -> Callable[[int, str], None]:
    def at(number: int, name: str) -> None:
        if number >= when:
            raise Gone

    return at


# ---- what an earlier writer left


def test_a_torn_tail_of_several_lines_is_no_damage(tmp_path: Path) -> None:
    run = Run(writer_of(tmp_path, policy=Store()))
    run.say(5)
    run.commit()
    os.close(run.writer._lock)
    with segments_of(tmp_path / "c")[0].open("ab") as file:
        file.write(b'garbage\nmore\n\0\0\0\n{"x')
    again = Run(writer_of(tmp_path, policy=Store(), resume=True))
    again.say()
    again.close()
    verdict = verify(tmp_path / "c")
    assert (verdict.problems, verdict.sealed_to_seq) == ([], 6)


@pytest.mark.parametrize("value", [None, "x", "\ud800", -1, 1.5, [], {}, True, 10**30, "absent"])
def test_a_manifest_that_lies_does_not_stop_a_recording(tmp_path: Path, value: object) -> None:
    capture = recorded(tmp_path)
    whole = (capture / "manifest.json").read_bytes()
    kept = {path: path.read_bytes() for path in capture.iterdir()}
    for name in json.loads(whole)["segments"][0]:
        for path in capture.iterdir():
            if path not in kept:
                path.unlink(missing_ok=True)
        for path, data in kept.items():
            path.write_bytes(data)
        manifest = json.loads(whole)
        entry = manifest["segments"][0]
        entry[name] = value
        if value == "absent":
            del entry[name]
        (capture / "manifest.json").write_text(json.dumps(manifest))
        run = Run(writer_of(tmp_path, resume=True))
        assert run.seq == 36
        run.writer.write(frame(37))
        run.close()
        assert seqs(tmp_path) == list(range(1, 38))


@pytest.fixture(scope="module")
def resumable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resumable")
    run = Run(writer_of(folder))
    for _ in range(16):
        run.say()
        run.commit()
    os.close(run.writer._lock)
    return folder / "c"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["kind", "seq", "prev", "meta", "wire", "stream", "streams", "conn", "timestamp", "segments",
                 "name", "root", "lines", "totals", "runs", "version", "recorded_chunks", "dropped_chunks"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)  # fmt: skip
STATS = JSON.map(lambda value: {"kind": "stats", "seq": 17, "prev": "0", "timestamp": "", "streams": value})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["manifest.json", "segment-00001.jsonl", "segment-00002.jsonl", "segment-00001.seal"]),
    st.binary(max_size=200) | (JSON | STATS).map(lambda value: json.dumps(value).encode() + b"\n"),
    st.integers(0, 6_000),
)
def test_any_bytes_anywhere_are_recovered_from(
    resumable: Path, tmp_path_factory: pytest.TempPathFactory, name: str, data: bytes, place: int
) -> None:
    capture = tmp_path_factory.mktemp("any")
    for path in resumable.iterdir():
        (capture / path.name).write_bytes(path.read_bytes())
    target = capture / name
    whole = target.read_bytes() if target.exists() else b""
    target.write_bytes(whole[:place] + data + (whole[place + len(data) :] if place % 2 else b""))
    verify(capture)
    assert recover(capture, Files()) is not None
    verify(capture)


def test_nesting_at_the_reader_s_limit_stops_neither_writer_nor_recovery(tmp_path: Path) -> None:
    run = Run(writer_of(tmp_path, policy=Store()))
    for depth in (500, 900, 1_000, 2_000, 10_000, 100_000):
        run.seq += 1
        assert run.writer.write(
            replace(frame(run.seq), text='[2,"1","Heartbeat",{"a":' + "[" * depth + "]" * depth + "}]")
        )
    run.commit()
    os.close(run.writer._lock)
    again = writer_of(tmp_path, policy=Store(), resume=True)
    assert again.recovered is not None
    assert again.recovered.last_seq == run.seq
    again.close(NOON_US)


# ---- who looks at it


def test_stripped_of_every_signature_it_is_not_what_was_signed(tmp_path: Path) -> None:
    capture = recorded(tmp_path)
    for seal in capture.glob("*.seal"):
        seal.unlink()
    manifest = json.loads((capture / "manifest.json").read_bytes())
    del manifest["signature"]
    for entry in manifest["segments"]:
        del entry["sealed"]
    (capture / "manifest.json").write_bytes(encoded(manifest))
    unpinned = verify(capture)
    assert unpinned.problems == []
    assert "the manifest is not signed" in unpinned.notes
    assert [problem.segment for problem in verify(capture, [PUBLIC]).problems] == ["manifest.json"]


@pytest.mark.slow
def test_a_bomb_is_a_damaged_segment(tmp_path: Path) -> None:
    bomb = tmp_path / "segment-00001.jsonl.zst"
    bomb.write_bytes(zstandard.compress(b" " * 1_000 + b"\n" * (64 << 20)))
    most = (bomb.stat().st_size + 1024) * 1_000
    read = [len(line) for line in lines_of(bomb)]
    assert sum(read) <= most + 1 < 64 << 20
    assert verify(tmp_path).problems
    with pytest.raises(ValueError, match="damaged in line 1"):
        extract(tmp_path, 1, 10**12)


@pytest.mark.parametrize("name", ["segment-00001.jsonl", "segment-00001.seal", "manifest.json"])
def test_a_pipe_in_place_of_a_file_makes_nobody_wait(tmp_path: Path, name: str) -> None:
    capture = recorded(tmp_path, frames=3)
    (capture / name).unlink()
    os.mkfifo(capture / name)
    if name.endswith(".jsonl"):
        with pytest.raises(OSError, match="no regular file"):
            verify(capture)
    else:
        assert verify(capture).problems


def test_an_extract_is_only_made_of_what_its_seal_says(tmp_path: Path) -> None:
    capture = recorded(tmp_path)
    proof = tmp_path / "proof.json"
    proof.write_bytes(encoded_extract(extract(capture, 5, 20)))
    verdict = verify_extract(proof, [PUBLIC])
    assert (verdict.problems, verdict.lines) == ([], 16)
    path = segments_of(capture)[0]
    path.write_bytes(path.read_bytes().replace(b"Heartbeat", b"HeartBeat", 1))
    with pytest.raises(ValueError, match="not what its seal says"):
        extract(capture, 2, 3)
    with pytest.raises(ValueError, match="seq 37 is not in the capture"):
        extract(capture, 36, 10**12)
