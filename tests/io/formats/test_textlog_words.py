"""One dialogue as many programs would print it: no table knows their words, the log itself tells the sides."""

import csv
import html
import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.io.formats import open_capture, textlog
from twin.io.formats.textlog_quotes import unquoted
from twin.io.formats.textlog_times import TimeReader
from twin.io.reading import FRAME_LIKE, FRAME_START, ImportReport, ReadOptions
from twin.model import Frame, Side
from twin.protocol.timestamps import format_us

S, C = Side.STATION, Side.CSMS
START = datetime.fromisoformat("2026-05-04T08:00:00.250+00:00")
NAME = "OTM-7"


def said(sender: Side, after_s: float, message: list[object]) -> tuple[Side, datetime, str]:
    return sender, START + timedelta(seconds=after_s), json.dumps(message, separators=(",", ":"))


TALK = [
    said(S, 0, [2, "501", "BootNotification", {"chargePointVendor": "Man", "chargePointModel": "K [7]"}]),
    said(C, 0.1, [3, "501", {"currentTime": "2026-05-04T08:00:00Z", "interval": 30, "status": "Accepted"}]),
    said(C, 1, [2, "aa1", "GetConfiguration", {"key": ["HeartbeatInterval"]}]),
    said(S, 1.1, [3, "aa1", {"configurationKey": [], "unknownKey": ["HeartbeatInterval"]}]),
    said(S, 2, [2, "502", "DataTransfer", {"vendorId": "x", "data": 'a "quoted" \\ word'}]),
    said(C, 2.1, [3, "502", {"status": "Accepted"}]),
    said(C, 3, [2, "aa2", "DataTransfer", {"vendorId": "y"}]),
    said(S, 3.1, [4, "aa2", "NotSupported", "no 'y' here", {}]),
    said(S, 60, [2, "503", "StatusNotification", {"connectorId": 1, "errorCode": "NoError"}]),
    said(C, 60.1, [3, "503", {}]),
]
type Line = Callable[[Side, datetime, str], str]


def cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local(at: datetime, form: str) -> str:
    """As a clock two hours ahead prints it, without its zone."""
    return (at + timedelta(hours=2)).strftime(form)


