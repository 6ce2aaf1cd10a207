"""Text logs: every shape in lines of our own, and the traps between a line and a frame."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.io.formats import textlog
from twin.io.formats.textlog_shapes import SHAPES
from twin.io.reading import CaptureError, ImportReport, ReadOptions
from twin.model import Frame, Kind, Side
from twin.protocol.timestamps import format_us

S, C = Side.STATION, Side.CSMS
BOOT = '[2,"19","BootNotification",{"chargePointVendor":"Manageon","chargePointModel":"OTM-K"}]'
BOOTED = '[3,"19",{"currentTime":"2026-05-04T08:00:00Z","interval":30,"status":"Accepted"}]'
BEAT = '[2,"20","Heartbeat",{}]'
DATA = '[2,"21","DataTransfer",{"vendorId":"V"}]'
EVCC = "[ocpp  ] TRACE 2026/05/04 10:00:00 "
HA = "2026-05-04 10:00:00.125 INFO (MainThread) [ocpp] "
STEVE = "[INFO ] 2026-05-04 10:00:00,125 de.rwth.idsg.steve.ocpp.ws.WebSocketLogger "
WS = "2026-05-04 10:00:00.120 DEBUG (MainThread) [websockets.server] "


@pytest.fixture
def log(tmp_path):
    """Read lines (text or bytes) as a log: the frames and the report."""

    def read(*lines: str | bytes, **options) -> tuple[list[Frame], ImportReport]:
        path = tmp_path / "some.log"
        path.write_bytes(b"\n".join(x if isinstance(x, bytes) else x.encode() for x in lines))
        reading = textlog.FORMAT.read(path, ReadOptions(**options))
        return list(reading.frames), reading.report

    return read


E, H, D = "2026/05/04 10:00:00", "2026-05-04 10:00:00.125", "2026-05-04 10:00:00,125"
HASS, OLD = "Home Assistant ocpp", "evcc before 0.127"
SAP = "cp1 | internalSendMessage: >> Command 'BootNotification' sent request payload: "

# One line of each shape: the line, who sent, which station, the printed time, the shape.
ONE_LINE = [
    (f"{EVCC}recv OTM-1: {BOOT}", S, "OTM-1", E, "evcc"),
    (f"{EVCC}send OTM-1: {BOOTED}", C, "OTM-1", E, "evcc"),
    (f"[ocpp ] TRACE {E} sent OTM-1: {BOOTED}", C, "OTM-1", E, "evcc"),
    (f"{EVCC}received JSON message from ABL_1: {BOOT}", S, "ABL_1", E, OLD),
    (f"{EVCC}sent JSON message to ABL_1: {BOOTED}", C, "ABL_1", E, OLD),
    (f"May  4 10:00:00 host evcc[2965]: {EVCC}recv A: {BOOT}", S, "A", E, "evcc"),
    (f"Okt 14 10:00:00 host evcc[2965]: {EVCC}send A: {BOOTED}", C, "A", E, "evcc"),
    (f"evcc  | {EVCC}recv A: {BOOT}", S, "A", E, "evcc"),
    (f"2026-05-04T08:00:00.123456789Z stdout F {EVCC}recv A: {BOOT}", S, "A", E, "evcc"),
    (f"[pod/evcc-0/evcc] {EVCC}recv A: {BOOT}", S, "A", E, "evcc"),
    (f"\x1b[36m[ocpp  ]\x1b[0m TRACE {E} recv A: {BOOT}", S, "A", E, "evcc"),
    (f" recv A: {BOOT}", S, "A", None, "evcc without time"),
    (f'{{"msg": {json.dumps("sent JSON message to A: " + BOOT)}}}', S, "A", None, "ocpp-go"),
    (f" sent JSON message to A: {BOOTED}", C, "A", None, "evcc without time"),
    (f"{HA}OTM-1: receive message {BOOT}", S, "OTM-1", H, HASS),
    (f"{HA}OTM-1: send {BOOTED}", C, "OTM-1", H, HASS),
    (f"{HA}: send {BOOTED}", C, "", H, HASS),
    (f"{HA}192.0.2.4:9000: send {BOOTED}", C, "192.0.2.4:9000", H, HASS),
    (f"{HA}site/7: receive message {BOOT}", S, "site/7", H, HASS),
    (f"INFO:ocpp:CP_1: receive message {BOOT}", S, "CP_1", None, "ocpp library"),
    (f"{H} [INFO] ocpp: CP_1: receive message {BOOT}", S, "CP_1", H, "ocpp library"),
    (f"{D} - ocpp - INFO - CP_1: receive message {BOOT}", S, "CP_1", D, "ocpp library"),
    (f"{D} ocpp      INFO     CP 1: receive message {BOOT}", S, "CP 1", D, "ocpp library"),
    (f"{D}:ocpp:INFO:CP_1: receive message {BOOT}", S, "CP_1", D, "ocpp library"),
    (f"INFO     ocpp:charge_point.py:352 CP_1: receive message {BOOT}", S, "CP_1", None, "ocpp library"),
    (f"{D} | INFO | ocpp.v16:start:12 - CP_1: receive message {BOOT}", S, "CP_1", D, "ocpp library"),
    (f"INFO:ocpp.charge_point:CP_1: receive message {BOOT}", S, "CP_1", None, "ocpp library"),
    (f"[{D}] [INFO] [ocpp] CP 1: send {BOOT}", S, "CP 1", D, "ocpp library"),
    (f"{D} | INFO | CP_1: receive message {BOOT}", S, "CP_1", D, "ocpp library"),
    (f"{STEVE}- [chargeBoxId=X, sessionId=58-9] Received: {BOOT}", S, "X", D, "SteVe"),
    (f"{STEVE}(qtp133-30) - [chargeBoxId=X, sessionId=58-9] Sending: {BOOTED}", C, "X", D, "SteVe"),
    (f"{D}\t[chargeBoxId=X sessionId=58-9]\tReceived:\t{BOOT}", S, "X", D, "SteVe"),
    (f"Received: {BOOT}", S, "", None, "SteVe without prefix"),
    (f"2026-05-04T08:00:00Z:COM:ocpp_rpc.c:681:-> {BOOT}", S, "", "2026-05-04T08:00:00Z", "Alfen"),
    (f"[MO] Recv: {BOOTED}", C, "", None, "MicroOcpp"),
    (f"[OcppOperation] Sent requirement (success): {BOOT}", S, "", None, "MicroOcpp"),
    (f"Oct 21 19:06:37.7 cp [OCPP16J]BootReq:pu8SendBuf={BOOT}", S, "", "Oct 21 19:06:37.7", "Delta"),
    (f"{SAP}{BOOT}", S, "", None, "SAP simulator"),
    (f"2026-05-04T08:00:00.9Z CP->CS TEXT {BOOT}", S, "", "2026-05-04T08:00:00.9Z", "packet dump"),
    (f"{H} - [RX] <= {BOOT}", S, "", H, "RX and TX"),
    (f"{H} SEND {BOOT}", S, "", H, "SEND and RECV"),
    (f"\x1b[92m{D} - app - DEBUG - RAW >> {BOOTED}\x1b[0m", C, "", D, "OCPP tester"),
    (f"  // seen at the depot: `{BOOT}`", S, "", None, "bare frame"),
]


@pytest.mark.parametrize(("line", "sender", "station", "time", "shape"), ONE_LINE, ids=lambda x: str(x)[:40])
def test_one_line(log, line, sender, station, time, shape):
    frames, report = log(line)
    (frame,) = frames
    assert (frame.text, frame.sender, frame.station) == (
        BOOT if "Boot" in frame.text else BOOTED,
        sender,
        station,
    )
    assert (frame.kind, frame.mono_ns, frame.seq) == (Kind.TEXT, None, 1)
    assert frame.facts["source"] == {"line": 1, "shape": shape}
    assert frame.facts.get("log_time") == time
    assert (report.lines, report.used, report.unusable) == (1, 1, 0)
    assert report.shapes == {shape: 1}


def test_every_shape_has_a_line():
    tried = {shape for *_, shape in ONE_LINE} | {
        "evcc error",
        "ocpp library, unreadable message",
        "ocpp library, exception",
        "ocpp library, time-out",
        "websockets debug",
        "libocpp",
        "relaying proxy",
        "relaying proxy, blocked",
    }
    assert {shape.name for shape in SHAPES} <= tried


@pytest.mark.parametrize(
    "line",
    [
        f"{EVCC}enqueued CALL [2879576313, TriggerMessage] for OTM-1",
        f"{EVCC}handling incoming CALL [531531560, BootNotification] from go",
        f"{EVCC}sent CALL RESULT [531531560] for go",
        f"{EVCC}TriggerMessage MeterValues for OTM-1: Accepted",
        f"{EVCC}started timeout timer for OTM-1",
        "[lp-1  ] DEBUG 2026/05/04 10:00:00 charge power: 0W",
        " charge power: 3W",
        f"{HA[:-7]}[custom_components.ocpp] OTM-1 connected",
        f"{STEVE}- [chargeBoxId=X, sessionId=58-9] Connection is established",
        f"{STEVE}- [chargeBoxId=X, sessionId=58-9] Sending ping message",
        "[MO] Recv: WS pong",
        "2026-05-04T08:00:00.901152Z CP->CS PING",
        '<< Command \'Heartbeat\' received response payload: {"currentTime":"2026"}',
        '[2, "two"] and [3, 4]',
        "jsonschema.exceptions.ValidationError: 'X' is not one of ['A', 'B']",
    ],
)
def test_what_only_looks_like_a_frame(log, line):
    frames, report = log(line)
    assert frames == []
    assert (report.unusable, report.unused[0].number, report.unused[0].text) == (1, 1, line)


def test_whatever_stands_behind_a_sure_prefix_is_kept(log):
    """A station that sends rubbish is the finding; the logger has only noted it."""
    frames, report = log(
        f"{EVCC}recv A: hello", f"{HA}A: receive message {BEAT}]", f'{HA}A: receive message {{"a":1}}'
    )
    assert [frame.text for frame in frames] == ["hello", f"{BEAT}]", '{"a":1}']
    assert report.marked == {"not JSON": 2, "not a JSON array": 1}


def test_two_frames_on_one_line(log):
    """Shape 14: a serial monitor without line ends."""
    frames, _ = log(f"[MO] Send: {BOOT}12:00:01 [MO] Recv: {BOOTED}")
    assert [(frame.text, frame.sender) for frame in frames] == [(BOOT, S), (BOOTED, C)]


def test_brackets_and_escapes_inside_strings(log):
    text = '[2,"1","DataTransfer",{"vendorId":"a]}\\"[{","data":"{\\"x\\":[1]}\\\\"}]'
    frames, _ = log(f"{EVCC}recv A: {text} trailing words")
    assert frames[0].text == text


@pytest.mark.parametrize(
    ("first", "more", "text"),
    [
        (f"{HA}A: receive message ", ["[2,", ' "7","MeterValues",', "{}", "]"], None),
        (
            f"#{HA}A: receive message ",
            ["[2,", '#"7","MeterValues",', "# {}", "#]"],
            '[2,\n"7","MeterValues",\n{}\n]',
        ),
        (
            "[INFO ] 10:00 [chargeBoxId=X, sessionId=1] Received: ",
            ['[2,"7",', '\t"Heartbeat", {', "}]"],
            None,
        ),
    ],
)
def test_a_frame_over_several_lines(log, first, more, text):
    frames, report = log(first + more[0], *more[1:], f'{HA}A: send [3,"7",{{}}]')
    assert [frame.text for frame in frames] == [text or "\n".join(more), '[3,"7",{}]']
    assert report.used == report.lines == len(more) + 1


def test_a_frame_cut_at_80_characters_with_the_whole_prefix_again(log):
    """Shape 13."""
    prefix = "2026-05-04T08:00:00.082Z:COM:ocpp_rpc.c:681:"
    frames, report = log(
        f"{prefix}-> {BOOT[:50]}", f"{prefix}{BOOT[50:70]}", f"{prefix}{BOOT[70:]}", f"{prefix}<- {BOOTED}"
    )
    assert [(frame.text, frame.sender) for frame in frames] == [(BOOT, S), (BOOTED, C)]
    assert report.used == 4


def test_a_header_line_above_the_frame(log):
    """Shape 11; a header without a frame below is reported."""
    frames, report = log(
        "2026-05-04T08:00:00Z: ChargePoint>CentralSystem BootNotification", BOOT, "",
        "2026-05-04T08:00:01Z: CentralSystem>ChargePoint BootNotificationResponse", BOOTED,
        "2026-05-04T08:00:02Z: ChargePoint>CentralSystem Heartbeat",
    )  # fmt: skip
    assert [(frame.text, frame.sender) for frame in frames] == [(BOOT, S), (BOOTED, C)]
    assert report.unusable_by_reason == {"announces a frame that does not follow": 1}


@pytest.mark.parametrize("after", [[], [f"{EVCC}send A: {BOOTED}"], ["Traceback (most recent call last):"]])
def test_a_cut_frame_is_kept_and_marked(log, after):
    cut = '[2,"7","StartTransaction",{"connectorId":1,"idTag":"ab>'
    frames, report = log(f"May  4 10:00:00 host evcc[1]: {EVCC}recv A: {cut}", *after)
    assert frames[0].text == cut
    assert frames[0].facts["truncated"] is True
    assert report.marked["truncated"] == 1
    assert len(frames) + report.unusable == 1 + len(after)


def test_an_unbalanced_frame_that_the_library_could_not_read_either_is_no_cut(log):
    """Two witnesses of the same text: the station has sent it like this."""
    text = '[3,"f6b1",{"configurationKey":[]'
    frames, report = log(
        f"{HA}A: receive message {text}",
        f"{HA}Unable to parse message: '{text}', it doesn't seem to be valid OCPP message",
    )
    assert [(frame.text, "truncated" in frame.facts) for frame in frames] == [(text, False)]
    assert (report.duplicates, report.marked) == (1, {"not JSON": 1})


def test_the_only_copy_stands_in_an_error_line(log):
    """Shapes 4 and 7."""
    frames, report = log(
        f"[ocpp ] ERROR {E} ocpp message (19): OccurenceConstraintViolation - Field x ({BOOT})",
        f'{HA}Unable to parse message: \'[3,"f6b1",{{"a":[]\', it doesn\'t seem to be valid OCPP message',
    )
    assert [(frame.text, frame.sender) for frame in frames] == [(BOOT, S), ('[3,"f6b1",{"a":[]', S)]
    assert report.duplicates == 0


def test_copies_by_another_logger_are_dropped_and_retransmissions_stay(log):
    frames, report = log(
        f"{EVCC}recv A: {BOOT}",
        f"[ocpp ] ERROR 2026/05/04 10:00:00 ocpp message (19): Something - wrong ({BOOT})",
        f"{EVCC}recv A: {BOOT}",
    )
    assert [frame.facts["source"]["line"] for frame in frames] == [1, 3]
    assert (report.used, report.duplicates) == (2, 1)


@pytest.mark.parametrize(("second", "copies"), [("00", 1), ("01", 1), ("05", 0)])
def test_a_second_logger_is_a_copy_only_within_the_second(log, second, copies):
    frames, report = log(
        f"{EVCC}recv A: {BOOT}", f"2026-05-04 10:00:{second} INFO:ocpp:A: receive message {BOOT}"
    )
    assert (len(frames), report.duplicates) == (2 - copies, copies)


def test_waited_is_a_time_out_and_never_a_frame(log):
    call = '[2,"c1","SetChargingProfile",{"connectorId":0}]'
    frames, report = log(
        f"{HA}A: send {call}",
        f"2026-05-04 10:00:10 WARNING (MainThread) [custom] failed: Waited 10s for response on {call}",
        f"2026-05-04 10:00:20 WARNING (MainThread) [custom] failed: Waited 10s for response on {BEAT}",
    )
    assert [frame.text for frame in frames] == [call]
    assert report.duplicates == 1
    assert report.unusable_by_reason == {"time-out of a CALL that the log does not hold": 1}


@pytest.mark.parametrize("order", [1, -1])
def test_an_abbreviated_copy_gives_way_to_the_whole_frame(log, order):
    """Shape 8: the websockets logger speaks before the ocpp logger on receipt and after it on sending."""
    abbreviated = f"{WS}< TEXT '{BOOT[:40]}...{BOOT[-20:]}' [{len(BOOT)} bytes]"
    frames, report = log(*[abbreviated, f"{HA}A: receive message {BOOT}"][::order])
    assert [(frame.text, frame.sender, frame.station) for frame in frames] == [(BOOT, S, "A")]
    assert (report.used, report.duplicates, report.marked) == (1, 1, {})


def test_an_abbreviated_frame_alone_is_kept_with_the_station_of_the_handshake(log):
    frames, report = log(
        f"{WS}< GET /ocpp/pulsar HTTP/1.1",
        f'{WS}< TEXT \'[2,"4a","Boot..."imsi": ""}}]\' [318 bytes]',
        f"{WS}> TEXT '[3,\"4a\",{{}}]' [11 bytes]",
    )
    assert [(frame.sender, frame.station) for frame in frames] == [(S, "pulsar"), (C, "pulsar")]
    assert [frame.facts.get("abbreviated") for frame in frames] == [True, None]
    assert [frame.facts["wire"]["bytes"] for frame in frames] == [318, 11]
    assert report.marked == {"abbreviated": 1}


def test_python_repr_is_rebuilt_marked_and_never_evaluated(log, tmp_path):
    payload = "{'connectorId': 1, 'info': \"it's\", 'x': None}"
    frames, report = log(
        f"Error while handling request '<Call - unique_id=77, action=StatusNotification, payload={payload}>'",
        "Exception occurred: Payload '{'value': 604.213}' for action 'MeterValues' is not valid: no",
        f"Payload '{{'a': open({str(tmp_path / 'made')!r}, 'w')}}' for action 'MeterValues' is not valid",
    )
    assert [frame.text for frame in frames] == [
        '[2, "77", "StatusNotification", {"connectorId": 1, "info": "it\'s", "x": null}]',
        '[2, "?", "MeterValues", {"value": 604.213}]',
    ]
    assert all(frame.facts["reconstructed"] and frame.sender is S for frame in frames)
    assert report.unusable == 1
    assert not (tmp_path / "made").exists()


def test_python_repr_of_a_logged_frame_is_a_copy(log):
    frames, report = log(
        f"{HA}A: receive message {BOOT}",
        "Error while handling request '<Call - unique_id=19, action=BootNotification, payload={'a': 1}>'",
    )
    assert [frame.text for frame in frames] == [BOOT]
    assert report.duplicates == 1


@pytest.mark.parametrize("payload", ["{'connectorId': 3, 'errorCode': 'X'}", "{'connectorId': 4}"])
def test_a_payload_that_a_rule_refused_is_the_call_above_it(log, payload):
    """Shape 7: the line tells no id, so action and payload must be the same."""
    call = '[2,"7","StatusNotification",{"connectorId":3,"errorCode":"X"}]'
    frames, report = log(
        f"{HA}A: receive message {call}",
        f"{HA}Exception occurred: Payload '{payload}' for action 'StatusNotification' is not valid: no",
        f"ocpp.exceptions.FormatError: Payload '{payload}' for action 'StatusNotification' is not valid",
    )
    copies = 2 if "X" in payload else 1
    assert (len(frames), frames[0].text, report.duplicates) == (3 - copies, call, copies)


def test_a_traceback_says_the_unreadable_text_again_in_python_spelling(log):
    text = '[3,"f6b1",{"data":"it\'s \\"x","configurationKey":[]'
    frames, report = log(
        f"{HA}A: receive message {text}",
        f"{HA}Unable to parse message: '{text}', it doesn't seem to be valid OCPP message",
        "Traceback (most recent call last):",
        f"ocpp.exceptions.FormatViolationError: no, {{'cause': 'not JSON', 'ocpp_message': {text!r}}}",
    )
    assert [frame.text for frame in frames] == [text]
    assert (report.duplicates, report.unusable) == (2, 1)


ESCAPES = (
    '[2,"5","DataTransfer",{"vendorId":"EN","data":"{\\"sn\\":\\"0123456789\\",\\"fw\\":\\"V4\\\\3\\"}"}]'
)


def test_the_websockets_logger_doubles_backslashes(log):
    (frame,), report = log(f"{WS}< TEXT {ESCAPES!r} [{len(ESCAPES)} bytes]")
    assert (frame.text, report.marked) == (ESCAPES, {})
    (frame,), _ = log(f"{WS}< TEXT '[2,\\x]' [6 bytes]")
    assert frame.text == "[2,\\x]"  # no escape of Python's: as printed


@pytest.mark.parametrize("tail", range(8, 40))
def test_copies_are_known_in_the_websockets_loggers_spelling(log, tail):
    printed = repr(ESCAPES)
    printed = printed[:45] + "..." + printed[-tail:]  # cut in the middle of an escape, some of them
    frames, report = log(f"{WS}< TEXT {printed} [{len(ESCAPES)} bytes]", f"{HA}A: receive message {ESCAPES}")
    assert ([frame.text for frame in frames], report.duplicates) == ([ESCAPES], 1)


def test_the_same_answer_both_ways_is_two_frames(log):
    """Both sides count their ids from 1."""
    text = '[3,"1",{}]'
    websockets = "TEXT '[3,\"1\",{}]' [10 bytes]"
    lines = (
        f"{WS}< {websockets}",
        f"{HA}A: receive message {text}",
        f"{HA}A: send {text}",
        f"{WS}> {websockets}",
    )
    frames, _ = log(*lines)
    assert [(frame.sender, frame.station) for frame in frames] == [(S, "A"), (C, "A")]
    assert [frame.facts["source"]["line"] for frame in frames] == [1, 3]


def test_the_same_frame_of_two_stations_is_two_frames(log):
    frames, _ = log(f"{EVCC}recv A: {BEAT}", f"INFO:ocpp:B: receive message {BEAT}")
    assert [frame.station for frame in frames] == ["A", "B"]


def test_a_retransmission_that_two_loggers_say_is_two_frames(log):
    said = [f"{WS}< TEXT '{BEAT}' [{len(BEAT)} bytes]", f"{HA}A: receive message {BEAT}"]
    frames, report = log(*said, *said)
    assert (len(frames), report.duplicates) == (2, 2)


def test_blocked_by_a_proxy_with_the_date_on_another_line(log):
    frames, _ = log(
        "[2026-05-04 10:00:00]",
        "INFO - New client connection from ('192.0.2.1', 5) requesting path: /Wall",
        f"[23:59:59,900] [client->target] {BOOT}",
        f"[00:00:01,000] [client->target-BLOCKED] {BEAT}",
    )
    assert [(frame.station, frame.facts.get("blocked")) for frame in frames] == [
        ("Wall", None),
        ("Wall", True),
    ]
    assert frames[1].at_us - frames[0].at_us == 1_100_000  # past midnight


@pytest.mark.parametrize(
    ("lines", "senders"),
    [
        # the same words on either side: the CALLs tell which side has logged
        ([f"INFO:ocpp:C: send {BOOT}", f"INFO:ocpp:C: receive message {BOOTED}"], [S, C]),
        ([f"INFO:ocpp:C: receive message {BOOT}", f"INFO:ocpp:C: send {DATA}"], [S, C]),
        ([f"INFO:ocpp:C: send {DATA}", f"INFO:ocpp:C: receive message {BOOT}"], [C, S]),
        # both ends in one log: each CALL tells for itself, and for its answer
        (
            [
                f"INFO:ocpp:C: {verb} {text}"
                for text in (BOOT, BOOTED)
                for verb in ("send", "receive message")
            ],
            [S, S, C, C],
        ),
        # a formatter of the station's own with brackets is not Home Assistant's
        ([f"[10:00] [INFO] [ocpp] C: send {BOOT}", f"[10:00] [INFO] [ocpp] C: send {DATA}"], [S, S]),
        # no word at all: who may send it, then what it answers
        ([BOOT, BOOTED], [S, C]),
        ([DATA, '[3,"21",{"status":"Accepted"}]'], [None, None]),
        (['[3,"99",{}]'], [None]),
    ],
)
def test_direction_is_known_or_said_to_be_unknown(log, lines, senders):
    frames, report = log(*lines)
    assert [frame.sender for frame in frames] == senders
    assert [frame.facts.get("direction") for frame in frames] == [None if s else "unknown" for s in senders]
    assert (
        f"direction known for {len(senders) - senders.count(None)} of {len(senders)} frames" in report.notes
    )


def test_the_user_may_say_which_side_has_logged(log):
    frames, _ = log(f"INFO:ocpp:C: send {DATA}", logged_by=S)
    assert [frame.sender for frame in frames] == [S]
    frames, _ = log(f"{HA}C: send {DATA}", logged_by=S)
    assert [frame.sender for frame in frames] == [C]  # Home Assistant is always the CSMS


def test_one_link_a_station(log):
    frames, _ = log(f"{EVCC}recv A: {BOOT}", f"{EVCC}recv B: {BOOT}", f"{EVCC}send A: {BOOTED}", BEAT)
    assert [frame.link for frame in frames] == ["A", "B", "A", "log"]


def test_the_zone_is_the_modal_offset_to_the_payload_times(log):
    lines = [f'{EVCC}send A: [3,"{n}",{{"currentTime":"2026-05-04T08:00:0{n % 3}Z"}}]' for n in range(5)]
    old = f'{EVCC}recv A: [2,"9","StatusNotification",{{"timestamp":"2026-05-01T01:17:00Z"}}]'
    frames, report = log(*lines, old)
    assert format_us(frames[0].at_us) == "2026-05-04T08:00:00.000000Z"
    assert report.notes[0] == "time zone UTC+02:00: modal offset, 83 % of 6 payload times"


def test_the_zone_may_be_given_and_knows_summer(log):
    summer, winter = f"{EVCC}recv A: {BOOT}", f"{EVCC.replace('/05/', '/12/')}recv A: {BEAT}"
    frames, report = log(summer, winter, log_timezone="Europe/Berlin")
    assert [format_us(frame.at_us)[5:16] for frame in frames] == ["05-04T08:00", "12-04T09:00"]
    assert report.notes[0] == "time zone Europe/Berlin, as asked"


def test_without_any_payload_time_it_is_utc_and_says_so(log):
    frames, report = log(f"{EVCC}recv A: {BEAT}")
    assert format_us(frames[0].at_us) == "2026-05-04T10:00:00.000000Z"
    assert report.notes[0].startswith("time zone UTC: the log names none")


def test_an_unknown_zone_is_one_clear_line(log):
    for name in ("Mars/Olympus", "../../etc/passwd", "", "Europe"):
        if name:
            with pytest.raises(CaptureError, match="no time zone"):
                log(BOOT, log_timezone=name)


def test_stamps_never_decrease_and_the_printed_time_is_kept(log):
    earlier = EVCC.replace("10:00:00", "09:00:00")
    frames, _ = log(
        f" recv A: {BEAT}", f"{EVCC}recv A: {BOOT}", f"{earlier}send A: {BOOTED}", f" recv A: {BEAT}"
    )
    assert len({frame.at_us for frame in frames}) == 1
    assert [frame.facts.get("log_time", "-")[-8:] for frame in frames] == ["-", "10:00:00", "09:00:00", "-"]
    assert [frame.facts.get("interpolated") for frame in frames] == [True, None, None, True]


def test_a_log_without_times_takes_those_of_the_payloads(log):
    frames, report = log(BOOT, BOOTED, BEAT)
    assert [format_us(frame.at_us)[:16] for frame in frames] == ["2026-05-04T08:00"] * 3
    assert report.notes[0].startswith("no time in the log")


def test_a_journal_without_year_takes_it_from_the_payload(log):
    frames, _ = log(f"May  4 08:00:00 host app[1]: Sending: {BOOTED}")
    assert format_us(frames[0].at_us) == "2026-05-04T08:00:00.000000Z"


def test_the_year_that_a_later_payload_tells_is_that_of_the_lines_above(log):
    frames, _ = log(
        f"Dec 31 23:59:58 host app[1]: recv A: {BEAT}",
        f"Jan  1 00:00:02 host app[1]: recv A: {BEAT}",
        'Jan  1 00:00:03 host app[1]: Sending: [3,"1",{"currentTime":"2025-12-31T23:00:03Z"}]',
        f"Feb 30 00:00:03 host app[1]: recv A: {BEAT}",
        f"Jan  1 00:00:04 host app[1]: recv A: {BEAT}",
        log_timezone="Europe/Berlin",
    )
    stamps = ["2025-12-31T22:59:58", *["2025-12-31T23:00:0" + second for second in "2334"]]
    assert [format_us(frame.at_us)[:19] for frame in frames] == stamps


def test_new_year_in_a_journal_without_years(log):
    frames, _ = log(
        'Dec 31 23:59:58 host app[1]: Sending: [3,"1",{"currentTime":"2025-12-31T23:59:58Z"}]',
        f"Jan  1 00:00:02 host app[1]: recv A: {BEAT}",
    )
    assert [format_us(frame.at_us)[:10] for frame in frames] == ["2025-12-31", "2026-01-01"]


@pytest.mark.parametrize("last", ["9999-12-31 23:59:59", "9999-12-31T23:59:59-12:00"])
def test_the_calendar_ends(log, last):
    frames, _ = log(f"[{last}]", f"[00:00:01] x {BEAT}", f"Jan  1 00:00:01 host a[1]: recv A: {BOOT}")
    assert len(frames) == 2


@pytest.mark.parametrize("spelt", ['{{"log":{0}}}', '{{ "PRIORITY": "6", "MESSAGE" : {0} }}'])
def test_a_container_log_in_json(log, spelt):
    frames, _ = log(spelt.format(json.dumps(f"{EVCC}recv A: {BOOT}\n")))
    assert (frames[0].text, frames[0].station) == (BOOT, "A")


def test_a_lone_surrogate_that_json_spells_is_no_text(log):
    line = f"{WS}< TEXT '[2,\ud800]' [7 bytes]"
    frames, _ = log(json.dumps({"log": line}), f"{WS}< TEXT '[2,\\ud800]' [7 bytes]")
    assert [frame.text.encode() for frame in frames] == ["[2,\ufffd]".encode(), b"[2,\\ud800]"]


def test_odd_bytes(log):
    frames, report = log(
        b"\xef\xbb\xbf" + f"{EVCC}recv A: {BOOT}\r".encode(), b"\xff\xfe\x00", b"\x00" * 10, b"  \r"
    )
    assert [frame.text for frame in frames] == [BOOT]
    assert (report.lines, report.unusable) == (3, 2)
    assert "1 lines are not UTF-8: read with replacement signs" in report.notes


def test_a_line_above_the_cap_is_reported_not_read(log):
    frames, report = log(f'{EVCC}recv A: [2,"1","A","' + "x" * 17_000_000 + '"]', f"{EVCC}recv A: {BEAT}")
    assert [frame.text for frame in frames] == [BEAT]
    assert report.unusable_by_reason == {"longer than 16 MiB": 1}


def test_a_missing_file_is_one_clear_line(tmp_path):
    reading = textlog.FORMAT.read(tmp_path / "absent.log", ReadOptions())
    with pytest.raises(CaptureError, match=re.escape("absent.log")):
        list(reading.frames)


def test_sniffing():
    def score(text: str) -> float:
        return textlog.sniff(Path("x"), text.encode())

    assert score(f"noise\n{EVCC}recv A: {BOOT}") == 0.9
    assert score(f"noise\n// {BOOT}") == 0.6
    assert score("nothing of the kind") == 0.05
    assert score("") == textlog.sniff(Path("x"), b"PK\0\0") == 0.0


PIECES = st.sampled_from(
    [line for line, *_ in ONE_LINE]
    + [
        BOOT,
        BOOTED,
        BEAT,
        BOOT[:40],
        "[2,",
        "{",
        "}]",
        '"',
        "\\",
        "\n",
        "\n",
        "\r\n",
        "\x1b[0m",
        " ",
        ">",
        "'",
    ]
    + [
        "Waited 10s for response on ",
        "Unable to parse message: '",
        "', it doesn't",
        "Payload '{",
        "<Call - unique_id=",
    ]
    + [
        f"{WS}< TEXT '",
        "...",
        "' [318 bytes]",
        "#",
        "//",
        '{"log":"',
        "9999-12-31 23:59:59",
        "\\",
        "[3",
        "10:00:00",
        "May  4 ",
        "99/99/9999 ",
    ]
)
ANY_LOG = st.lists(PIECES | st.text(max_size=8) | st.binary(max_size=4), max_size=40).map(
    lambda pieces: b"".join(x if isinstance(x, bytes) else x.encode("utf-8", "replace") for x in pieces)
)


@settings(max_examples=400, deadline=None)
@given(ANY_LOG)
def test_any_bytes_give_frames_and_a_complete_report(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "any.log"
    path.write_bytes(data)
    reading = textlog.FORMAT.read(path, ReadOptions())
    frames = list(reading.frames)  # the sum over the lines is asserted inside
    assert [frame.seq for frame in frames] == list(range(1, len(frames) + 1))
    assert all(a.at_us <= b.at_us for a, b in pairwise(frames))
    assert all((frame.sender is None) == ("direction" in frame.facts) for frame in frames)
    assert len(reading.report.unused) == min(reading.report.unusable, 1000)
    assert sum(reading.report.shapes.values()) == len(frames)
