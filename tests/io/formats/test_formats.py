"""The table of formats: what is written is read back, and each reader accounts for all that it was given."""

import asyncio
import contextlib
import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.conftest import REPOSITORY, absent
from tests.pcaps import ACK, CSMS, FIN, STATION, SYN, Segment, pcap, pcapng
from twin.io.formats import FORMATS, WRITTEN, CaptureError, Format, open_capture
from twin.io.formats.table import COLUMNS, guarded, unguarded, write_csv
from twin.io.reading import MOST_WHOLE_BYTES, Reading
from twin.model import Frame, Kind, Side

GOLDEN = sorted(path for path in (REPOSITORY / "captures").iterdir() if path.is_dir())
CALL = '[2,"a1","BootNotification",{"chargePointVendor":"V","chargePointModel":"M"}]'
ANSWER = '[3,"a1",{"status":"Accepted","currentTime":"2026-11-27T10:00:00Z","interval":30}]'
STOP = '[2,"s9","StopTransaction",{"transactionId":7,"meterStop":20,"timestamp":"2026-11-27T10:05:00Z"}]'
STOPPED = '[3,"s9",{}]'


def read(path: Path, format: str | None = None) -> tuple[Reading, list[Frame]]:  # noqa: A002  # as in open_capture
    reading = open_capture(path, format=format)
    frames = list(reading.frames)
    report = reading.report
    assert report.lines == report.used + report.duplicates + report.unusable
    return reading, frames


def said(frames: list[Frame]) -> list[tuple[Any, ...]]:
    """What every format must carry of a message."""
    return [
        (frame.at_us, frame.station, frame.link, frame.sender, frame.text)
        for frame in frames
        if frame.kind is Kind.TEXT
    ]


@pytest.mark.parametrize("row", WRITTEN, ids=lambda row: row.name)
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_what_is_written_is_read_back(path: Path, row: Format, tmp_path: Path) -> None:
    frames = list(open_capture(path).frames)
    out = tmp_path / f"out{row.suffixes[0] if row.suffixes else ''}"
    assert row.write is not None
    report = row.write(frames, out)
    reading, again = read(out)
    assert reading.format == row.name
    assert said(again) == said(frames)
    assert report.written == len(again)
    assert report.written + report.left_out.total() == len(frames)
    if not report.left_out:  # then nothing at all may be missing
        everything = [[(f.kind, f.data or b"", dict(f.facts)) for f in held] for held in (frames, again)]
        assert everything[0] == everything[1]


def test_names_and_suffixes_are_nobody_elses() -> None:
    names = [row.name for row in FORMATS]
    assert len(names) == len(set(names)) == 12
    suffixes = [suffix for row in FORMATS for suffix in row.suffixes]
    assert len(suffixes) == len(set(suffixes))


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "'quoted", "plain", "", "''="])
def test_no_cell_is_a_formula_and_every_cell_comes_back(cell: str) -> None:
    assert unguarded(guarded(cell)) == cell
    assert not guarded(cell).startswith(("=", "+", "-", "@", "\t"))


