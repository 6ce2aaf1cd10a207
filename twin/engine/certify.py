"""Our reading of the OCTT Core cases, driven and judged: never the OCTT itself, and never a pass of it.

A case is failed where the station owed something and did not send it, where the traffic contradicts the case,
or where a rule that says the same as the case finds an error or a warning of the station.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import msgspec

from twin.certificate.case_words import Applies, Case, Doing, Needs
from twin.certificate.cases import CASES
from twin.engine.case_verdict import Verdict
from twin.engine.cases import CaseBook
from twin.engine.checked import check_frames
from twin.engine.examiner import Examiner
from twin.engine.station import PROFILES, Act, Behaviour, Station
from twin.engine.virtual import converse
from twin.model import Fault, Finding, Frame, Severity

_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US
_POWER_US = 5 * _SECOND_US
_HOP_US = 40_000
VIRTUAL_START_US = 1_767_225_600 * _SECOND_US  # 2026-01-01T00:00:00Z: a virtual run needs some day
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


class ModelHands:
    """Does to our own model what people, the mains and the network do."""

    busy = False

    def __init__(self, station: Station) -> None:
        self._station = station

    def do(self, doing: Doing, connector_id: int, tag: str, now_us: int) -> None:
        for act, after_us in acts_of(doing, connector_id, tag):
            if after_us:
                self._station.act_at(act, now_us + after_us)
            else:
                self._station.act(act, now_us)


def acts_of(doing: Doing, connector_id: int, tag: str) -> list[tuple[Act, int]]:
    """A physical step as acts on the model, each with its delay in µs."""
    match doing:
        case Doing.PLUG:
            return [(Act(do="plug", connector_id=connector_id), 0)]
        case Doing.UNPLUG | Doing.UNPLUG_STATION:
            return [(Act(do="unplug", connector_id=connector_id), 0)]
        case Doing.TAG | Doing.OTHER_TAG:
            return [(Act(do="tag", tag=tag), 0)]
        case Doing.FAULT:
            return [(Act(do="fault", connector_id=connector_id), 0)]
        case Doing.LOCK_FAILURE:
            return [(Act(do="fault", connector_id=connector_id, error_code="ConnectorLockFailure"), 0)]
        case Doing.POWER_OFF:
            return [(Act(do="power off"), 0)]
        case Doing.POWER_CYCLE:
            return [(Act(do="power off"), 0), (Act(do="power on"), _POWER_US)]
        case Doing.LINK_CUT:
            return [(Act(do="link down"), 0)]
        case Doing.LINK_RESTORED:
            return [(Act(do="link up"), 0)]
        case Doing.RESTART:
            return []


def lacks(case: Case, behaviour: Behaviour) -> str:
    """What the case needs and this variant of the station does not have, in words; "" if nothing."""
    fixed = behaviour.cable == "fixed"
    held = {
        Needs.FIXED_CABLE: fixed,
        Needs.SOCKET: not fixed,
        Needs.LOCK_FAILURE: not fixed,
        Needs.CACHE: behaviour.cache == "on",
        Needs.WRITABLE_STOP: behaviour.evse_stop_key == "RW",
        Needs.BACKUP_POWER: behaviour.ups,
        Needs.NO_BACKUP_POWER: not behaviour.ups,
        Needs.OFFLINE_START: behaviour.allow_offline,
        Needs.LOCAL_STOP: True,
        Needs.ONE_READER: True,
    }
    return "; ".join(need.value for need in case.needs if not held[need])


def variant_for(case: Case, variants: Mapping[str, Behaviour]) -> str:
    """The first variant of the station that has what the case needs; "" if none has."""
    if case.applies is Applies.NOT:
        return ""
    return next((name for name, behaviour in variants.items() if not lacks(case, behaviour)), "")


def certify_virtually(
    cases: Sequence[Case] = CASES,
    *,
    variants: Mapping[str, Behaviour] = PROFILES,
    intervals: Mapping[str, int] = {},
    quirks: frozenset[str] = frozenset(),
    random: Callable[[], float] = lambda: 0.5,
) -> list[Examined]:
    """Every case against the model on the virtual clock, each against a station fresh from the box."""
    return [
        examine(
            case, variant_for(case, variants), variants, intervals=intervals, quirks=quirks, random=random
        )
        for case in cases
    ]


def examine(
    case: Case,
    variant: str,
    variants: Mapping[str, Behaviour] = PROFILES,
    *,
    intervals: Mapping[str, int] = {},
    quirks: frozenset[str] = frozenset(),
    random: Callable[[], float] = lambda: 0.5,
) -> Examined:
    """One case against one variant of the model; not applicable where ``variant`` is empty."""
    if not variant:
        return not_applicable(case, variants)
    frames, examiner = drive(case, variants[variant], intervals=intervals, quirks=quirks, random=random)
    return judge(case, examiner, frames, variant)


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
    quirks: frozenset[str] = frozenset(),
    random: Callable[[], float] = lambda: 0.5,
) -> tuple[list[Frame], Examiner]:
    """The traffic of one case on the virtual clock, as a proxy would see it."""
    ids = itertools.count(1)
    station = Station(
        msgspec.structs.replace(behaviour, quirks=behaviour.quirks | quirks),
        random=random,
        new_message_id=lambda: f"s{next(ids)}",
    )
    asked, transactions = itertools.count(1), itertools.count(101)
    examiner = Examiner(
        case,
        ModelHands(station),
        intervals=intervals,
        new_message_id=lambda: f"c{next(asked)}",
        new_transaction_id=lambda: next(transactions),
    )
    station.start(VIRTUAL_START_US)
    frames = converse(
        station,
        examiner,
        station_id=STATION_ID,
        start_us=VIRTUAL_START_US,
        until_us=VIRTUAL_START_US + 30 * _DAY_US,
        connected=False,
        hop_us=_HOP_US,
        done=lambda: examiner.done,
    )
    return frames, examiner


def judge(case: Case, examiner: Examiner, frames: Sequence[Frame], variant: str = "") -> Examined:
    """What the traffic of a driven case says of it."""
    checked = check_frames(case.id, frames, book=CaseBook((case,)))
    at_us = {frame.seq: frame.at_us for frame in frames}
    results = [r for r in checked.cases if not r.evidence or at_us[r.evidence[0]] >= examiner.began_us]
    against = next((f for f in checked.findings if _contradicts(f, case)), None)
    failed = next((result for result in results if result.verdict is Verdict.FAILED), None)
    passed = any(result.verdict in (Verdict.PASSED, Verdict.MATCHED) for result in results)
    verdict, why = CaseVerdict.INCONCLUSIVE, ""
    if failed is not None:
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
    took_s = (frames[-1].at_us - frames[0].at_us) / _SECOND_US if frames else 0.0
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
