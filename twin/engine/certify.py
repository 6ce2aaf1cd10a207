"""Our reading of the OCTT Core cases, driven and judged: never the OCTT itself, and never a pass of it.

A case is failed where the station owed something and did not send it, where the traffic contradicts the case,
or where a rule that says the same as the case finds an error or a warning of the station.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from twin.certificate.case_words import Applies, Case
from twin.certificate.cases import CASES
from twin.engine.case_hands import ModelHands, lacks, variant_for
from twin.engine.case_plan import plan_of
from twin.engine.case_verdict import Verdict
from twin.engine.cases import CaseBook
from twin.engine.checked import check_frames
from twin.engine.examiner import Examiner
from twin.engine.machine import Command
from twin.engine.station import PROFILES, Behaviour, Station
from twin.engine.virtual import converse
from twin.model import Fault, Finding, Frame, Kind, Severity
from twin.protocol.timestamps import SECOND_US

_MINUTE_US = 60 * SECOND_US
_DAY_US = 1_440 * _MINUTE_US
_HOP_US = 40_000
VIRTUAL_START_US = 1_767_225_600 * SECOND_US  # 2026-01-01T00:00:00Z: a virtual run needs some day
STATION_ID = "OTMK-TWIN"

# Rules that say the same as a case: what they find against the station contradicts it.
SAYS_THE_SAME: dict[str, tuple[str, ...]] = {
    "TC_001": ("B003", "B008", "B013", "P008"),
    "TC_002": ("B002", "B003"),
    "TC_003": ("S002", "S003", "T001"),
    "TC_010": ("T001", "T002"),
    "TC_011_1": ("T001", "T002"),
    "TC_013": ("B008", "J018"),
    "TC_014": ("B008", "J018"),
    "TC_015": ("T028",),
    "TC_016": ("T028",),
    "TC_017_2": ("T029",),
    "TC_018_2": ("T029",),
    "TC_019": ("C013", "C019", "J002", "J010"),
    "TC_021": ("C006",),
    "TC_023": ("T001", "T003"),
    "TC_031": ("T029",),
    "TC_036": ("H011", "R003", "R009", "R012"),
    "TC_037_1": ("H011",),
    "TC_038": ("H011", "T008"),
    "TC_040_1": ("C004",),
    "TC_040_2": ("C003",),
    "TC_068": ("T012", "T020", "T032"),
    "TC_070": ("M001", "M003", "M006", "M007"),
    "TC_071": ("M002", "M003", "M006", "M007"),
}


class CaseVerdict(StrEnum):
    """How a driven case went, by our reading."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not-applicable"


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """One case, driven: the verdict, why, and the variant of the station that it ran against."""

    case_id: str
    name: str
    verdict: CaseVerdict
    why: str = ""
    variant: str = ""
    messages: int = 0
    took_s: float = 0.0  # on the clock of the run


class Driven(msgspec.Struct, frozen=True, kw_only=True):
    """One case with its traffic; no frames where it is not applicable."""

    examined: Examined
    frames: tuple[Frame, ...] = ()


def certify_virtually(
    cases: Sequence[Case] = CASES,
    *,
    variants: Mapping[str, Behaviour] = PROFILES,
    intervals: Mapping[str, int] = {},
    random: Callable[[], float] = lambda: 0.5,
) -> Iterator[Driven]:
    """Each case against a station fresh from the box, one after the other on one virtual clock."""
    start_us = VIRTUAL_START_US
    for case in cases:
        variant = variant_for(case, variants)
        if not variant:
            yield Driven(examined=not_applicable(case, variants))
            continue
        frames, examiner = drive(
            case, variants[variant], intervals=intervals, random=random, start_us=start_us
        )
        yield Driven(examined=judge(case, examiner, frames, variant), frames=tuple(frames))
        start_us = frames[-1].at_us // _MINUTE_US * _MINUTE_US + 2 * _MINUTE_US if frames else start_us


def not_applicable(case: Case, variants: Mapping[str, Behaviour]) -> Examined:
    """A case that this product, or these variants of it, cannot be asked."""
    lacking = {lacks(case, behaviour) for behaviour in variants.values()}
    why = case.why if case.applies is Applies.NOT else f"not there: {' or '.join(sorted(lacking))}"
    return Examined(case_id=case.id, name=case.name, verdict=CaseVerdict.NOT_APPLICABLE, why=why)


def drive(
    case: Case,
    behaviour: Behaviour,
    *,
    intervals: Mapping[str, int] = {},
    random: Callable[[], float] = lambda: 0.5,
    start_us: int = VIRTUAL_START_US,
) -> tuple[list[Frame], Examiner]:
    """The traffic of one case on the virtual clock, as a proxy would see it."""
    ids, asked, transactions = itertools.count(1), itertools.count(1), itertools.count(101)
    station = Station(behaviour, random=random, new_message_id=lambda: f"s{next(ids)}")
    examiner = Examiner(
        case,
        ModelHands(station.act, station.act_at, behaviour.connectors),
        intervals=intervals,
        new_message_id=lambda: f"c{next(asked)}",
        new_transaction_id=lambda: next(transactions),
    )
    station.start(start_us)
    frames = converse(
        station,
        examiner,
        station_id=STATION_ID,
        start_us=start_us,
        until_us=start_us + 30 * _DAY_US,
        connected=False,
        hop_us=_HOP_US,
        done=lambda: examiner.done,
    )
    return frames, examiner