def test_a_station_called_like_a_formula_is_only_a_name(tmp_path: Path) -> None:
    name = "=cmd|' /C calc'!A0"
    frame = Frame(seq=1, at_us=10**15, link="=l", station=name, kind=Kind.TEXT, text=f"{CALL}\n")
    write_csv([frame], tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        cells = [cell for row in list(csv.reader(file))[1:] for cell in row]
    assert not [cell for cell in cells if cell.startswith("=")]
    _, (again,) = read(tmp_path / "t.csv")
    assert (again.station, again.link, again.text) == (frame.station, frame.link, frame.text)


@pytest.mark.parametrize(
    "row", [row for row in WRITTEN if row.name != "open-ocpp-trace"], ids=lambda row: row.name
)
def test_line_ends_inside_a_message_come_back_as_they_were(row: Format, tmp_path: Path) -> None:
    texts = ['[2,\r\n "a"]', "a\n\n\nb", "\r", "\n", "x\ry\r", "\r\n\r\n", '"\n"']
    frames = [
        Frame(seq=n, at_us=10**15 + n, link="l", kind=Kind.TEXT, sender=Side.CSMS, text=text)
        for n, text in enumerate(texts, 1)
    ]
    out = tmp_path / f"out{row.suffixes[0] if row.suffixes else ''}"
    assert row.write is not None
    row.write(frames, out)
    assert [frame.text for frame in read(out)[1]] == texts


def rows(folder: Path) -> list[str]:
    """A golden capture as the lines of a CSV, the header first."""
    out = folder / "whole.csv"
    write_csv(list(open_capture(GOLDEN[1]).frames), out)
    return out.read_text(encoding="utf-8").splitlines(keepends=True)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_spreadsheet_of_another_country_parts_cells_otherwise(delimiter: str, tmp_path: Path) -> None:
    cells = list(csv.reader(rows(tmp_path)))
    with (tmp_path / "theirs.csv").open("x", newline="", encoding="utf-8-sig") as theirs:
        csv.writer(theirs, delimiter=delimiter).writerows(cells)
    reading, frames = read(tmp_path / "theirs.csv")
    assert (reading.format, reading.report.unusable) == ("csv", 0)
    assert frames == read(tmp_path / "whole.csv")[1]


def test_a_cell_that_does_not_end_costs_its_own_row(tmp_path: Path) -> None:
    lines = rows(tmp_path)
    place = next(n for n, line in enumerate(lines) if '[2,""' in line)
    end = lines[place].index('[2,""') + 20
    path = tmp_path / "cut.csv"
    path.write_text("".join([*lines[:place], lines[place][:end] + "\n", *lines[place + 1 :]]))
    reading, frames = read(path)
    assert len(frames) == len(lines) - 2
    (lost,) = reading.report.unused
    assert (lost.number, lost.why) == (place + 1, "a quoted cell that does not end")
    assert reading.report.looked_like_frames == 1


@pytest.mark.parametrize(("old", "new"), [(",2026-", ",20x6-"), (",text,", ",texxt,")])
def test_a_row_that_is_refused_looked_like_a_frame(old: str, new: str, tmp_path: Path) -> None:
    lines = rows(tmp_path)
    place = next(n for n, line in enumerate(lines) if '[2,""' in line)
    path = tmp_path / "spoilt.csv"
    path.write_text("".join([*lines[:place], lines[place].replace(old, new, 1), *lines[place + 1 :]]))
    reading, frames = read(path)
    assert (len(frames), reading.report.looked_like_frames) == (len(lines) - 2, 1)


# ── HAR ──────────────────────────────────────────────────────────────────────────────────────────


def har(*messages: dict[str, Any]) -> dict[str, Any]:
    entry = {
        "startedDateTime": "2026-11-27T09:59:59.500Z",
        "request": {"url": "ws://csms.example/ocpp/CP%2F7"},
        "_webSocketMessages": list(messages),
    }
    plain = {"request": {"url": "http://csms.example/"}}
    return {"log": {"version": "1.2", "creator": {"name": "x", "version": "1"}, "entries": [entry, plain]}}


def test_har_as_browsers_and_proxies_write_it(tmp_path: Path) -> None:
    path = tmp_path / "session.har"
    document = har(
        {"type": "send", "time": 1_795_773_600.25, "opcode": 1, "data": CALL},
        {"type": "receive", "time": 1_795_773_600.5, "opcode": 1, "data": ANSWER},
        {
            "type": "send",
            "time": 1_795_773_601.0,
            "opcode": 2,
            "data": "AAE=",
        },
        {"type": "send", "time": "yesterday", "opcode": 1, "data": CALL},
        {"type": "guess", "time": 1_795_773_602.0, "opcode": 1, "data": CALL},
    )
    path.write_text(json.dumps(document))
    reading, frames = read(path)
    assert reading.format == "har"
    assert [(f.kind, f.sender) for f in frames] == [
        (Kind.OPEN, None), (Kind.TEXT, Side.STATION), (Kind.TEXT, Side.CSMS), (Kind.BINARY, Side.STATION)
    ]  # fmt: skip
    assert frames[1].at_us == 1_795_773_600_250_000
    assert {f.station for f in frames} == {"CP/7"}
    assert dict(reading.report.unusable_by_reason) == {
        "no WebSocket messages": 1,
        "time is no number of seconds": 1,
        "neither sent nor received, or an unknown opcode": 1,
    }


# ── DebugKit ─────────────────────────────────────────────────────────────────────────────────────


EVENTS = [
    {"timestamp": "2026-11-27T10:00:00.000Z", "direction": "CS_TO_CSMS", "message": json.loads(CALL)},
    {"timestamp": 1_795_773_601, "message": json.loads(ANSWER)},
    {"timestamp": 1_795_773_602_500, "direction": "CSMS_TO_CS", "message": [2, "c", "ClearCache", {}]},
    {"timestamp": None, "direction": "UNKNOWN", "message": [3, "c", {"status": "Accepted"}]},
    {"timestamp": None, "message": "not one"},
]


@pytest.mark.parametrize("form", ["object", "lines", "array"])
def test_debugkit_in_each_of_its_forms(form: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    texts = {
        "object": json.dumps({"traceId": "t", "metadata": {"stationId": "CP9"}, "events": EVENTS}),
        "lines": "\n".join(json.dumps(event) for event in EVENTS),
        "array": json.dumps([event["message"] for event in EVENTS]),
    }
    path.write_text(texts[form])
    reading, frames = read(path)
    assert reading.format == "debugkit"
    senders = [Side.STATION, Side.CSMS, Side.CSMS, Side.STATION]
    assert [frame.sender for frame in frames] == senders
    assert [json.loads(frame.text or "") for frame in frames] == [event["message"] for event in EVENTS[:4]]
    assert reading.report.unusable == 1
    if form == "object":
        assert {frame.station for frame in frames} == {"CP9"}
    if form != "array":
        assert [f.at_us - frames[0].at_us for f in frames] == [0, 1_000_000, 2_500_000, 2_500_000]


# ── pcap ─────────────────────────────────────────────────────────────────────────────────────────


def masked(text: str) -> bytes:
    data = text.encode()
    head = bytes([0x81, 0x80 | len(data)]) if len(data) < 126 else bytes([0x81, 0xFE]) + len(data).to_bytes(2)
    return head + bytes(4) + data


def plain(text: str) -> bytes:
    data = text.encode()
    return (
        bytes([0x81, len(data)]) if len(data) < 126 else bytes([0x81, 126]) + len(data).to_bytes(2)
    ) + data


def session() -> list[Segment]:
    """A handshake, a request and its answer, one segment twice, and other traffic beside it."""
    get = b"GET /ocpp/CP7 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ocpp1.6\r\n\r\n"  # noqa: E501  # one request
    ok = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: ocpp1.6\r\n\r\n"  # noqa: E501  # one answer
    seqs = {STATION: 1000, CSMS: 5000}
    made: list[Segment] = []

    def say(source: tuple[str, int], data: bytes = b"", flags: int = ACK) -> None:
        target = CSMS if source == STATION else STATION
        at_us = 1_795_773_600_000_000 + len(made) * 1000
        place = {"seq": seqs[source], "ack": seqs[target], "flags": flags}
        made.append(Segment(at_us=at_us, source=source, target=target, data=data, **place))
        seqs[source] += len(data) + bool(flags & (SYN | FIN))

    say(STATION, flags=SYN)
    say(CSMS, flags=SYN | ACK)
    say(STATION, get)
    say(CSMS, ok)
    say(STATION, masked(CALL))
    made.append(made[-1])  # sent again
    say(CSMS, plain(ANSWER) + plain('[2,"c","ClearCache",{}]'))  # two frames in one segment
    say(STATION, masked('[3,"c",{"status":"Accepted"}]'))
    say(STATION, flags=FIN | ACK)
    other = ("10.0.0.3", 1), ("10.0.0.4", 22)
    made.append(Segment(at_us=made[-1].at_us + 1, source=other[0], target=other[1], seq=1, flags=SYN))
    ssh = {"source": other[0], "target": other[1], "data": b"SSH-2.0-x\r\n"}
    made.append(Segment(at_us=made[-1].at_us + 1, seq=2, **ssh))
    return made


@pytest.mark.parametrize("write", [pcap, pcapng], ids=["pcap", "pcapng"])
def test_packets_of_a_session(write: Callable[..., bytes], tmp_path: Path) -> None:
    if shutil.which("tshark") is None:
        absent("tshark")
    path = tmp_path / "session.pcap"
    path.write_bytes(write(session()))
    reading, frames = read(path)
    assert reading.format == "pcap"
    texts = [(f.sender, f.text) for f in frames if f.kind is Kind.TEXT]
    assert texts == [
        (Side.STATION, CALL),
        (Side.CSMS, ANSWER),
        (Side.CSMS, '[2,"c","ClearCache",{}]'),
        (Side.STATION, '[3,"c",{"status":"Accepted"}]'),
    ]
    assert {f.station for f in frames} == {"CP7"}
    assert reading.report.lines == len(session())
    # the two segments of the other connection, under its first one
    (unread,) = reading.report.unused
    assert (unread.number, unread.why) == (len(session()) - 1, "neither WebSocket nor TLS")
    assert "10.0.0.3:1" in unread.text
    assert "10.0.0.4:22" in unread.text
    assert reading.report.unusable == 2
    assert any("passed by 1 connections" in note for note in reading.report.notes)


def test_packets_cut_in_the_middle_keep_what_came_before(tmp_path: Path) -> None:
    if shutil.which("tshark") is None:
        absent("tshark")
    path = tmp_path / "cut.pcap"
    path.write_bytes(pcap(session())[:-150])
    reading, frames = read(path)
    assert CALL in [frame.text for frame in frames]
    assert any(note.startswith("damaged") for note in reading.report.notes)


# ── mitmproxy flow files, made by mitmdump itself ────────────────────────────────────────────────


@contextlib.contextmanager
def mitmdump(upstream: int, out: Path, *options: str) -> Iterator[int]:
    """A real mitmdump that writes a flow file; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = (
        Path(sys.executable).with_name("mitmdump"),
        "-q",
        "--mode",
        f"reverse:http://127.0.0.1:{upstream}",
    )
    more = ("--listen-host", "127.0.0.1", "-p", str(port), "-w", str(out), "--set", f"confdir={out.parent}")
    with subprocess.Popen((*command, *more, *options)) as process:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
            yield port
        finally:
            process.terminate()
            process.wait(60)


async def _talk(port_of: Callable[[int], Any]) -> None:
    async def answer(link: Any) -> None:
        async for text in link:
            await link.send(json.dumps([3, json.loads(text)[1], {"currentTime": "2026-11-27T10:00:00Z"}]))

    protocols = [websockets.Subprotocol("ocpp1.6")]
    async with websockets.serve(answer, "127.0.0.1", 0, subprotocols=protocols) as server:
        with port_of(server.sockets[0].getsockname()[1]) as port:
            url = f"ws://127.0.0.1:{port}/ocpp/CP7"
            async with websockets.connect(url, subprotocols=protocols, compression=None) as link:
                for number in range(3):
                    await link.send(json.dumps([2, str(number), "Heartbeat", {}]))
                    await link.recv()


@pytest.mark.parametrize("bytes_only", [False, True], ids=["WebSocket flow", "TCP flow"])
def test_a_flow_file_of_a_real_mitmdump(bytes_only: bool, tmp_path: Path) -> None:
    path = tmp_path / "session.mitm"
    options = ("--set", "websocket=false") if bytes_only else ()
    asyncio.run(_talk(lambda upstream: mitmdump(upstream, path, *options)))
    reading, frames = read(path)
    assert reading.format == "mitmflow"
    texts = [frame for frame in frames if frame.kind is Kind.TEXT]
    assert [json.loads(f.text or "")[0] for f in texts] == [2, 3] * 3
    assert [f.sender for f in texts] == [Side.STATION, Side.CSMS] * 3
    assert {f.station for f in frames} == {"CP7"}
    assert frames[0].kind is Kind.OPEN
    assert frames[-1].kind is Kind.END
    cut = tmp_path / "cut.mitm"
    whole = path.read_bytes()
    cut.write_bytes(whole + whole[: len(whole) // 2])  # a second copy that was cut
    again, more = read(cut)
    assert [f.text for f in more if f.kind is Kind.TEXT][: len(texts)] == [f.text for f in texts]
    assert any("mitmdump says" in note for note in again.report.notes)


# ── tables of a CSMS, pasted fragments ───────────────────────────────────────────────────────────


def quoted(text: str) -> str:
    """A cell of a CSV."""
    return '"' + text.replace('"', '""') + '"'


TABLES = {
    "bars": [
        f"StopTransaction | CP-4 | {STOP} | {STOPPED} | 11/27/2026 12:05:01 PM",
        f"BootNotification | CP-4 | {CALL} | {ANSWER} | 11/27/2026 12:00:00 PM",
    ],
    "csv": [
        f"StopTransaction,CP-4,{quoted(STOP)},{quoted(STOPPED)},2026-11-27 12:05:01",
        f"BootNotification,CP-4,{quoted(CALL)},{quoted(ANSWER)},2026-11-27 12:00:00",
    ],
    "tabs": [
        f"{STOPPED}\t{STOP}\tCP-4\t11/27/2026, 12:05",
        f"{ANSWER}\t{CALL}\tCP-4\t11/27/2026, 12:00",
    ],
}


@pytest.mark.parametrize("form", TABLES)
def test_a_table_of_a_csms_newest_first(form: str, tmp_path: Path) -> None:
    path = tmp_path / "messages.txt"
    path.write_text("\n".join(["Action | Charger | Request | Response | Time", *TABLES[form]]) + "\n")
    reading, frames = read(path)
    assert reading.format == "cmstable"
    assert [frame.text for frame in frames] == [CALL, ANSWER, STOP, STOPPED]
    assert [frame.sender for frame in frames] == [Side.STATION, Side.CSMS] * 2
    assert {frame.station for frame in frames} == {"CP-4"}
    # two hours ahead of the payloads, found by itself
    assert frames[0].at_us == 1_795_773_600_000_000
    assert any("UTC+02:00" in note for note in reading.report.notes)


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        f"```\n{CALL}\n{ANSWER}\n```",
        f"> {CALL}",
        f"the station says `{CALL}` and gets `{ANSWER}`",
        json.dumps(json.loads(CALL), indent=2),
        f"# {CALL}\n# {ANSWER}",
    ],
)
def test_a_pasted_fragment_is_enough(text: str, tmp_path: Path) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "twin", "convert", "-", "-o", str(tmp_path / "pasted"), "--json"),
        input=text, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    frames = list(open_capture(tmp_path / "pasted").frames)
    assert json.loads(frames[0].text or "") == json.loads(CALL)
    assert frames[0].sender is Side.STATION


def test_many_beginnings_without_an_end_are_looked_at_once_each(tmp_path: Path) -> None:
    path = tmp_path / "open.txt"
    lines = '[2,\n"a","Heartbeat",{\n' * 60_000
    path.write_text(lines + json.dumps(json.loads(CALL), indent=2))
    reading, frames = read(path, "fragment")
    assert [json.loads(frame.text or "") for frame in frames] == [json.loads(CALL)]
    assert reading.report.unusable == 120_000


def test_a_log_in_utf_16_as_powershell_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "station.log"
    lines = [f"2026-11-27 10:00:0{n},000 INFO ocpp: Süd-{n}: receive message {CALL}" for n in (1, 2)]
    path.write_bytes("\r\n".join(lines).encode("utf-16"))
    reading, frames = read(path)
    assert reading.format == "textlog"
    assert [frame.text for frame in frames] == [CALL, CALL]
    assert [frame.station for frame in frames] == ["Süd-1", "Süd-2"]


def test_a_log_with_the_zeros_of_a_power_cut(tmp_path: Path) -> None:
    path = tmp_path / "station.log"
    line = f"2026-11-27 10:00:00,000 INFO ocpp: CP1: receive message {CALL}\n".encode()
    path.write_bytes(line + bytes(4096) + b"\n" + line.replace(b"a1", b"a2"))
    reading, frames = read(path)
    assert [frame.text for frame in frames] == [CALL, CALL.replace("a1", "a2")]
    assert reading.report.unusable == 1


def test_a_capture_says_what_became_of_the_log_that_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "station.log"
    line = f"2026-11-27 10:00:00,000 INFO ocpp: CP1: receive message {CALL}\n"
    cut = line.replace("a1", "a2").replace("}]", "")
    path.write_text(line + f"nothing\n{'x' * 5}\n" * 600 + cut)
    out = tmp_path / "out"
    done = subprocess.run(
        (sys.executable, "-m", "twin", "convert", str(path), "-o", str(out), "--json"),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    told = json.loads(done.stdout)
    account = json.loads((out / "manifest.json").read_bytes())["totals"]["imported"]
    assert account == {name: told[name] for name in account}
    assert account["lines"] == 1202
    assert account["unusable_lines"] >= 1200  # more than are kept word for word
    assert CALL[:20] not in json.dumps(account)


@pytest.mark.parametrize("name", ["out.txt", "out.har"])
def test_no_capture_is_written_under_a_foreign_suffix(name: str, tmp_path: Path) -> None:
    done = convert("-", tmp_path / name, CALL)
    assert (done.returncode, "--to" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("name", ["out.csv", "out"])
def test_a_conversion_that_gave_nothing_leaves_nothing(name: str, tmp_path: Path) -> None:
    done = convert("-", tmp_path / name, "nothing\n")
    assert (done.returncode, list(tmp_path.iterdir())) == (3, []), done.stderr
    assert convert("-", tmp_path / name, CALL).returncode == 0


def test_nothing_on_standard_input_is_told(tmp_path: Path) -> None:
    done = convert("-", tmp_path / "out", "")
    assert (done.returncode, "standard input is empty" in done.stderr) == (3, True), done.stderr


def convert(path: str, out: Path, text: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "twin", "convert", path, "-o", str(out))
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)


# ── what nobody should write ─────────────────────────────────────────────────────────────────────


ODD = [1, None, {"_webSocketMessages": [1, {}]}]
NONSENSE = [None, 5, {"message": []}, {"message": [2, 3, 4]}]


def hostile(folder: Path) -> dict[str, bytes]:
    """Damage of every kind, in every format that a file can claim to be."""
    trace = folder / "t.jsonl"
    write = next(row.write for row in WRITTEN if row.name == "open-ocpp-trace")
    assert write is not None
    write(list(open_capture(GOLDEN[1]).frames), trace)
    whole = trace.read_bytes()
    lines = f"2026-11-27 10:00:00,000 INFO ocpp: CP1: receive message {CALL}\n".encode()
    mixed = zip(lines.splitlines(keepends=True) * 20, whole.splitlines(keepends=True), strict=False)
    return {
        "trace cut": whole[: len(whole) // 2],
        "trace of NULs": bytes(5_000),
        "trace and NULs": whole[:3_000] + bytes(3_000) + whole[3_000:],
        "utf-16": lines.decode().encode("utf-16"),
        "latin-1": lines + "Ladestation Süd \xe4\xf6\xfc\n".encode("latin-1") + lines,
        "bom": b"\xef\xbb\xbf" + lines,
        "crlf": lines.replace(b"\n", b"\r\n"),
        "cr": lines.replace(b"\n", b"\r"),
        "endless line": b"[" * 3_000_000,
        "deep": b"[" * 100_000 + b"]" * 100_000,
        "har cut": json.dumps(har({"type": "send"})).encode()[:-20],
        "har of wrong types": json.dumps({"log": {"creator": 1, "entries": ODD}}).encode(),
        "har without log": b'{"log": [], "creator": 1}',
        "debugkit without events": b'{"events": 5, "message": 1}',
        "debugkit of nonsense": json.dumps({"events": NONSENSE}).encode(),
        "pcap cut": pcap(session())[:60],
        "pcap of noise": pcap(session())[:24] + os.urandom(500),
        "flow cut": b"3198:9:websocket;1068:13:timestamp_end;17:179581683",
        "flow of lies": b"12:9:websocket;x" + b"client_conn" * 9,
        "csv cut": ",".join(COLUMNS).encode() + b'\n1,"open',
        "parquet of noise": b"PAR1" + os.urandom(200) + b"PAR1",
        "interleaved": b"".join(a + b for a, b in mixed),
        "binary": os.urandom(20_000),
    }  # fmt: skip


def test_whatever_a_file_holds_ends_in_counted_lines_or_one_clear_sentence(tmp_path: Path) -> None:
    sentences: list[tuple[str, str]] = []
    insisted = [row.name for row in FORMATS if row.name not in ("capture", "pcap", "mitmflow")]
    for name, data in hostile(tmp_path).items():
        path = tmp_path / name.replace(" ", "-")
        path.write_bytes(data)
        for chosen in (None, *insisted):
            try:
                read(path, chosen)
            except CaptureError as error:
                sentences.append((name, str(error)))
    assert len(sentences) > 20
    assert [told for told in sentences if len(told[1]) < 10 or "\n" in told[1]] == []


PEAK = """
import re, sys
from pathlib import Path
from twin.io.formats import CaptureError, open_capture
try:
    reading = open_capture(Path(sys.argv[1]), format=sys.argv[2])
    counts = sum(1 for _ in reading.frames), reading.report.lines
except CaptureError:
    counts = -1, -1
# not ru_maxrss, which a new process inherits
print(*counts, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def peak(path: Path, name: str) -> tuple[int, int, int]:
    """Frames, lines and the most memory in KiB of reading a file in a process of its own."""
    done = subprocess.run(
        (sys.executable, "-c", PEAK, str(path), name), capture_output=True, text=True, timeout=280, check=True
    )
    frames, lines, peak_kib = map(int, done.stdout.split())
    return frames, lines, peak_kib


DENSE = {  # what takes most memory for its size, in each format of one text
    "har": (b'{"log":{"creator":1,"entries":[[]', b",[]", b"]}}"),
    "debugkit": (b'{"events":[[]', b",[]", b"]}"),
    "cmstable": (b"", f"01/02/2026 10:00:00 | CP | {CALL} | {ANSWER}\n".encode(), b""),
    "fragment": (b"", b"[2,\n", b""),
    "csv": ((",".join(COLUMNS) + "\n").encode(), b'"\n', b""),
    "peersession": (b"", b"{}\n" + b"[" * 400 + b"\n", b""),
    "open-ocpp-trace": (b"", b"{}\n" + b"[" * 400 + b"\n", b""),
}


@pytest.mark.parametrize("name", DENSE)
def test_the_densest_file_takes_bounded_memory(name: str, tmp_path: Path) -> None:
    """What may be held whole is limited (``MOST_WHOLE_BYTES``); parsed it takes so many times as much."""
    path = tmp_path / "dense"
    head, middle, tail = DENSE[name]
    path.write_bytes(head + middle * ((2 << 20) // len(middle)) + tail)
    assert peak(path, name)[2] < 60_000 + 40 * 2048


@pytest.mark.parametrize("name", ["har", "debugkit", "cmstable"])
def test_what_is_too_large_to_be_held_whole_is_not_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "large"
    head, _, _ = DENSE[name]
    with path.open("wb") as file:
        file.write(head)
        file.truncate(MOST_WHOLE_BYTES + 1)
    assert peak(path, name)[::2] < (0, 100_000)


@pytest.mark.slow
def test_two_hundred_megabytes_are_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "big.log"
    line = f"2026-11-27 10:00:00,000 INFO ocpp: CP1: receive message {CALL}\n".encode()
    noise = b"2026-11-27 10:00:00,001 DEBUG asyncio: " + b"nothing to see " * 600 + b"\n"
    with path.open("wb") as file:
        for number in range(200 << 20 >> 20):
            file.write(noise * ((1 << 20) // len(noise) - 4) + line.replace(b"a1", b"a%d" % number) * 4)
    frames, lines, peak_kib = peak(path, "textlog")
    assert frames == 800  # 200 CALLs, each four times by one logger: none is a copy
    assert lines > 20_000
    assert peak_kib < 400_000