# The line of each program, whether it names the station, whether it prints a time.
SPOKEN: dict[str, tuple[Line, bool, bool]] = {
    "brackets": (lambda w, at, t: f"{iso(at)} [{NAME}] {'-->' if w is S else '<--'} {t}", True, True),
    "from and to": (lambda w, at, t: f"{'Received from' if w is S else 'Sent to'} {NAME}: {t}", True, False),
    "in and out": (
        lambda w, at, t: f"[{at:%Y-%m-%d %H:%M:%S}] local.INFO: OCPP {'IN' if w is S else 'OUT'} {NAME} {t} [] []",
        True, True,
    ),
    "arrows of both ends": (
        lambda w, at, t: f"{local(at, '%d.%m.%Y %H:%M:%S')} {'Box -> Backend' if w is S else 'Backend -> Box'}: {t}",
        False, True,
    ),
    "Java": (
        lambda w, at, t: f"{at:%H:%M:%S}.250 [main] TRACE e.chargetime.ocpp.JSONCommunicator - "
        f"{'Send' if w is S else 'Receive'} a message: {t}",
        False, False,
    ),
    "Serilog": (
        lambda w, at, t: f"{local(at, '%Y-%m-%d %H:%M:%S')}.250 +02:00 [DBG] Handler => {NAME} / "
        f"{'Received' if w is S else 'Sending'} message: {t}",
        True, True,
    ),
    "Rust": (
        lambda w, at, t: f'{iso(at)} DEBUG csms::ws{{cp="{NAME}"}}: {"<-" if w is S else "->"} {t}', True, True,
    ),
    "topics": (lambda w, at, t: f"ocpp/{NAME}/{'in' if w is S else 'out'} {t}", True, False),
    "wscat": (lambda w, at, t: f"{'>' if w is S else '<'} {t}", False, False),
    "German chat": (
        lambda w, at, t: f"[{local(at, '%d.%m.%y, %H:%M:%S')}] Max: {'Säule' if w is S else 'Backend'}: {t}", False, True,
    ),
    "American": (
        lambda w, at, t: f"{local(at, '%m/%d/%Y, %I:%M:%S %p')} {NAME} {'received' if w is S else 'sent'} {t}", True, True,
    ),
    "Kibana": (
        lambda w, at, t: f"{local(at, '%b %d, %Y @ %H:%M:%S')}.250\t{'RAW_RCV' if w is S else 'RAW_SND'}: {t}",
        False, True,
    ),
    "Apache": (lambda w, at, t: f"[{at:%d/%b/%Y:%H:%M:%S}] {'rx' if w is S else 'tx'} {t}", False, True),
    "addresses": (
        lambda w, at, t: f"{iso(at)} {'10.0.0.7 10.0.0.1' if w is S else '10.0.0.1 10.0.0.7'} {t}", False, True,
    ),
    "epoch": (lambda w, at, t: f"{int(at.timestamp() * 1000)} {NAME} {'<<<' if w is S else '>>>'} {t}", True, True),
    "logrus": (
        lambda w, at, t: f'time="{iso(at)}" level=debug msg='
        + json.dumps(f"{'received JSON message from' if w is S else 'sent JSON message to'} {NAME}: {t}"),
        True, True,
    ),
    "JSON lines": (
        lambda w, at, t: json.dumps(
            {"ts": iso(at), "chargePointId": NAME, "direction": "IN" if w is S else "OUT", "message": t}
        ),
        True, True,
    ),
    "pino": (
        lambda w, at, t: json.dumps(
            {"level": 30, "time": int(at.timestamp() * 1000), "identity": NAME, "msg": f"{'<-' if w is S else '->'} {t}"}
        ),
        True, True,
    ),
    "twice in JSON": (
        lambda w, at, t: f"{iso(at)} " + json.dumps(json.dumps({"cp": NAME, "dir": w.value, "raw": t})), True, True,
    ),
    "a page's source": (
        lambda w, at, t: html.escape(f"{iso(at)} {NAME} {'>' if w is S else '<'} {t}", quote=True), True, True,
    ),
    "Elixir": (
        lambda w, at, t: f"{at:%H:%M:%S}.250 [debug] {NAME} {'received' if w is S else 'sending'}: {json.dumps(t)}",
        True, False,
    ),
    "CSV": (
        lambda w, at, t: f"{iso(at)},{NAME},{'Incoming' if w is S else 'Outgoing'},{cell(t)}", True, True,
    ),
    "German CSV": (
        lambda w, at, t: f"{local(at, '%d.%m.%Y %H:%M:%S')};{NAME};{'Ladestation' if w is S else 'Backend'};{cell(t)}",
        True, True,
    ),
    "tabs": (
        lambda w, at, t: f"{at:%m/%d/%Y %I:%M:%S %p}\t{NAME}\t{'From charger' if w is S else 'To charger'}\t{t}",
        True, True,
    ),
}  # fmt: skip
HEADERS = {
    "CSV": "Timestamp,Charger ID,Direction,Message",
    "German CSV": "Zeitpunkt;Ladestation;Absender;Nachricht",
    "tabs": "Time\tCharger\tDirection\tMessage",
}


def read(path: Path, *lines: str, **options: object) -> tuple[list[Frame], ImportReport]:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    reading = textlog.FORMAT.read(path, ReadOptions(**options))
    return list(reading.frames), reading.report


def written(program: str) -> list[str]:
    header = [HEADERS[program]] if program in HEADERS else []
    return header + [SPOKEN[program][0](*one) for one in TALK]


@pytest.mark.parametrize("program", SPOKEN)
def test_whoever_wrote_the_log_texts_sides_stations_and_times_are_what_they_were(
    program: str, tmp_path: Path
) -> None:
    _, named, timed = SPOKEN[program]
    frames, report = read(tmp_path / "some.log", *written(program))
    assert [frame.text for frame in frames] == [text for _, _, text in TALK]
    assert [frame.sender for frame in frames] == [sender for sender, _, _ in TALK]
    assert {frame.station for frame in frames} == {NAME if named else ""}
    assert report.looked_like_frames == 0
    assert not report.marked
    if timed:
        apart = [abs(f.at_us / 1e6 - at.timestamp()) for f, (_, at, _) in zip(frames, TALK, strict=True)]
        assert max(apart) < 1


