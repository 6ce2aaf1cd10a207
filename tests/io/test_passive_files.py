"""Capture files by hand through a real tshark: every form, hostile ones, and rings that move on."""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import absent
from tests.io.test_passive import CALL, NOW, RESULT, conversation, names, said, text
from tests.pcaps import COOKED, RAW, START_US, Segment, Talk, pcap, pcapng
from twin.io import passive_tshark
from twin.io.formats import open_capture
from twin.io.passive import Listener
from twin.io.passive_follow import Follower
from twin.io.passive_ring import Ring, first_time_ns
from twin.model import Frame, Kind, Side

SAID = [(Side.STATION, CALL), (Side.CSMS, RESULT)]


@pytest.fixture
def tshark() -> str:
    found = shutil.which("tshark")
    if found is None:
        absent("tshark")
    assert found
    return found


def read(source: Path, tshark: str) -> tuple[list[Any], Follower, Listener]:
    """All items of what is there."""
    listener = Listener(NOW)
    follower = Follower(Ring(source), listener, tshark, once=True)
    items = [item for batch in follower.batches() for item in batch]
    listener.close()
    return [item for item in items + listener.take() if item[0] != "tick"], follower, listener


def whole(station: tuple[str, int] = ("10.0.0.1", 50_000)) -> list[Segment]:
    talk = Talk(station, ("2001:db8::2", 9_000) if ":" in station[0] else ("10.0.0.2", 9_000))
    talk.upgrade()
    talk.station(text(Side.STATION, CALL))
    talk.csms(text(Side.CSMS, RESULT))
    talk.goodbye()
    return talk.segments


FORMS = {
    "pcap": pcap(whole()),
    "pcap, big endian": pcap(whole(), order=">"),
    "pcap with nanoseconds": pcap(whole(), nanoseconds=True),
    "IPv6": pcap(whole(("2001:db8::1", 50_000))),
    "a VLAN": pcap(whole(), vlans=(7,)),
    "a VLAN in a VLAN": pcap(whole(), vlans=(7, 8)),
    "cooked": pcap(whole(), link=COOKED),
    "raw IP": pcap(whole(), link=RAW),
    "raw IPv6": pcap(whole(("2001:db8::1", 50_000)), link=RAW),
    "pcapng": pcapng(whole()),
    "pcapng with nanoseconds": pcapng(whole(), tsresol=9),
    "pcapng, big endian": pcapng(whole(), order=">"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_frames(form: str, tmp_path: Path, tshark: str) -> None:
    (tmp_path / "one.pcap").write_bytes(FORMS[form])
    items, follower, _ = read(tmp_path / "one.pcap", tshark)
    assert said(items) == SAID
    assert names(items) == ["open", "data", "data", "end"]
    assert follower.bad_files == []
    assert first_time_ns(FORMS[form]) == whole()[0].at_us * 1000
    assert items[0][3] == whole()[4].at_us * 1000


def test_a_conversation_goes_on_across_the_files_of_a_ring(tmp_path: Path, tshark: str) -> None:
    segments = whole()
    # names and dates of the files say nothing, as after a copy: the first packets do
    for index, name in enumerate("hcafbgde"):
        piece = segments[index * 2 : index * 2 + 2]
        if piece:
            (tmp_path / f"{name}.pcap").write_bytes(pcap(piece))
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1))
    items, follower, _ = read(tmp_path, tshark)
    assert follower.files == 5
    assert said(items) == SAID
    assert "lost" not in names(items)


def test_a_missing_file_of_a_ring_is_lost_bytes_counted_exactly(tmp_path: Path, tshark: str) -> None:
    segments = whole()
    (tmp_path / "1.pcap").write_bytes(pcap(segments[:5]))
    (tmp_path / "3.pcap").write_bytes(pcap(segments[6:]))
    items, _, listener = read(tmp_path, tshark)
    assert [item[3:6] for item in items if item[0] == "lost"] == [("not_captured", 1, len(segments[5].data))]
    assert listener.site.books.seen_bytes == len(segments[5].data) + len(segments[6].data)


