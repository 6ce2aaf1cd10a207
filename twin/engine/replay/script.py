"""One side of a capture as a script: what to say, when to leave, and the doors that open or stay shut.

Order is that of the capture's lines, never of its stamps.
"""

import re
from collections import deque
from collections.abc import Iterable
from enum import Enum

import msgspec
from msgspec.structs import replace

from twin.engine.machine import Close
from twin.engine.recording import Exchange, Recording
from twin.engine.replay.binding import transaction_id_of
from twin.model import EventKind, Frame, Kind, Side
from twin.protocol.fold import payload_of


class Do(Enum):
    """What a part of the script is."""

    SAY = "say"
    PING = "ping"
    LEAVE = "leave"
    BE_LEFT = "be left"  # the other side ends the connection
    STIMULATE = "stimulate"  # the other side sends a CALL, if somebody makes it


class Part(msgspec.Struct, frozen=True):
    """One thing to do once everything before ``gate_seq`` in the recording has happened.

    ``after``: it comes behind its frame, which the other side may have sent.
    """

    seq: int
    do: Do
    frame: Frame
    exchange: Exchange | None = None
    close: Close | None = None
    after: bool = False

    @property
    def gate_seq(self) -> int:
        return self.seq + self.after


class Door(msgspec.Struct, frozen=True):
    """One attempt to connect: ``status`` is the HTTP status of a refusal, ``None`` where it was let in."""

    seq: int
    link: str
    refused: bool = False
    status: int | None = None
    deflate: bool = False


def script_of(recording: Recording, frames: list[Frame], side: Side) -> list[Part]:
    """What ``side`` does, in order: its CALLs and stray texts, pings, ends, and the other side's own CALLs.

    Answers are no parts: each is owed to its CALL, whenever that comes. A station's CALLs are its own affair,
    so a CSMS's script has no stimuli.
    """
    calls = {x.call.frame.seq: x for x in recording.exchanges if x.call.frame is not None}
    stray = {frame.seq for frame in recording.stray if frame.sender is side}
    lasting = _last_link(frames)
    parts: list[Part] = []
    for frame in frames:
        exchange = calls.get(frame.seq)
        if exchange is not None and frame.sender is side:
            parts.append(Part(frame.seq, Do.SAY, frame, exchange))
        elif exchange is not None and side is Side.STATION:
            parts.append(Part(frame.seq, Do.STIMULATE, frame, exchange))
        elif frame.seq in stray:
            parts.append(Part(frame.seq, Do.SAY, frame))
        elif frame.kind is Kind.PING and frame.sender is side:
            parts.append(Part(frame.seq, Do.PING, frame))
    parts += _ends(frames, side, lasting)
    place = {frame.seq: number for number, frame in enumerate(frames)}
    return sorted(parts, key=lambda part: place[part.seq])


def _last_link(frames: Iterable[Frame]) -> str:
    link = ""
    for frame in frames:
        if frame.kind in (Kind.TEXT, Kind.OPEN, Kind.REFUSED):
            link = frame.link
    return link


def _ends(frames: list[Frame], side: Side, lasting: str) -> list[Part]:
    """The recorded ends of links that another attempt follows; the last link ends when all is said.

    Unless the CSMS ended that one too, and for a reason: then it is waited for, as any other end.
    """
    parts: dict[str, Part] = {}
    last_of: dict[str, Frame] = {}
    closed: dict[str, Frame] = {}
    links: list[str] = []
    expelled = any(frame.link == lasting and is_expulsion(frame) for frame in frames)
    for frame in frames:
        if frame.kind is Kind.REFUSED or (frame.link == lasting and not expelled):
            continue
        if frame.link not in last_of and frame.kind in (Kind.TEXT, Kind.OPEN):
            links.append(frame.link)
        last_of[frame.link] = frame
        if frame.kind is Kind.CLOSE:
            closed.setdefault(frame.link, frame)
        elif frame.kind is Kind.END:
            parts[frame.link] = _end(frame, closed.get(frame.link), side)
    for link in links:  # an end that nobody recorded: it was over when the next one began
        if link not in parts and link in last_of:
            frame = last_of[link]
            parts[link] = replace(_end(frame, closed.get(link), side), after=True)
    return [part for link, part in parts.items() if link in links]


_SILENT = re.compile(r"ping|pong|keep-?alive|heartbeat|time-?d? ?out", re.IGNORECASE)


def is_expulsion(frame: Frame) -> bool:
    """Whether the CSMS ends a connection here for what the station did, or for a fault of its own."""
    told = frame.facts
    by_csms = frame.kind is Kind.CLOSE and frame.sender is Side.CSMS
    return by_csms and is_trouble(told.get("code"), str(told.get("reason") or ""))


def is_trouble(code: object, reason: str) -> bool:
    """A close code that tells of more than an end: not normal, going away, restart (RFC 6455 §7.4).

    Nor of a station that was silent: libraries say 1011 where no pong has come.
    """
    silent = code == 1011 and _SILENT.search(reason) is not None
    return isinstance(code, int) and code not in (1000, 1001, 1005, 1006, 1012) and not silent


def _end(frame: Frame, closed: Frame | None, side: Side) -> Part:
    by = closed.sender if closed is not None else frame.facts.get("by")
    if by is None:
        by = Side.STATION  # it reconnects, so it is the one to leave where nobody knows
    if by != side:
        return Part(frame.seq, Do.BE_LEFT, frame)
    code = closed.facts.get("code") if closed is not None else frame.facts.get("code")
    abrupt = closed is None and (bool(frame.facts.get("abrupt")) or code == 1006)  # else nobody knows
    usable = isinstance(code, int) and not abrupt and code not in (1005, 1006, 1015)  # RFC 6455 §7.4.1
    reason = closed.facts.get("reason", "") if closed is not None else ""
    close = Close(code if usable else 1000, str(reason or ""), abrupt=abrupt)  # type: ignore[arg-type]  # usable: an int
    return Part(frame.seq, Do.LEAVE, frame, close=close)


