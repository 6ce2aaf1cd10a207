"""The connections of two captures compared: who was refused, who left, with which code, and how."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

from twin.engine.replay.outcome import Change, Divergence
from twin.engine.replay.script import is_trouble
from twin.model import Frame, Kind, Side


class Ends(StrEnum):
    """How much of the connections is compared."""

    ALL = "all"
    BUT_LAST = "but the last"  # whoever replays leaves when all is said, unless the CSMS had a reason to
    NONE = "none"


class Link(msgspec.Struct, kw_only=True):
    """One connection, or one that was refused. A fact that nobody recorded is ``None`` and not compared."""

    seq: int
    begun: bool = True  # its beginning was seen
    station: str = ""
    refused: bool = False
    status: int | None = None
    code: int | None = None
    by: str | None = None
    abrupt: bool | None = None
    reason: str = ""
    end_seq: int | None = None

    @property
    def shape(self) -> str:
        return "refused handshake" if self.refused else "connection"

    @property
    def end(self) -> str:
        """How it ended, as far as is known."""
        if self.refused:
            return "refused" if self.status is None else f"refused with {self.status}"
        if self.end_seq is None:
            return "none"
        how = "dropped" if self.abrupt else "closed"
        return how + (f" by {self.by}" if self.by else "") + (f" with {self.code}" if self.code else "")


def links_of(frames: Iterable[Frame]) -> list[Link]:
    """The connections of a capture in the order in which they come up: a capture may begin in one."""
    held: dict[str, Link] = {}
    links: list[Link] = []
    for frame in frames:
        link = held.get(frame.link)
        if frame.kind is Kind.OPEN and link is not None and not link.begun and link.end_seq is None:
            link.begun = True  # a prologue stands before it
        elif frame.kind is Kind.OPEN:
            held[frame.link] = Link(seq=frame.seq, station=frame.station)
            links.append(held[frame.link])
        elif frame.kind is Kind.REFUSED:
            status = frame.facts.get("status")
            links.append(
                Link(seq=frame.seq, refused=True, status=status if isinstance(status, int) else None)
            )
        else:
            if frame.kind is Kind.TEXT and link is None:
                link = held[frame.link] = Link(seq=frame.seq, begun=False, station=frame.station)
                links.append(link)
            if link is not None:
                _tell(link, frame)
    return links


def _tell(link: Link, frame: Frame) -> None:
    if frame.kind is Kind.CLOSE and link.code is None:
        code = frame.facts.get("code")
        link.code = code if isinstance(code, int) else None
        link.reason = str(frame.facts.get("reason") or "")
        link.by = frame.sender
        link.abrupt = False
        link.end_seq = frame.seq
    elif frame.kind is Kind.END:
        link.end_seq = link.end_seq or frame.seq
        abrupt, by = frame.facts.get("abrupt"), frame.facts.get("by")
        if link.abrupt is None and isinstance(abrupt, bool):
            link.abrupt = abrupt
        if link.by is None and by in list(Side):
            link.by = by


def link_divergences(recorded: list[Frame], replayed: list[Frame], ends: Ends) -> list[Divergence]:
    """What differs between the connections, pair by pair; facts that one side lacks are not compared."""
    if ends is Ends.NONE:
        return []
    left, right = links_of(recorded), links_of(replayed)
    if not all(any(link.begun for link in links) for links in (left, right)):
        return []  # imported logs know of no connection
    found = []
    changes: tuple[Change, ...] = ()
    for number, (one, other) in enumerate(zip(left, right, strict=False), 1):
        last = number == len(left) and ends is Ends.BUT_LAST
        changes = tuple(_changes(one, other, last=last))
        if changes:
            found.append(_one("changed", one, other, changes))
    found += [_one("missing", link, None) for link in left[len(right) :]]
    for number, link in enumerate(right[len(left) :], len(left)):
        why = () if changes else (_before(left, right, number),)
        found.append(_one("extra", None, link, why))
        changes = ()
    return found


def link_anchors(recorded: list[Frame], replayed: list[Frame]) -> dict[int, int]:
    """``seq`` of the replayed beginnings and ends of connections, and of their recorded counterparts."""
    found: dict[int, int] = {}
    for one, other in zip(links_of(recorded), links_of(replayed), strict=False):
        found[other.seq] = one.seq
        if one.end_seq is not None and other.end_seq is not None:
            found[other.end_seq] = one.end_seq
    return found


def _before(left: list[Link], right: list[Link], number: int) -> Change:
    """Why another connection was needed: how the one before it ended."""
    ends = [links[number - 1].end if 0 < number <= len(links) else "none" for links in (left, right)]
    return Change("connection before/end", *ends)


def _changes(one: Link, other: Link, *, last: bool) -> Iterable[Change]:
    if one.shape != other.shape:
        yield Change("connection", one.shape, other.shape)
        return
    expelled = any(link.by == Side.CSMS and is_trouble(link.code, link.reason) for link in (one, other))
    if last and expelled and one.end_seq is None and one.code is None:
        yield Change("connection/end", one.end, other.end)
        return
    for name in ("status",) if (last and not expelled) or one.refused else ("status", "by", "code", "abrupt"):
        ours, theirs = getattr(one, name), getattr(other, name)
        if ours is not None and theirs is not None and ours != theirs:
            yield Change(f"connection/{name}", _text(ours), _text(theirs))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _one(kind: str, one: Link | None, other: Link | None, changes: tuple[Change, ...] = ()) -> Divergence:
    link = one or other
    assert link is not None
    of_end = kind == "changed" and changes[0].path != "connection"
    return Divergence(
        kind=kind,
        stream="connections",
        action=link.shape,
        recorded_seq=_place(one, of_end=of_end),
        replayed_seq=_place(other, of_end=of_end),
        changes=changes,
    )


def _place(link: Link | None, *, of_end: bool) -> int | None:
    """The frame to look at: where it ended, if that was seen, or where it began."""
    if link is None:
        return None
    return link.end_seq if of_end else link.seq
