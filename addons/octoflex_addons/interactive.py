"""For mitmweb and mitmproxy: marks, comments and small metadata by what the rules think of each message.

WebSocket mode only, in which mitmproxy shows whole messages; the analyzer then runs in mitmproxy's own
process, which a recording never asks of it. What a flow is marked with can be filtered: ``~marked``,
``~comment``, ``~meta``.
"""

import functools
import logging
from collections import deque
from collections.abc import Callable

import msgspec
from mitmproxy import http

from twin.engine.analyzer import Analyzer
from twin.io import clock
from twin.io.recorder import station_of
from twin.model import Event, EventKind, Finding, Frame, Kind, Severity, Side

log = logging.getLogger(__name__)

SUBPROTOCOL = "ocpp1.6"
MARKS = {
    Severity.ERROR: ":red_circle:",
    Severity.WARNING: ":orange_circle:",
    Severity.DRIFT: ":large_blue_circle:",
    Severity.NOTE: ":white_circle:",
}
_MOST_NOTES = 2_000  # messages of one flow whose meaning is kept for the view
_MOST_ENDED = 50  # flows that ended and can still be looked at with their findings


class Note(msgspec.Struct, frozen=True):
    """What one message means: its action and kind, how long its answer took, and what was found."""

    heading: str
    findings: tuple[Finding, ...] = ()


class Watched(msgspec.Struct):
    """One flow that speaks OCPP 1.6."""

    station: str
    seq: int = 0
    at_us: int = 0
    notes: dict[int, Note] = {}
    worst: Severity | None = None
    found: int = 0


def kept_out[**P](hook: Callable[P, None]) -> Callable[P, None]:
    """A hook of which nothing gets out: what looks on must not stop what it looks at."""

    @functools.wraps(hook)
    def safe(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            hook(*args, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # OptionsError would freeze the connection, SystemExit end the proxy
            log.warning("twin: %s in %s", type(error).__name__, hook.__name__)

    return safe


class Interactive:
    """Marks each OCPP flow by its worst finding, and remembers for the view what each message means."""

    def __init__(self) -> None:
        self._analyzer = Analyzer()
        self.flows: dict[str, Watched] = {}
        self._ended: deque[str] = deque()

    @kept_out
    def websocket_start(self, flow: http.HTTPFlow) -> None:
        chosen = flow.response.headers.get("sec-websocket-protocol", "") if flow.response else ""
        if chosen.casefold() != SUBPROTOCOL:
            return
        watched = self.flows[flow.id] = Watched(station_of(flow.request.path), 0, 0, {})
        flow.metadata["ocpp.station"] = watched.station
        self._see(flow, watched, Kind.OPEN, None, None)

    @kept_out
    def websocket_message(self, flow: http.HTTPFlow) -> None:
        watched = self.flows.get(flow.id)
        if watched is None or flow.websocket is None:
            return
        message = flow.websocket.messages[-1]
        side = Side.STATION if message.from_client else Side.CSMS
        text = message.content.decode(errors="replace") if message.is_text else None
        kind = Kind.TEXT if message.is_text else Kind.BINARY
        note = self._see(flow, watched, kind, side, text)
        watched.notes[id(message)] = note
        if len(watched.notes) > _MOST_NOTES:
            del watched.notes[next(iter(watched.notes))]

    @kept_out
    def websocket_end(self, flow: http.HTTPFlow) -> None:
        watched = self.flows.get(flow.id)
        if watched is not None:
            self._see(flow, watched, Kind.END, None, None)
            self._ended.append(flow.id)
            if len(self._ended) > _MOST_ENDED:
                self.flows.pop(self._ended.popleft(), None)

    def note_of(self, flow_id: str, message: object) -> Note | None:
        """What a message of a flow means, while it is remembered."""
        watched = self.flows.get(flow_id)
        return watched.notes.get(id(message)) if watched is not None else None

    def _see(
        self, flow: http.HTTPFlow, watched: Watched, kind: Kind, side: Side | None, text: str | None
    ) -> Note:
        now = clock.now()
        watched.seq += 1
        watched.at_us = max(watched.at_us, now.wall_us)
        frame = Frame(
            seq=watched.seq,
            at_us=watched.at_us,
            mono_ns=now.mono_ns,
            link=flow.id,
            station=watched.station,
            kind=kind,
            sender=side,
            text=text,
            facts={"subprotocol": SUBPROTOCOL} if kind is Kind.OPEN else {},
        )
        heading, findings = kind.value, []
        for step in self._analyzer.steps(frame):
            if step.event.frame is frame:
                heading = heading_of(step.event)
            findings += self._analyzer.judge(step)
        self._mark(flow, watched, findings)
        return Note(heading, tuple(findings))

    def _mark(self, flow: http.HTTPFlow, watched: Watched, findings: list[Finding]) -> None:
        if not findings:
            return
        watched.found += len(findings)
        worst = min(findings, key=lambda finding: finding.severity.rank)
        flow.metadata["ocpp.findings"] = watched.found
        if watched.worst is None or worst.severity.rank < watched.worst.rank:
            watched.worst = worst.severity
            flow.marked = MARKS[worst.severity]
            flow.comment = f"{worst.severity.value} {worst.rule}: {worst.detail}"[:200]
            flow.metadata["ocpp.worst"] = worst.severity.value


def heading_of(event: Event) -> str:
    """A message in a few words: action, what it is, and how long an answer took against its limit."""
    took = f" after {event.took_us / 1000:,.0f} ms" if event.took_us is not None else ""
    if event.took_us is not None and event.took_us > 5_000_000:
        took += " (over 5 s)"
    words = {
        EventKind.CALLED: f"{event.action} CALL",
        EventKind.ANSWERED: f"{event.action} CALLRESULT{took}",
        EventKind.REFUSED: f"{event.action} CALLERROR{took}",
        EventKind.ORPHANED: f"answer to no open CALL ({event.why})",
        EventKind.MALFORMED: "no OCPP-J message",
    }
    return words.get(event.kind, event.kind.value)