def test_packets_cut_by_a_snaplen_are_lost_bytes(tmp_path: Path, tshark: str) -> None:
    (tmp_path / "one.pcap").write_bytes(pcap(whole(), snaplen=14 + 20 + 20 + 290))
    talk = conversation()
    talk.csms(text(Side.CSMS, json.dumps([2, "2", "DataTransfer", {"data": "x" * 500}])))
    talk.goodbye()
    (tmp_path / "one.pcap").write_bytes(pcap(talk.segments, snaplen=14 + 20 + 20 + 290))
    items, _, _ = read(tmp_path / "one.pcap", tshark)
    lost = sum(item[5] for item in items if item[0] == "lost")
    kept = sum(len(item[3]) for item in items if item[0] == "data")
    assert lost == len(talk.segments[-4].data) - 290
    assert kept + lost == sum(len(one.data) for one in talk.segments[5:])


def test_addresses_in_an_icmp_error_are_no_segments(tmp_path: Path, tshark: str) -> None:
    inner = Segment(data=b"\x81\x05[2,1]").packet()
    icmp = struct.pack(">BBHI", 3, 1, 0, 0) + inner[:28]
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(icmp), 0, 0, 64, 1, 0, b"\x0a\0\0\2", b"\x0a\0\0\1")
    body = bytes(12) + b"\x08\0" + ip + icmp
    record = struct.pack("<IIII", START_US // 10**6, 0, len(body), len(body)) + body
    (tmp_path / "one.pcap").write_bytes(pcap([]) + record)
    items, follower, listener = read(tmp_path / "one.pcap", tshark)
    assert (items, follower.bad_files, listener.packets) == ([], [], 0)


def test_what_peers_send_meets_no_dissector(tmp_path: Path, tshark: str) -> None:
    (tmp_path / "one.pcap").write_bytes(FORMS["pcap"])
    command = [*passive_tshark.command(tshark), "-e", "frame.protocols"]
    with (tmp_path / "one.pcap").open("rb") as file:
        run = subprocess.run(command, stdin=file, capture_output=True, text=True, check=True)
    protocols = {name for line in run.stdout.splitlines() for name in line.rpartition("\t")[2].split(":")}
    assert protocols == {"eth", "ethertype", "ip", "tcp", "data"}


# ---- hostile files


def test_a_torn_packet_is_a_gap_and_all_before_it_is_read(tmp_path: Path, tshark: str) -> None:
    (tmp_path / "one.pcap").write_bytes(pcap(whole())[:-7])
    items, follower, _ = read(tmp_path / "one.pcap", tshark)
    assert said(items) == SAID
    assert names(items).count("gap") == 1
    assert "cut short" in follower.bad_files[0]


def test_garbage_behind_good_packets_is_a_gap_and_the_next_file_is_read(tmp_path: Path, tshark: str) -> None:
    segments = whole()
    (tmp_path / "1.pcap").write_bytes(pcap(segments[:6]) + b"\xff" * 4_000)
    (tmp_path / "2.pcap").write_bytes(pcap(segments[6:]))
    items, follower, _ = read(tmp_path, tshark)
    assert said(items) == SAID
    gaps = [item[2] for item in items if item[0] == "gap"]
    assert [gap["reason"] for gap in gaps] == ["capture_file"]
    assert len(follower.bad_files) == 1


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xd4\xc3\xb2\xa1", b"\x0a\x0d\x0d\x0a", pcapng([])]))
def test_any_head_of_a_file_has_a_first_time_or_none(data: bytes, magic: bytes) -> None:
    assert first_time_ns(magic + data) is None or magic + data


@pytest.mark.parametrize("at", range(0, 400, 40))
def test_a_flipped_byte_is_read_or_told(at: int, tmp_path: Path, tshark: str) -> None:
    file = bytearray(pcap(whole()))
    file[24 + at] ^= 0xFF
    (tmp_path / "one.pcap").write_bytes(file)
    items, follower, listener = read(tmp_path / "one.pcap", tshark)
    assert follower.files == 1
    assert items or follower.bad_files or listener.site.books.other


# ---- rings that move on


class Growing:
    """A ring that the test writes, and a follower that is asked for one batch at a time."""

    def __init__(self, folder: Path, tshark: str, ring: Ring | None = None) -> None:
        self.listener = Listener(NOW)
        self.follower = Follower(ring or Ring(folder), self.listener, tshark, once=False)
        self._batches: Iterator[list[Any]] = self.follower.batches()
        self.items: list[Any] = []

    def until(self, what: str, count: int) -> None:
        """Take batches until so many items of a kind have come."""
        for _ in range(600):
            if names(self.items).count(what) >= count:
                return
            self.items += next(self._batches)
        pytest.fail(f"{count} x {what} never came: {names(self.items)}")

    def until_bytes(self, count: int) -> None:
        """Take batches until so many bytes of frames were seen."""
        for _ in range(600):
            if self.listener.site.books.seen_bytes >= count:
                return
            self.items += next(self._batches)
        pytest.fail(f"{count} bytes never came: {self.listener.site.books}")

    def end(self) -> list[Any]:
        self.follower.ask_to_stop()
        self.items += [item for batch in self._batches for item in batch]
        self.listener.close()
        self.items += self.listener.take()
        return [item for item in self.items if item[0] != "tick"]


def test_a_file_is_read_while_it_grows_even_in_half_packets(tmp_path: Path, tshark: str) -> None:
    file = pcap(whole())
    ring = Growing(tmp_path, tshark)
    cut = len(file) - 300
    with (tmp_path / "a.pcap").open("wb", buffering=0) as growing:
        growing.write(file[:cut])
        ring.until("open", 1)
        growing.write(file[cut:])
        ring.until("end", 1)
    assert said(ring.end()) == SAID
    assert ring.follower.bad_files == []


class MovingOn(Ring):
    """A ring whose writer ends one file and begins the next between our read and our look."""

    rest: tuple[tuple[str, bytes], ...] = ()

    def look(self) -> None:
        rest, self.rest = self.rest, ()
        for name, data in rest:
            with (self.source / name).open("ab") as file:
                file.write(data)
        super().look()


def test_what_is_written_just_before_the_next_file_begins_is_read(tmp_path: Path, tshark: str) -> None:
    segments = whole()
    moving = MovingOn(tmp_path)
    ring = Growing(tmp_path, tshark, moving)
    (tmp_path / "a.pcap").write_bytes(pcap(segments[:5]))
    ring.until("open", 1)
    moving.rest = (("a.pcap", pcap(segments[5:7])[24:]), ("b.pcap", pcap(segments[7:])))
    ring.until("end", 1)
    items = ring.end()
    assert said(items) == SAID
    assert "lost" not in names(items)


def test_a_file_begun_anew_in_place_is_read_again(tmp_path: Path, tshark: str) -> None:
    segments = whole()
    ring = Growing(tmp_path, tshark)
    path = tmp_path / "a.pcap0"
    path.write_bytes(pcap(segments[:5]))
    ring.until("open", 1)
    path.write_bytes(
        pcap(segments[5:6]) + pcap(segments[6:])[24:]
    )  # as tcpdump -W 1 does, grown past its old end
    ring.until("end", 1)
    items = ring.end()
    assert said(items) == SAID
    assert [item[2]["reason"] for item in items if item[0] == "gap"] == ["ring"]


def test_a_deleted_file_that_was_begun_is_read_to_its_end(tmp_path: Path, tshark: str) -> None:
    segments = whole()
    ring = Growing(tmp_path, tshark)
    with (tmp_path / "a.pcap").open("wb", buffering=0) as growing:
        growing.write(pcap(segments[:5]))
        ring.until("open", 1)
        growing.write(pcap(segments[5:7])[24:])
    (tmp_path / "b.pcap").write_bytes(pcap(segments[7:]))
    (tmp_path / "a.pcap").unlink()
    ring.until("end", 1)
    assert said(ring.end()) == SAID


def test_a_file_that_vanished_before_it_was_read_is_a_gap(tmp_path: Path, tshark: str) -> None:
    segments = whole()
    ring = Growing(tmp_path, tshark)
    (tmp_path / "a.pcap").write_bytes(pcap(segments[:5]))
    (tmp_path / "b.pcap").write_bytes(pcap(segments[5:6]))
    (tmp_path / "c.pcap").write_bytes(pcap(segments[6:]))
    ring.follower.ring.look()
    (tmp_path / "b.pcap").unlink()
    ring.until("end", 1)
    items = ring.end()
    gaps = [item[2] for item in items if item[0] == "gap"]
    assert [(gap["reason"], gap["files"], gap["seen"]) for gap in gaps] == [("ring", 1, None)]
    assert [item[5] for item in items if item[0] == "lost"] == [len(segments[5].data)]


# ---- the command


def twin_record(*arguments: str | Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "twin", "record", *map(str, arguments)]
    environment = os.environ if path is None else {**os.environ, "PATH": path}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


def frames_of(capture: Path) -> list[Frame]:
    reading = open_capture(capture)
    frames = list(reading.frames)
    assert not reading.report.unusable
    return frames


@pytest.mark.usefixtures("tshark")
def test_a_bare_file_becomes_a_capture(tmp_path: Path) -> None:
    (tmp_path / "one.pcap").write_bytes(pcap(whole()))
    run = twin_record(
        *("--passive", tmp_path / "one.pcap", "-o", tmp_path / "c.capture"), *("--key-file", tmp_path / "key")
    )
    assert run.returncode == 0, run.stderr
    assert "1 stations, 1 connections" in run.stderr
    frames = frames_of(tmp_path / "c.capture")
    assert [(one.sender, one.text) for one in frames if one.kind is Kind.TEXT] == SAID
    opened = next(one for one in frames if one.kind is Kind.OPEN)
    assert opened.at_us == whole()[4].at_us
    manifest = json.loads((tmp_path / "c.capture" / "manifest.json").read_bytes())
    assert (manifest["vantage"], manifest["byte_exact"]) == ("passive", True)
    assert "no other" in manifest["clock"]["mono"]
    assert manifest["totals"]["seen_bytes"] == manifest["totals"]["recorded_bytes"]


@pytest.mark.usefixtures("tshark")
def test_a_damaged_file_is_told_in_the_capture_and_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "one.pcap").write_bytes(pcap(whole())[:-7])
    run = twin_record(
        *("--passive", tmp_path / "one.pcap", "-o", tmp_path / "c.capture"), *("--key-file", tmp_path / "key")
    )
    assert "cut short" in run.stderr
    assert "Traceback" not in run.stderr
    gap = next(one for one in frames_of(tmp_path / "c.capture") if one.kind is Kind.GAP)
    assert (gap.facts["reason"], gap.facts["seen"]) == ("capture_file", None)