@pytest.mark.parametrize("program", SPOKEN)
def test_the_format_is_found(program: str, tmp_path: Path) -> None:
    path = tmp_path / "some.log"
    path.write_text("\n".join(written(program)), encoding="utf-8")
    reading = open_capture(path)
    assert reading.format == "textlog"
    assert len(list(reading.frames)) == len(TALK)


@pytest.mark.parametrize("program", [name for name, (_, _, timed) in SPOKEN.items() if timed])
def test_a_viewers_export_newest_first_is_turned_round(program: str, tmp_path: Path) -> None:
    lines = written(program)
    header = 1 if program in HEADERS else 0
    frames, report = read(tmp_path / "some.log", *lines[:header], *reversed(lines[header:]))
    assert [frame.text for frame in frames] == [text for _, _, text in TALK]
    assert [frame.sender for frame in frames] == [sender for sender, _, _ in TALK]
    assert any("newest first" in note for note in report.notes)


def test_words_that_stand_before_both_sides_messages_tell_nothing(tmp_path: Path) -> None:
    frames, _ = read(tmp_path / "some.log", *(f"{iso(at)} [{NAME}] message: {text}" for _, at, text in TALK))
    transfers = [frame for frame in frames if '"DataTransfer"' in (frame.text or "")]
    assert [frame.sender for frame in transfers] == [None, None]
    assert all(frame.sender for frame in frames if frame.text and frame.text[1:7] in ('2,"501', '2,"aa1'))


def test_without_a_contrast_nothing_is_learnt(tmp_path: Path) -> None:
    """Two CALLs of the station under some words are no proof that the CSMS's stand under others."""
    lines = [f"trace: {TALK[0][2]}", f"trace: {TALK[8][2]}", f"trace: {TALK[4][2]}"]
    frames, _ = read(tmp_path / "some.log", *lines)
    assert [frame.sender for frame in frames] == [S, S, None]


@pytest.mark.parametrize(("logged_by", "senders"), [(S, [S, C]), (C, [C, S])])
def test_the_user_may_say_who_wrote_a_log_of_unknown_words(
    logged_by: Side, senders: list[Side], tmp_path: Path
) -> None:
    lines = (f"12:00:00 ws sent {TALK[4][2]}", f"12:00:01 ws received {TALK[6][2]}")
    frames, _ = read(tmp_path / "some.log", *lines, logged_by=logged_by)
    assert [frame.sender for frame in frames] == senders


def test_two_stations_with_the_same_ids_are_two_links(tmp_path: Path) -> None:
    lines = [
        f"{iso(at)} [{name}] {'recv' if sender is S else 'send'}: {text}"
        for sender, at, text in TALK
        for name in ("OTM-7", "OTM-8")
    ]
    frames, _ = read(tmp_path / "some.log", *lines)
    assert {frame.link for frame in frames} == {"OTM-7", "OTM-8"}
    assert [f.text for f in frames if f.link == "OTM-8"] == [text for _, _, text in TALK]


def test_names_that_change_between_a_call_and_its_answer_are_no_stations(tmp_path: Path) -> None:
    """The threads of a server, say."""
    lines = [
        f"{iso(at)} [worker-{n}] {'recv' if sender is S else 'send'}: {text}"
        for n, (sender, at, text) in enumerate(TALK)
    ]
    frames, _ = read(tmp_path / "some.log", *lines)
    assert {frame.station for frame in frames} == {""}
    assert [frame.sender for frame in frames] == [sender for sender, _, _ in TALK]


def test_the_words_of_other_programs_may_be_a_stations(tmp_path: Path) -> None:
    """``Sending`` and ``sent JSON message to`` are what SteVe and evcc print, and they are not alone."""
    for words in (
        ("Sending: ", "Received: "),
        ("sent JSON message to server: ", "received JSON message from server: "),
    ):
        frames, _ = read(tmp_path / "some.log", *(words[sender is C] + text for sender, _, text in TALK))
        assert [frame.sender for frame in frames] == [sender for sender, _, _ in TALK]
        assert {frame.station for frame in frames} == {""}


