"""Two captures compared stream by stream: what must differ does not count, everything else does."""

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from operator import itemgetter
from typing import Any

import msgspec
from msgspec.structs import replace

from twin.engine.recording import Recording, recording_of, station_links, stations_of
from twin.engine.replay.alignment import aligned
from twin.engine.replay.binding import with_message_id
from twin.engine.replay.fields import ABSENT, How, Leaf, Matchers, agree, apart, decade_s, decimal_of, falls
from twin.engine.replay.links import Ends, link_anchors, link_divergences
from twin.engine.replay.outcome import Change, Diff, Divergence
from twin.engine.replay.streams import Item, names_of, short, streams_of
from twin.model import Frame, Side
from twin.protocol.timestamps import SECOND_US

_AHEAD = 1 << 60  # before everything, a prologue too
_FAR = 0.9  # alike, and so far apart in time that one is late
_LASTING = frozenset({How.EXACT, How.BOUND, How.SET, How.TYPE, How.REGEX})
_REGISTERS = ("request/meterStart", "request/meterStop")
_LIKE = 1.9  # two items that may be paired cost less than both alone


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared besides the fields. ``timed``: the two captures ran at the same pace, so a message may
    be ``late`` or ``early`` by more than ``late_us``; ``None``: where they took the same time over all.
    An answer may be late in any case: by ``answer_late_us`` more than it took. ``ends`` says how much of the
    connections counts.
    """

    timed: bool | None = None
    late_us: int = 5 * SECOND_US
    answer_late_us: int = 5 * SECOND_US
    ends: Ends = Ends.ALL


def diff(
    recorded: Iterable[Frame],
    replayed: Iterable[Frame],
    matchers: Matchers | None = None,
    comparison: Comparison | None = None,
) -> Diff:
    """Compare two captures: their OCPP exchanges, their connections, and texts that are no part of any.

    With several stations each is compared with the one of its name.
    """
    comparison, matchers = comparison or Comparison(), matchers or Matchers()
    left, right = list(recorded), list(replayed)
    stations = list(dict.fromkeys((*stations_of(left), *stations_of(right))))
    if len(stations_of(left)) > 1 or len(stations_of(right)) > 1:
        return _by_station(stations, left, right, matchers, comparison)
    whole = _of_one_station(left, right, matchers, comparison)
    return Diff(whole.matched, tuple(whole.found), timed=whole.timed)


def _by_station(
    stations: list[str], left: list[Frame], right: list[Frame], matchers: Matchers, comparison: Comparison
) -> Diff:
    found: list[tuple[tuple[int, bool, int], Divergence]] = []
    matched, timed = 0, True
    for station in stations:
        one, other = station_links(left, station), station_links(right, station)
        held = _of_one_station(one, other, matchers, comparison)
        matched, timed = matched + held.matched, timed and held.timed
        found += [
            (held.place(d), replace(d, stream=f"{d.stream} of {station or 'no station'}")) for d in held.found
        ]
    found.sort(key=itemgetter(0))  # one capture numbers the frames of all its stations
    return Diff(matched, tuple(d for _, d in found), timed=timed)


def _of_one_station(
    left: list[Frame], right: list[Frame], matchers: Matchers, comparison: Comparison
) -> "_Comparing":
    ours, theirs = recording_of(left), recording_of(right)
    names = names_of(ours.exchanges, theirs.exchanges)
    timed = comparison.timed if comparison.timed is not None else _same_pace(left, right)
    comparing = _Comparing(matchers, comparison, timed=timed)
    if left and right:
        comparing.moved_us = right[0].at_us - left[0].at_us
    for one, other in comparing.streams(ours, theirs, names):
        comparing.stream(*one, other)
    comparing.found += _strays(ours, theirs) + link_divergences(left, right, comparison.ends)
    comparing.anchors |= link_anchors(left, right)
    comparing.found.sort(key=comparing.place)
    return comparing


def pairs_of(
    recorded: Iterable[Frame], replayed: Iterable[Frame], matchers: Matchers, *, timed: bool
) -> list[tuple[Item | None, Item | None]]:
    """Every exchange with the one that it is compared with, ``None`` where there is none."""
    left, right = list(recorded), list(replayed)
    ours, theirs = recording_of(left), recording_of(right)
    comparing = _Comparing(matchers, Comparison(), timed=timed)
    if left and right:
        comparing.moved_us = right[0].at_us - left[0].at_us
    found: list[tuple[Item | None, Item | None]] = []
    for (_, one), other in comparing.streams(ours, theirs, names_of(ours.exchanges, theirs.exchanges)):
        found += [
            (None if a is None else one[a], None if b is None else other[b])
            for a, b in aligned(one, other, comparing.cost)
        ]
    return found


def _same_pace(left: list[Frame], right: list[Frame]) -> bool:
    """Whether two captures took the same time, to a fiftieth: else one ran at another pace."""
    if not left or not right:
        return False
    ours, theirs = (side[-1].at_us - side[0].at_us for side in (left, right))
    return abs(ours - theirs) <= max(2 * SECOND_US, max(ours, theirs) // 50)


def _strays(recorded: Recording, replayed: Recording) -> list[Divergence]:
    """Texts that are no part of any exchange, verbatim and as a multiset: they have no stream."""
    found = []
    for kind, held, other in (("missing", recorded, replayed), ("extra", replayed, recorded)):
        left = Counter((frame.sender, frame.text) for frame in other.stray)
        for frame in held.stray:
            if left[frame.sender, frame.text] > 0:
                left[frame.sender, frame.text] -= 1
                continue
            found.append(
                Divergence(
                    kind=kind,
                    stream="texts outside any exchange",
                    action=f"text of the {frame.sender or 'unknown side'}",
                    sender=frame.sender,
                    recorded_seq=frame.seq if kind == "missing" else None,
                    replayed_seq=frame.seq if kind == "extra" else None,
                    content=_digest(with_message_id(frame.text or "", "")),
                )
            )
    return found


class _Comparing:
    """One comparison under way: what has been found, and the registers that may not fall."""

    def __init__(self, matchers: Matchers, comparison: Comparison, *, timed: bool) -> None:
        self.matchers = matchers
        self.how = comparison
        self.timed = timed
        self.moved_us = 0  # how much later the replay began
        self.matched = 0
        self.found: list[Divergence] = []
        self._series: dict[str, Decimal] = {}
        self.anchors: dict[int, int] = {}  # seq of the recorded frame by that of its partner in the replay
        self._paired: list[int] = []  # those partners, in order

    def place(self, found: Divergence) -> tuple[int, bool, int]:
        """Where a divergence stands: at its recorded frame, else behind the last one that came before it."""
        if found.recorded_seq is not None:
            return found.recorded_seq, False, 0
        here = found.replayed_seq or 0
        if len(self._paired) != len(self.anchors):
            self._paired = sorted(self.anchors)
        before = bisect_left(self._paired, here)
        return self.anchors[self._paired[before - 1]] if before else -_AHEAD, True, here

    def streams(
        self, ours: Recording, theirs: Recording, names: Any
    ) -> list[tuple[tuple[str, list[Item]], list[Item]]]:
        left = streams_of(ours.exchanges, names[0], self.matchers)
        right = streams_of(theirs.exchanges, names[1], self.matchers)
        return [((name, left.get(name, [])), right.get(name, [])) for name in {**left, **right}]

    def stream(self, name: str, left: list[Item], right: list[Item]) -> None:
        gone: list[Item] = []
        new: list[Item] = []
        for a, b in aligned(left, right, self.cost):
            if a is None and b is not None:
                new.append(right[b])
            elif b is None and a is not None:
                gone.append(left[a])
            elif a is not None and b is not None:
                self._pair(name, left[a], right[b])
        for item in gone:
            moved = next((other for other in new if other.key == item.key), None)
            if moved is not None:
                new.remove(moved)
                self.found.append(_divergence("order", name, item, moved))
                continue
            self.found.append(_divergence("missing", name, item, None))
        self.found += [_divergence("extra", name, None, item) for item in new]

    def cost(self, one: Item, other: Item) -> float:
        if one.key == other.key:  # of several alike the one that came at that time
            return (
                min(_FAR, _FAR * abs(self._late_us(one, other)) / max(1, self.how.late_us))
                if self.timed
                else 0.0
            )
        if one.action != other.action:
            return 2.0
        alike = len(one.key & other.key)
        whole = len(one.key) + len(other.key)
        return 1.0 + (_LIKE - 1.0) * (whole - 2 * alike) / whole

    def _late_us(self, one: Item, other: Item) -> int:
        return other.call_us - one.call_us - self.moved_us

    def _pair(self, stream: str, old: Item, new: Item) -> None:
        self.anchors[new.seq] = old.seq
        if old.answer_seq is not None and new.answer_seq is not None:
            self.anchors[new.answer_seq] = old.answer_seq
        changes = self._changes(stream, old, new)
        if changes:
            self.found.append(_divergence("changed", stream, old, new, tuple(changes)))
            return
        if (lateness := self._lateness(stream, old, new)) is not None:
            self.found.append(lateness)
            return
        self.matched += 1

    def _changes(self, stream: str, old: Item, new: Item) -> list[Change]:
        found = []
        alike = old.key == new.key
        for path, leaf in old.fields.items() if alike else {**old.fields, **new.fields}.items():
            if (alike and leaf.matcher is None) or (old.exchange.cut and path.startswith("answer")):
                continue
            ours, theirs = old.fields.get(path, ABSENT), new.fields.get(path, ABSENT)
            sent = sent_us(old, new, path)
            same = ours.key == theirs.key and agree(ours, theirs, *sent)
            if not same or falls(theirs, self._series, stream, path):
                rule = ours.matcher or theirs.matcher
                how, source = (rule.how.value, rule.source) if rule else ("exact", "built in")
                found.append(
                    Change(
                        path,
                        short(ours.value),
                        short(theirs.value),
                        how,
                        source,
                        ours.general or theirs.general,
                        apart(ours, theirs, sent[1] - sent[0]),
                    )
                )
        return found

    def _lateness(self, stream: str, old: Item, new: Item) -> Divergence | None:
        if old.answer_us is not None and new.answer_us is not None:
            took, takes = old.answer_us - old.call_us, new.answer_us - new.call_us
            if takes - took > self.how.answer_late_us:
                times = Change(
                    "answer", _seconds(took), _seconds(takes), "time", apart=decade_s(takes - took)
                )
                return _divergence("late", stream, old, new, (times,))
            if self.timed and took - takes > self.how.answer_late_us:
                times = Change(
                    "answer", _seconds(took), _seconds(takes), "time", apart=decade_s(took - takes)
                )
                return _divergence("early", stream, old, new, (times,))
        if self.timed and abs(late_us := self._late_us(old, new)) > self.how.late_us:
            times = Change(
                "request", "+0 s", f"{late_us / SECOND_US:+g} s", "time", apart=decade_s(abs(late_us))
            )
            return _divergence("late" if late_us > 0 else "early", stream, old, new, (times,))
        return None


def _divergence(
    kind: str, stream: str, old: Item | None, new: Item | None, changes: tuple[Change, ...] = ()
) -> Divergence:
    item = old or new
    assert item is not None
    of_answer = bool(changes) and all(change.path.startswith("answer") for change in changes)
    sender: Side = item.sender.other if of_answer else item.sender
    return Divergence(
        kind=kind,
        stream=stream,
        action=item.action,
        sender=sender,
        recorded_seq=_seq(old, of_answer=of_answer),
        replayed_seq=_seq(new, of_answer=of_answer),
        changes=changes,
        synthetic=bool(new and new.synthetic),
        call_seq=old.seq if old else None,
        content=_content(item, live=old is None) if old is None or new is None else "",
    )


def _content(item: Item, *, live: bool) -> str:
    """A digest of a request: what stays the same from run to run, so of a live one no id and no register."""
    held = sorted(
        f"{path} {leaf.key!r}"
        for path, leaf in item.fields.items()
        if path.startswith("request/")
        and (leaf.matcher is None or leaf.matcher.how in _LASTING)
        and not (live and _of_this_run(path, leaf))
    )
    return _digest("\n".join(held))


def _of_this_run(path: str, leaf: Leaf) -> bool:
    """A number that another run would give otherwise: an id that nothing has named, what a meter read."""
    measured = path in _REGISTERS or ("/sampledValue/" in path and path.endswith("/value"))
    bound = leaf.matcher is not None and leaf.matcher.how is How.BOUND
    return (measured or bound) and decimal_of(leaf.value) is not None


def sent_us(old: Item, new: Item, path: str) -> tuple[int, int]:
    """When the value at a path was sent, on either side: with the answer or with the CALL."""
    if path.startswith("answer") and old.answer_us is not None and new.answer_us is not None:
        return old.answer_us, new.answer_us
    return old.call_us, new.call_us


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _seq(item: Item | None, *, of_answer: bool) -> int | None:
    """The frame to look at: the answer's, where only the answer differs and there is one."""
    if item is None:
        return None
    return item.answer_seq if of_answer and item.answer_seq is not None else item.seq


def _seconds(us: int) -> str:
    return f"{us / SECOND_US:g} s"
