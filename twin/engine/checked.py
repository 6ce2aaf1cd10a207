"""One capture judged from its first frame to its last, and which finding explains the others."""

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from twin.certificate.profile import Profile
from twin.engine.analyzer import Analyzer
from twin.engine.cases import CaseBook, CaseResult
from twin.engine.chosen import EVERYTHING, Key, Selection, key_of
from twin.engine.observed import Observer
from twin.model import Finding, Frame, Kind
from twin.rules import SPEAKS_FOR


class Checked(msgspec.Struct, kw_only=True):
    """What came of one capture. ``known`` are the findings, by index, that an earlier run has had already.

    ``asked``: of an answer that was found fault with, the CALL. ``texts``: excerpts by frame number.
    ``cases``: what was recognised of the test cases, where that was asked for.
    """

    name: str
    analyzer: Analyzer = msgspec.field(default_factory=Analyzer)
    messages: int = 0
    links: int = 0
    first_us: int | None = None
    last_us: int | None = None
    findings: list[Finding] = msgspec.field(default_factory=list)
    occurrences: Counter[str] = msgspec.field(default_factory=Counter)
    profiles: frozenset[str] = frozenset()
    known: frozenset[int] = frozenset()
    asked: dict[int, int] = msgspec.field(default_factory=dict)
    texts: dict[int, str] = msgspec.field(default_factory=dict)
    cases: list[CaseResult] = msgspec.field(default_factory=list)

    @property
    def news(self) -> list[Finding]:
        """The findings that count: all of them, unless an earlier run has known some."""
        return [finding for index, finding in enumerate(self.findings) if index not in self.known]


def check_frames(
    name: str,
    frames: Sequence[Frame],
    observer: Observer | None = None,
    *,
    profile: Profile | None = None,
    adjusted: Callable[[Profile], Profile] | None = None,
    selection: Selection = EVERYTHING,
    known: frozenset[Key] = frozenset(),
    book: CaseBook | None = None,
) -> Checked:
    """Judge every frame. ``adjusted`` changes the profiles that stations are judged against.

    ``book`` recognises test cases on the way.
    """
    analyzer = Analyzer(profile, adjusted=adjusted)
    checked = Checked(name=name, analyzer=analyzer)
    found: list[Finding] = []
    for frame in frames:
        for seen in analyzer.steps(frame):
            if observer is not None:
                observer.see(seen)
            if book is not None:
                checked.cases += book.receive(seen)
            judged = analyzer.judge(seen)
            found += judged
            if judged and seen.event.frame is not None and seen.event.asked is not None:
                checked.asked[seen.event.frame.seq] = seen.event.asked.frame.seq
    found += analyzer.finish()
    if book is not None:
        checked.cases += book.finish()
    checked.messages = sum(frame.kind is Kind.TEXT for frame in frames)
    checked.links = len({frame.link for frame in frames if frame.link})
    if frames:
        checked.first_us, checked.last_us = frames[0].at_us, frames[-1].at_us
    checked.findings = [finding for finding in found if selection.takes(finding.rule)]
    checked.occurrences = Counter(
        {rule: number for rule, number in analyzer.occurrences.items() if selection.takes(rule)}
    )
    checked.profiles = frozenset(analyzer.profile_of(finding.station).name for finding in found)
    checked.known = frozenset(
        index for index, finding in enumerate(checked.findings) if known and key_of(finding) in known
    )
    return checked


class Cause(msgspec.Struct, frozen=True):
    """A finding and how many later ones it explains, by rule: its repeats, and what rests on the same."""

    capture: int
    finding: Finding
    explains: Counter[str]


def first_cause(captures: Sequence[Checked]) -> Cause | None:
    """Of the worst findings the one that explains most others, the earliest at a tie."""
    every = [(number, finding) for number, checked in enumerate(captures) for finding in checked.news]
    worst = min((finding.severity.rank for _, finding in every), default=None)
    if worst is None:
        return None
    firsts: dict[tuple[int, str, str], Finding] = {}
    for number, finding in every:
        if finding.severity.rank == worst:
            firsts.setdefault((number, finding.station or finding.link, finding.rule), finding)
    causes = []
    for (number, _, _), first in firsts.items():
        explained = Counter(other.rule for at, other in every if at == number and _explains(first, other))
        causes.append(Cause(number, first, explained))
    return max(causes, key=lambda cause: sum(cause.explains.values()))  # the first of equals


def _explains(first: Finding, other: Finding) -> bool:
    if other is first or (first.station or first.link) != (other.station or other.link):
        return False
    if other.at_us < first.at_us:
        return False
    same_place = first.transaction_id is not None and first.transaction_id == other.transaction_id
    same_place = same_place or (first.connector_id is not None and first.connector_id == other.connector_id)
    if other.rule == first.rule or (first.seq is not None and first.seq in other.evidence):
        return True
    if same_place and other.rule in SPEAKS_FOR.get(first.rule, ()):
        return True
    return first.transaction_id is not None and first.transaction_id == other.transaction_id