@pytest.mark.parametrize("name", ["charger", "1234", "main"])
def test_a_known_programs_station_may_be_called_anything(name: str, tmp_path: Path) -> None:
    line = f"2026-05-04 10:00:00.125 INFO (MainThread) [ocpp] {name}: receive message {TALK[0][2]}"
    assert read(tmp_path / "some.log", line)[0][0].station == name


def dialogue(head: Callable[[int, Side], str], first: int = 0) -> list[str]:
    """The talk behind words of one's own, in lines that are numbered."""
    return [f"{head(n, sender)}{text}" for n, (sender, _, text) in enumerate(TALK, first)]


def test_numbers_of_rows_are_no_stations(tmp_path: Path) -> None:
    """A database's export: ``id`` names the row."""
    lines = ["id\ttime\tmessage", *dialogue(lambda n, sender: f"{n}\t2026-05-04 08:00:0{n}\t")]
    frames, _ = read(tmp_path / "some.log", *lines)
    assert {frame.link for frame in frames} == {"log"}
    lines = ["Device ID,time,message", *dialogue(lambda n, sender: f"d{n},2026-05-04 08:00:0{n},")]
    frames, _ = read(tmp_path / "some.log", *lines)
    assert {frame.station for frame in frames} == {""}  # a CALL and its answer do not agree


def test_a_word_that_stands_with_one_message_alone_is_no_station(tmp_path: Path) -> None:
    lines = dialogue(lambda n, sender: "for connector1: " if n == 8 else "say ")
    assert {frame.station for frame in read(tmp_path / "some.log", *lines)[0]} == {""}
    assert read(tmp_path / "some.log", f"dump for worker3: {TALK[0][2]}")[0][0].station == ""
    for words in (("OcppHandler: received: ", "OcppHandler: sending: "), ("RX packet: ", "TX packet: ")):
        lines = dialogue(lambda n, sender, words=words: words[sender is C])
        assert {frame.station for frame in read(tmp_path / "some.log", *lines)[0]} == {""}


def test_a_station_that_comes_up_later_is_believed(tmp_path: Path) -> None:
    early = dialogue(lambda n, sender: f"[OTM-7] {'recv' if sender is S else 'send'}: ") * 201
    late = dialogue(lambda n, sender: f"[OTM-8] {'recv' if sender is S else 'send'}: ")
    frames, _ = read(tmp_path / "some.log", *early, *late)
    assert {frame.station for frame in frames[-len(TALK) :]} == {"OTM-8"}


def test_a_side_that_may_not_say_it_has_not_whoever_is_said_to_have_logged(tmp_path: Path) -> None:
    """Both ends write SEND and RECV here."""
    lines = [f"SEND {text}" for _, _, text in TALK[:4]]
    frames, _ = read(tmp_path / "some.log", *lines, logged_by=C)
    assert [frame.sender for frame in frames] == [sender for sender, _, _ in TALK[:4]]


def test_what_a_known_program_heard_stays_as_it_was_heard(tmp_path: Path) -> None:
    heard = "[2,'1','Heartbeat',{}]"
    (frame,), report = read(tmp_path / "some.log", f"INFO:ocpp:CP1: receive message {heard}")
    assert frame.text == heard
    assert report.marked == {"not JSON": 1}


@pytest.mark.parametrize(
    "lines",
    [
        ['[2,"1","DataTransfer",', '{"vendorId":"v","x":[3,12,{"v":1}]}]'],
        ['[2,"1","DataTransfer",', r'{"vendorId":"v","data":"[2,\"9\",\"Heartbeat\",{}]"}]'],
    ],
)
def test_a_payload_may_hold_what_looks_like_a_message(lines: list[str], tmp_path: Path) -> None:
    (frame,), report = read(tmp_path / "some.log", *lines)
    assert frame.text == "\n".join(lines)
    assert not report.marked