@pytest.mark.usefixtures("tshark")
@pytest.mark.parametrize(
    ("source", "content", "code", "why"),
    [
        ("nothing", None, 2, "no such file"),
        ("garbage.pcap", b"this is no capture", 3, "neither pcap nor pcapng"),
        ("empty.pcap", b"", 3, "neither pcap nor pcapng"),
        ("bad.pcap", pcap([])[:4] + b"\xff" * 40, 3, "could be read"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(
    tmp_path: Path, source: str, content: bytes | None, code: int, why: str
) -> None:
    if content is not None:
        (tmp_path / source).write_bytes(content)
    run = twin_record(
        *("--passive", tmp_path / source, "--once", "-o", tmp_path / "c", "--key-file", tmp_path / "key")
    )
    assert (run.returncode, why in run.stderr, "Traceback" in run.stderr) == (code, True, False), run.stderr


@pytest.mark.usefixtures("tshark")
def test_an_empty_directory_read_once_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "ring").mkdir()
    run = twin_record("--passive", tmp_path / "ring", "--once", "-o", tmp_path / "c")
    assert (run.returncode, "no pcap or pcapng" in run.stderr) == (3, True)
    assert not (tmp_path / "c").exists()


def test_without_tshark_it_says_how_to_install_it(tmp_path: Path) -> None:
    run = twin_record("--passive", tmp_path, "-o", tmp_path / "c", path=str(tmp_path))
    assert (run.returncode, "apt install tshark" in run.stderr) == (2, True)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("more", [("--upstream", "ws://h:1"), ("--interactive",), ("--mode", "transparent")])
def test_options_of_a_proxy_do_not_go_with_it(more: tuple[str, ...], tmp_path: Path) -> None:
    run = twin_record("--passive", tmp_path, "-o", tmp_path / "c", *more)
    assert run.returncode == 2
    assert "--passive" in run.stderr
