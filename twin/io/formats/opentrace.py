"""open-ocpp-trace v1.1: reader, writer, one record as bytes, and the view that a consumer must derive.

Specification: github.com/open-ocpp-trace/specification. A record is one OCPP-J message; ``raw`` is the fact,
everything beside it is derived and loses to it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from twin.io.formats.jsonlines import is_unicode, mended, numbered_records, shown
from twin.io.reading import Format, ImportReport, Reading, ReadOptions, WriteReport
from twin.model import Call, CallError, CallResult, Event, EventKind, Flaw, Frame, Kind, Message, Parsed, Side
from twin.protocol.codec import parse, payload_text
from twin.protocol.session import Rpc
from twin.protocol.timestamps import format_us, parse_stamp

SCHEMA_VERSION = "1.1"
DIRECTIONS = {Side.STATION: "cp-to-csms", Side.CSMS: "csms-to-cp"}
SENDERS = {direction: side for side, direction in DIRECTIONS.items()}
MESSAGE_TYPES: dict[type, str] = {Call: "CALL", CallResult: "CALLRESULT", CallError: "CALLERROR"}
_TYPE_IDS = {"CALL": 2, "CALLRESULT": 3, "CALLERROR": 4}
_NOT_STRICT = frozenset({Flaw.NOT_JSON, Flaw.BOM, Flaw.NOT_A_NUMBER, Flaw.SURROGATE})
# What a record says about its place in the capture; the rest of ``meta`` are the frame's facts.
_PLACE = frozenset({"seq", "conn", "conn_seq", "t_wall_ns", "t_mono_ns", "answers", "prev"})
_EMPTY: Mapping[str, Any] = {}

_encode = msgspec.json.Encoder().encode


def sniff(path: Path, head: bytes) -> float:
    """Certain when the first line is a record; half so when it has only the direction of one."""
    try:
        record = json.loads(head.lstrip().partition(b"\n")[0])
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(record, dict) or "kind" in record or record.get("direction") not in SENDERS:
        return 0.0
    return 0.95 if "schemaVersion" in record else 0.5


def read(path: Path, options: ReadOptions) -> Reading:
    """Frames of the records in file order, numbered anew from 1; the trace has its own UTC stamps."""
    report = ImportReport()
    return Reading(format="open-ocpp-trace", frames=_frames(path, report), report=report)


def _frames(path: Path, report: ImportReport) -> Iterator[Frame]:
    seq, last_us = 0, 0
    for number, line, record in numbered_records(path, report):
        frame = _frame(record, line, seq + 1, last_us)
        if isinstance(frame, str):
            report.unused_line(number, shown(line), frame)
            continue
        seq, last_us = frame.seq, frame.at_us
        report.used += 1
        if frame.facts.get("reconstructed"):
            report.marked["reconstructed"] += 1
        yield frame
    report.settle()


def _frame(record: Mapping[str, Any], line: bytes, seq: int, last_us: int) -> Frame | str:
    """The Frame of one record, or why it is none."""
    if "kind" in record:
        return "not a record but a line of a capture"
    if record.get("transport", "json") != "json":
        return "transport is not json"
    sender = SENDERS.get(str(record.get("direction")))
    if sender is None:
        return "no direction"
    stamp = parse_stamp(record["timestamp"]) if isinstance(record.get("timestamp"), str) else None
    if stamp is None:
        return "timestamp is not a time"
    meta, station = record.get("meta"), record.get("chargePointId")
    meta = mended(meta) if isinstance(meta, dict) else {}
    station = mended(station) if isinstance(station, str) else ""
    facts = {key: value for key, value in meta.items() if key not in _PLACE}
    if (
        "answers" not in meta
        and record.get("messageType") != "CALL"
        and isinstance(record.get("action"), str)
    ):
        facts["action"] = mended(record["action"])  # conformance/README.md: the effective action of an orphan
    text = record.get("raw")
    if not isinstance(text, str):
        text = _text_of(record, line)
        facts["reconstructed"] = True
    if text is None or not is_unicode(text):
        return "neither raw nor a message"
    if seq > 1 and stamp.at_us < last_us:
        facts["log_time"] = record["timestamp"]
    conn, mono_ns = meta.get("conn"), meta.get("t_mono_ns")
    return Frame(
        seq=seq,
        at_us=max(stamp.at_us, last_us) if seq > 1 else stamp.at_us,
        link=conn if isinstance(conn, str) else station or "trace",
        kind=Kind.TEXT,
        sender=sender,
        mono_ns=mono_ns if type(mono_ns) is int else None,
        station=station,
        text=text,
        facts=facts,
    )


def _text_of(record: Mapping[str, Any], line: bytes) -> str | None:
    """The message where the producer kept no ``raw``, its payload sliced from the line: ``4321.10`` stays."""
    type_id, message_id = _TYPE_IDS.get(str(record.get("messageType"))), record.get("messageId")
    if type_id is None or not isinstance(message_id, str):
        return None
    try:
        slices = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        error = msgspec.json.decode(slices["error"], type=dict[str, msgspec.Raw]) if type_id == 4 else {}
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, KeyError):
        return None
    rest = [slices.get("payload", b"{}")]
    if type_id == 2:
        rest.insert(0, slices.get("action", b"null"))
    elif type_id == 4:
        rest = [error.get("code", b'""'), error.get("description", b'""'), error.get("details", b"{}")]
    text = b"[%d,%b]" % (type_id, b",".join([_encode(message_id), *map(bytes, rest)]))
    return text.decode()


def is_record(frame: Frame, parsed: Parsed) -> bool:
    """Whether a frame can stand as a record: direction known, strict JSON, type, id and action there."""
    return (
        frame.kind is Kind.TEXT
        and frame.sender is not None
        and parsed.message is not None
        and not any(defect.flaw in _NOT_STRICT for defect in parsed.defects)
    )


def record_of(
    frame: Frame,
    parsed: Parsed,
    action: str = "",
    meta: Mapping[str, Any] = _EMPTY,
    ocpp_version: str = "1.6",
) -> bytes:
    """One record without its line end; only for a frame that :func:`is_record`.

    ``action`` is the effective action: on an answer that of the CALL it belongs to, "" for an orphan.
    ``payload`` is the slice of the text itself, so that ``4321.10`` keeps its zero.
    """
    message = parsed.message
    assert message is not None
    assert frame.sender is not None
    assert frame.text is not None
    head: dict[str, Any] = {
        "schemaVersion": SCHEMA_VERSION,
        "timestamp": format_us(frame.at_us),
        "ocppVersion": ocpp_version or None,
        "transport": "json",
        "chargePointId": frame.station or None,
        "connectorId": _connector_id(message),
        "direction": DIRECTIONS[frame.sender],
        "messageType": MESSAGE_TYPES[type(message)],
        "messageId": message.message_id,
        "action": message.action if isinstance(message, Call) else action or None,
    }
    fields = [_field(key, value) for key, value in head.items() if value is not None]
    if isinstance(message, CallError):
        fields.append(b'"error":{' + b",".join(_error(message, frame.text)) + b"}")
    elif (payload := payload_text(frame.text)) is not None:
        fields.append(b'"payload":' + _one_line(payload.encode()))
    fields.append(_field("raw", frame.text))
    if meta:
        fields.append(_field("meta", meta))
    return b"{" + b",".join(fields) + b"}"


def write(frames: Iterable[Frame], path: Path) -> WriteReport:
    """Write a pure trace: records only, each with its effective action. An existing file is replaced."""
    report = WriteReport()
    rpcs: dict[str, Rpc] = {}
    versions: dict[str, str] = {}
    with path.open("wb") as file:
        for frame in frames:
            parsed, event = _correlate(frame, rpcs)
            if frame.kind is Kind.OPEN:
                versions[frame.link] = str(frame.facts.get("subprotocol") or "ocpp1.6").removeprefix("ocpp")
            if not is_record(frame, parsed):
                report.left_out[_why_left_out(frame)] += 1
                continue
            action, version = _effective_action(frame, event), versions.get(frame.link, "1.6")
            file.write(record_of(frame, parsed, action, _meta(frame, event), version) + b"\n")
            report.written += 1
    return report


def consumer_view(frames: Iterable[Frame]) -> dict[str, Any]:
    """What the specification's ``expected.json`` holds: counts, effective actions, correlation, leftovers."""
    rpcs: dict[str, Rpc] = {}
    places: dict[int, int] = {}  # seq: index among the records
    records: list[dict[str, Any]] = []
    orphans: list[int] = []
    for frame in frames:
        parsed, event = _correlate(frame, rpcs)
        if not is_record(frame, parsed):
            continue
        message = parsed.message
        assert message is not None
        index = places[frame.seq] = len(records)
        kind = MESSAGE_TYPES[type(message)]
        record = {"index": index, "messageType": kind, "messageId": message.message_id}
        if action := _effective_action(frame, event):
            record["action"] = action
        if event.kind in (EventKind.ANSWERED, EventKind.REFUSED) and event.asked:
            record["correlatesWith"] = places[event.asked.frame.seq]
        elif event.kind is EventKind.ORPHANED:
            orphans.append(index)
        records.append(record)
    kinds = Counter(record["messageType"] for record in records)
    answered = {record.get("correlatesWith") for record in records}
    return {
        "schemaVersion": SCHEMA_VERSION,
        "counts": {
            "records": len(records),
            "calls": kinds["CALL"],
            "callResults": kinds["CALLRESULT"],
            "callErrors": kinds["CALLERROR"],
        },
        "records": records,
        "unansweredCalls": [
            record["index"]
            for record in records
            if record["messageType"] == "CALL" and record["index"] not in answered
        ],
        "orphanResponses": orphans,
    }