def joined(driven: Iterable[Driven]) -> list[Frame]:
    """The traffic of all cases as one capture; between two of them there is a new station, so a gap."""
    frames: list[Frame] = []
    for number, one in enumerate((one for one in driven if one.frames), start=1):
        if frames:
            gap = {"reason": "restart", "before": one.examined.case_id}
            frames.append(
                replace(frames[-1], link="", station="", kind=Kind.GAP, sender=None, text=None, facts=gap)
            )
        frames += [replace(frame, link=f"{number}-{frame.link}") for frame in one.frames]
    return [replace(frame, seq=seq) for seq, frame in enumerate(frames, start=1)]


class Examination:
    """Cases one after the other as one Machine, for a station that stays connected meanwhile."""

    def __init__(
        self,
        cases: Iterable[Case],
        examiner_of: Callable[[Case], Examiner],
        finished: Callable[[Case, Examiner], None],
    ) -> None:
        self._cases = iter(cases)
        self._examiner_of = examiner_of
        self._finished = finished
        self._up = False
        self.case: Case | None = None
        self._examiner: Examiner | None = None
        self._left: list[Command] = []
        self.done = False

    def start(self, now_us: int) -> None:
        """The first case begins."""
        self.case = next(self._cases, None)
        self.done = self.case is None
        self._examiner = None if self.case is None else self._examiner_of(self.case)
        if self._examiner is not None and self._up:
            self._examiner.connected(now_us)

    def connected(self, now_us: int) -> None:
        self._up = True
        if self._examiner is not None:
            self._examiner.connected(now_us)
            self._go_on(now_us)

    def disconnected(self, now_us: int) -> None:
        self._up = False
        if self._examiner is not None:
            self._examiner.disconnected(now_us)
            self._go_on(now_us)

    def receive(self, text: str, now_us: int) -> None:
        if self._examiner is not None:
            self._examiner.receive(text, now_us)
            self._go_on(now_us)

    def handle_timer(self, now_us: int) -> None:
        if self._examiner is not None:
            self._examiner.handle_timer(now_us)
            self._go_on(now_us)

    def next_timer(self) -> int | None:
        return self._examiner.next_timer() if self._examiner is not None else None

    def take(self) -> list[Command]:
        left, self._left = self._left, []
        return left + (self._examiner.take() if self._examiner is not None else [])

    def _go_on(self, now_us: int) -> None:
        examiner, case = self._examiner, self.case
        if examiner is not None and case is not None and examiner.done:
            self._left += examiner.take()  # its last answers
            self._finished(case, examiner)
            self.start(now_us)


def judge(case: Case, examiner: Examiner, frames: Sequence[Frame], variant: str = "") -> Examined:
    """What the traffic of a driven case says of it."""
    checked = check_frames(case.id, frames, book=CaseBook((case,)))
    at_us = {frame.seq: frame.at_us for frame in frames}
    results = [r for r in checked.cases if not r.evidence or at_us[r.evidence[0]] >= examiner.began_us]
    against = next((f for f in checked.findings if _contradicts(f, case)), None)
    failed = next((result for result in results if result.verdict is Verdict.FAILED), None)
    # What nothing on the wire shows, the driver did; what was not observed stays unknown.
    unseen = plan_of(case).unseen
    passed = any(
        result.verdict is Verdict.PASSED or (result.verdict is Verdict.MATCHED and result.why == unseen)
        for result in results
    )
    verdict, why = CaseVerdict.INCONCLUSIVE, ""
    if examiner.undone:
        why = f"a step was not done: {examiner.undone}"
    elif failed is not None:
        verdict, why = CaseVerdict.FAILED, failed.why
    elif against is not None:
        verdict, why = CaseVerdict.FAILED, f"{against.rule}: {against.detail}"
    elif examiner.stuck:
        why = f"the case could not begin: {examiner.stuck}"
    elif examiner.missing:
        verdict, why = CaseVerdict.FAILED, examiner.missing
    elif passed:
        verdict = CaseVerdict.PASSED
    else:
        why = next((result.why for result in results if result.why), "the traffic does not show the case")
    took_s = (frames[-1].at_us - frames[0].at_us) / SECOND_US if frames else 0.0
    return Examined(
        case_id=case.id,
        name=case.name,
        verdict=verdict,
        why=why,
        variant=variant,
        messages=sum(frame.text is not None for frame in frames),
        took_s=round(took_s, 3),
    )


def _contradicts(finding: Finding, case: Case) -> bool:
    loud = finding.severity in (Severity.ERROR, Severity.WARNING)
    return loud and finding.fault is Fault.STATION and finding.rule in SAYS_THE_SAME.get(case.id, ())