def attempts_beside(frames: Iterable[Frame]) -> list[int]:
    """``seq`` of the refused handshakes that came while a connection was open that went on afterwards."""
    found: list[int] = []
    waiting: dict[str, list[int]] = {}  # by open link: the attempts since its last frame
    for frame in frames:
        if frame.kind is Kind.REFUSED:
            for attempts in waiting.values():
                attempts.append(frame.seq)
        elif frame.kind is Kind.END:
            waiting.pop(frame.link, None)
        elif frame.kind in (Kind.OPEN, Kind.TEXT, Kind.PING, Kind.PONG, Kind.CLOSE):
            found += waiting.get(frame.link, [])
            waiting[frame.link] = []
    return sorted(set(found))


def doors_of(frames: Iterable[Frame]) -> list[Door]:
    """Every attempt to connect, in order; a link whose opening nobody recorded was let in."""
    doors: list[Door] = []
    seen: set[str] = set()
    for frame in frames:
        if frame.kind is Kind.REFUSED:
            status = frame.facts.get("status")
            doors.append(
                Door(frame.seq, frame.link, refused=True, status=status if isinstance(status, int) else None)
            )
        elif frame.kind in (Kind.TEXT, Kind.OPEN) and frame.link not in seen:
            seen.add(frame.link)
            extensions = str(frame.facts.get("extensions") or "")
            doors.append(Door(frame.seq, frame.link, deflate="permessage-deflate" in extensions))
    return doors


def dependents(recording: Recording, stimulus: Exchange) -> set[int]:
    """The station's CALLs that would not have been without this CALL of the CSMS, by ``seq``.

    A transaction that was started remotely: its start, its samples, its end, the Authorize before it and the
    states of its connector in between. Whatever else follows a CALL, a station may also do of itself.
    """
    call = stimulus.call
    if call.action != "RemoteStartTransaction" or call.frame is None:
        return set()
    if stimulus.answer is None or payload_of(stimulus.answer).get("status") != "Accepted":
        return set()
    wanted = payload_of(call)
    own = [x for x in recording.exchanges if x.call.sender is Side.STATION and x.call.frame is not None]
    after = [x for x in own if x.order > stimulus.order]
    start = next((x for x in after if _starts(x, wanted)), None)
    if start is None or not _follows(start, stimulus, after):
        return set()
    return {x.call.frame.seq for x in after if x.call.frame is not None and _belongs(x, start, after)}


def _starts(exchange: Exchange, wanted: dict[str, object]) -> bool:
    said = payload_of(exchange.call)
    return (
        exchange.call.action == "StartTransaction"
        and said.get("idTag") == wanted.get("idTag")
        and wanted.get("connectorId") in (None, said.get("connectorId"))
    )


def _follows(start: Exchange, stimulus: Exchange, after: list[Exchange]) -> bool:
    """Whether a start is that of a remote start: soon enough, and the connector was not given up between."""
    assert start.call.frame is not None
    assert stimulus.call.frame is not None
    if start.call.frame.at_us - stimulus.call.frame.at_us > _PLUGGED_US:
        return False
    connector = payload_of(start.call).get("connectorId")
    states = [
        payload_of(x.call).get("status")
        for x in after
        if x.order < start.order
        and x.call.action == "StatusNotification"
        and payload_of(x.call).get("connectorId") == connector
    ]
    return "Available" not in states[1:]


_PLUGGED_US = 300_000_000  # OCPP 1.6 §9.1.3 ConnectionTimeOut: a minute or two, as a rule
_DURING = ("Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Finishing")


def _belongs(exchange: Exchange, start: Exchange, after: list[Exchange]) -> bool:
    call, said, begun = exchange.call, payload_of(exchange.call), payload_of(start.call)
    if exchange is start:
        return True
    transaction_id = transaction_id_of(payload_of(start.answer)) if start.answer else None
    if call.action in ("MeterValues", "StopTransaction"):
        return transaction_id is not None and transaction_id_of(said) == transaction_id
    if call.action == "Authorize":
        return exchange.order < start.order and said.get("idTag") == begun.get("idTag")
    if call.action == "StatusNotification" and said.get("connectorId") == begun.get("connectorId"):
        stop = next((x for x in after if _stops(x, transaction_id)), None)
        return said.get("status") in _DURING and (stop is None or exchange.order < stop.order)
    return False


def _stops(exchange: Exchange, transaction_id: int | None) -> bool:
    said = payload_of(exchange.call)
    return exchange.call.action == "StopTransaction" and transaction_id_of(said) == transaction_id


def strays_of(recording: Recording, sender: Side) -> dict[str, deque[int]]:
    """``seq`` of the texts by ``sender`` that are no part of any exchange, by what they say."""
    found: dict[str, deque[int]] = {}
    for frame in recording.stray:
        if frame.sender is sender and frame.text is not None:
            found.setdefault(frame.text, deque()).append(frame.seq)
    return found


def answer_seqs(recording: Recording, sender: Side) -> dict[int, int]:
    """``seq`` of each CALL's recorded answer by ``sender``, by the ``seq`` of the CALL."""
    return {
        x.call.frame.seq: x.answer.frame.seq
        for x in recording.exchanges
        if x.call.frame is not None
        and x.answer is not None
        and x.answer.frame is not None
        and x.answer.kind in (EventKind.ANSWERED, EventKind.REFUSED)
        and x.call.sender is sender.other
    }