def _correlate(frame: Frame, rpcs: dict[str, Rpc]) -> tuple[Parsed, Event]:
    """The normative rule by the one correlator there is; its timers never run: a trace knows no expiry."""
    parsed = parse(frame.text) if frame.kind is Kind.TEXT and frame.text is not None else Parsed(None)
    rpc = rpcs.setdefault(frame.link, Rpc(frame.link))
    return parsed, rpc.receive(frame, parsed)[-1]


def _effective_action(frame: Frame, event: Event) -> str:
    return event.action or str(frame.facts.get("action", ""))


def _meta(frame: Frame, event: Event) -> dict[str, Any]:
    meta = {key: value for key, value in frame.facts.items() if key not in _PLACE}
    meta |= {"seq": frame.seq, "conn": frame.link}
    if frame.mono_ns is not None:
        meta["t_mono_ns"] = frame.mono_ns
    if event.asked is not None and event.kind is not EventKind.CALLED:
        meta["answers"] = event.asked.frame.seq
    return meta


def _why_left_out(frame: Frame) -> str:
    if frame.kind is not Kind.TEXT:
        return str(frame.kind)
    return "direction unknown" if frame.sender is None else "text that is not OCPP-J"


def _connector_id(message: Message) -> int | None:
    """Only where the request's payload has one at top level."""
    if not isinstance(message, Call) or not isinstance(message.payload, dict):
        return None
    connector_id = message.payload.get("connectorId")
    return connector_id if type(connector_id) is int and connector_id >= 0 else None


def _error(message: CallError, text: str) -> list[bytes]:
    """The three elements, as far as the schema allows their types; ``raw`` keeps the others."""
    told = {"code": message.code, "description": message.description}
    fields = [_field(key, value) for key, value in told.items() if isinstance(value, str)]
    if message.details is not None:
        with suppress(msgspec.MsgspecError, RecursionError):  # deeper than msgspec goes: raw keeps it
            details = bytes(msgspec.json.decode(text, type=list[msgspec.Raw])[4])
            fields.append(b'"details":' + _one_line(details))
    return fields


def _one_line(json_text: bytes) -> bytes:
    """The same JSON without line breaks: outside strings they are white space, inside they cannot stand."""
    return json_text.replace(b"\r", b"").replace(b"\n", b"")


def _field(key: str, value: Any) -> bytes:
    return b'"' + key.encode() + b'":' + _encode(value)


FORMAT = Format(
    name="open-ocpp-trace",
    title="open-ocpp-trace v1.1",
    sniff=sniff,
    read=read,
    write=write,
    suffixes=(".jsonl",),
)
