"""A capture as exchanges: every CALL with its answer, in order, one link after the other."""

from collections.abc import Iterable

import msgspec

from twin.model import Event, EventKind, Frame, Kind, Side
from twin.protocol import codec
from twin.protocol.session import UNPARSED, Rpc

ANSWER_US = 30_000_000  # how long an answer may take
_STRAY = frozenset({EventKind.MALFORMED, EventKind.ORPHANED})


class Exchange(msgspec.Struct):
    """A CALL and its answer, ``None`` where none was seen. ``order`` counts the CALLs of the capture.

    ``cut``: the capture ended, and its link did not, before the time for an answer was over.
    """

    call: Event
    answer: Event | None = None
    order: int = 0
    cut: bool = False


class Recording(msgspec.Struct, frozen=True):
    """``exchanges`` by CALL, ``events`` in frame order, ``stray`` texts that are no CALL and no answer.

    An answer near the start whose CALL nobody saw is no stray: it is the edge of the capture.
    """

    exchanges: list[Exchange]
    events: list[Event]
    stray: list[Frame]


def recording_of(frames: Iterable[Frame]) -> Recording:
    """Pair a capture by the one correlator there is. A late answer is an answer here: it was given."""
    rpcs: dict[str, Rpc] = {}
    exchanges: list[Exchange] = []
    by_seq: dict[int, Exchange] = {}
    events: list[Event] = []
    stray: list[Frame] = []
    ended: set[str] = set()
    last_us = 0
    for frame in frames:
        last_us = frame.at_us
        if frame.kind in (Kind.CLOSE, Kind.END):
            ended.add(frame.link)
        rpc = rpcs.get(frame.link)
        if rpc is None:
            # a CALL stays open until its link ends: what was answered late was answered
            rpc = rpcs[frame.link] = Rpc(frame.link, expiry_us=dict.fromkeys(Side, 1 << 60))
        parsed = codec.parse(frame.text) if frame.text is not None else UNPARSED
        for event in rpc.receive(frame, parsed):
            events.append(event)
            if event.kind is EventKind.CALLED and event.frame:
                exchange = Exchange(event, None, len(exchanges))
                exchanges.append(exchange)
                by_seq[event.frame.seq] = exchange
            elif event.kind in (EventKind.ANSWERED, EventKind.REFUSED) and event.asked:
                by_seq[event.asked.frame.seq].answer = event
            elif frame.kind is Kind.TEXT and event.kind in _STRAY and event.why != "edge":
                stray.append(frame)
    for exchange in exchanges:
        asked = exchange.call.frame
        if exchange.answer is None and asked is not None and asked.link not in ended:
            exchange.cut = last_us - asked.at_us < ANSWER_US
    return Recording(exchanges, events, stray)


def stations_of(frames: Iterable[Frame]) -> list[str]:
    """The stations of a capture in the order of their appearance; "" for links that name none."""
    found: dict[str, str] = {}
    for frame in frames:
        found[frame.link] = frame.station or found.get(frame.link, "")
    return list(dict.fromkeys(found.values()))


def station_links(frames: Iterable[Frame], station: str | None = None) -> list[Frame]:
    """The frames of one station: the one named, else the first that says anything; all of its links."""
    held = list(frames)
    station_of = {frame.link: frame.station for frame in held if frame.station}
    named = [station_of.get(frame.link, "") for frame in held]
    if station is None:
        station = next((n for n, frame in zip(named, held, strict=True) if frame.kind is Kind.TEXT), "")
    return [frame for n, frame in zip(named, held, strict=True) if n == station]