def test_a_sentence_below_the_first_message_is_no_header(tmp_path: Path) -> None:
    lines = [f"a, b, c {TALK[0][2]}", "we have id, station, charger", f"a, b, c {TALK[8][2]}"]
    assert {frame.station for frame in read(tmp_path / "some.log", *lines)[0]} == {""}


@pytest.mark.parametrize("line", ["[3, 5, [1, 2]]", '[2, 15, "Ah"]', '[4, 7, "x"]', '[3,12,"x"]'])
def test_lists_of_numbers_are_no_frames(line: str, tmp_path: Path) -> None:
    assert read(tmp_path / "some.log", line)[0] == []


def test_a_newer_library_says_send_message(tmp_path: Path) -> None:
    lines = [
        f"2026-05-04 10:00:00.125 INFO (MainThread) [ocpp] A: {'receive' if sender is S else 'send'} message {text}"
        for sender, _, text in TALK
    ]
    frames, report = read(tmp_path / "some.log", *lines)
    assert [(f.text, f.sender) for f in frames] == [(text, sender) for sender, _, text in TALK]
    assert not report.marked


@pytest.mark.parametrize(
    ("line", "text", "mark"),
    [
        ("received: [2, '1', 'Heartbeat', {}]", '[2,"1","Heartbeat",{}]', "reconstructed"),
        (
            "recv [3, '1', {'a': [None, True, \"it's\"]}] ok",
            '[3,"1",{"a":[null,true,"it\'s"]}]',
            "reconstructed",
        ),
        ("[2,“1”,“Heartbeat”,{}]", '[2,"1","Heartbeat",{}]', "reconstructed"),
        ('recv [2,1001,"Heartbeat",{}]', '[2,1001,"Heartbeat",{}]', "messageId is not a string"),
        (r'cut: "[2,\"1\",\"Heartbeat\",{}]', '[2,"1","Heartbeat",{}]', None),
    ],
)
def test_what_had_to_be_spelt_anew_is_marked(line: str, text: str, mark: str | None, tmp_path: Path) -> None:
    (frame,), report = read(tmp_path / "some.log", line)
    assert frame.text == text
    assert list(report.marked) == ([mark] if mark else [])
    assert ("reconstructed" in frame.facts) is (mark == "reconstructed")


@pytest.mark.parametrize(
    "line",
    ["[2, 'x', Heartbeat, {}]", '[3,"77"]', '[2,"1","",{}]', '[4,"1",null,"",{}]', "[2,'1',"],
)  # fmt: skip
def test_what_looks_like_a_frame_and_is_not_read_is_counted(line: str, tmp_path: Path) -> None:
    frames, report = read(tmp_path / "some.log", "no frame at all", line)
    assert (frames, report.looked_like_frames, report.unusable) == ([], 1, 2)


@pytest.mark.parametrize("width", [70, 80, 100])
def test_a_window_wrapped_it(width: int, tmp_path: Path) -> None:
    line = f"INFO:ocpp:A: receive message {TALK[0][2]}"
    long = line.replace("Man", "Manageon " * 12)
    pieces = [long[n : n + width] for n in range(0, len(long), width)]
    (frame,), report = read(tmp_path / "some.log", *pieces)
    assert frame.text == TALK[0][2].replace("Man", "Manageon " * 12)
    assert report.marked == {"reconstructed": 1}


def test_one_line_with_an_exchange_makes_no_table_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "some.log"
    lines = [f"2026-05-04 10:00:00.125 INFO (MainThread) [ocpp] A: receive message {TALK[0][2]}"]
    lines += [f"2026-05-04 10:00:01.125 DEBUG (MainThread) [x] done {TALK[4][2]} -> {TALK[5][2]}", lines[0]]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert open_capture(path).format == "textlog"


NEAR = '{"timestamp":"2026-05-04T08:00:10Z"}'


@pytest.mark.parametrize(
    ("head", "message", "utc"),
    [
        ("2026-05-04\t08:00:00,125 x", "", "2026-05-04T08:00:00.125000Z"),
        ("2026-05-04 10:00:00 +02:00 x", "", "2026-05-04T08:00:00.000000Z"),
        ("4/5/2026, 8:00:00 AM x", "", "2026-04-05T08:00:00.000000Z"),
        ("4/5/2026, 8:00:00 PM x", NEAR, "2026-05-04T20:00:00.000000Z"),
        ("04/05/2026 08:00:00 x", "", "2026-05-04T08:00:00.000000Z"),
        ("05/04/2026 08:00:00 x", NEAR, "2026-05-04T08:00:00.000000Z"),
        ("12/31/2026 12:00:00 AM", "", "2026-12-31T00:00:00.000000Z"),
        ("31/12/2026 12:00:00", "", "2026-12-31T12:00:00.000000Z"),
        ("4.5.2026 08:00:00", "", "2026-05-04T08:00:00.000000Z"),
        ("May 4, 2026 08:00:00", "", "2026-05-04T08:00:00.000000Z"),
        ("4 May 08:00:00 - [info]", NEAR, "2026-05-04T08:00:00.000000Z"),
        ("4. Mai 2026 08:00:00", "", "2026-05-04T08:00:00.000000Z"),
        ("[04/May/2026:08:00:00]", "", "2026-05-04T08:00:00.000000Z"),
        ("1777881600.25 x", "", "2026-05-04T08:00:00.250000Z"),
        ('{"ts":1777881600250,', "", "2026-05-04T08:00:00.250000Z"),
        ("08:00:00 x", NEAR, "2026-05-04T08:00:00.000000Z"),
        ("23:30:00 x", '{"timestamp":"2026-05-04T00:10:00Z"}', "2026-05-03T23:30:00.000000Z"),
    ],
)
def test_a_time_in_any_order(head: str, message: str, utc: str) -> None:
    time = TimeReader().read(head, message)
    assert time is not None
    assert format_us(time.local_us) == utc


@pytest.mark.parametrize(
    "message", ['{"currentTime":"0001-01-01T00:00:00+14:00"}', '{"timestamp":"9999-12-31T23:59:59-14:00"}']
)
@pytest.mark.parametrize("head", ["10:00:00 IN ", "1/2/2024 10:00:00 IN "])
def test_a_payload_beyond_the_calendar_harms_nothing(head: str, message: str, tmp_path: Path) -> None:
    frames, _ = read(tmp_path / "some.log", f'{head}[3,"1",{message}]', f"{head}{TALK[0][2]}")
    assert len(frames) == 2


def test_a_word_that_begins_with_z_is_no_zone() -> None:
    time = TimeReader().read("2025-01-14 08:00:01 Zentrale: ")
    assert time is not None
    assert not time.zoned


@pytest.mark.parametrize(
    "head",
    [
        "v1.2.3 x",
        "99/99/2026 08:00:00",
        "00/00/0000 08:00:00",
        "31.02.2026 08:00:00",
        "gw 1.6.20 12:34:21",
        "1777881600250-7 x",
        "4 May 08:00:00",
    ],
)
def test_what_is_no_time_or_not_all_of_one(head: str) -> None:
    assert TimeReader().read(head) is None


@given(st.text(max_size=80), st.text(max_size=80), st.integers(1, 3))
def test_any_quotation_is_undone(before: str, data: str, times: int) -> None:
    frame = json.dumps([2, "1", "DataTransfer", {"vendorId": data}])
    line = f"{before} {frame}"
    for _ in range(times):
        line = json.dumps(line)
    if FRAME_LIKE.search(before):
        return
    undone, anew = unquoted(line)
    assert frame in undone
    assert not anew


@given(st.text(max_size=80))
def test_any_cell_is_undone(data: str) -> None:
    frame = json.dumps([2, "1", "DataTransfer", {"vendorId": data}])
    out = io.StringIO()
    csv.writer(out).writerow(["2026", "a;b", frame, "x"])
    assert frame in unquoted(out.getvalue())[0]


@given(st.text(alphabet="[]234,'\"\\“&quot; {}1aA\n", max_size=60))
def test_anything_is_survived(line: str) -> None:
    undone, _ = unquoted(line)
    assert FRAME_START.search(line) is None or undone == line
