"""Which test cases a capture shows, and how they went by our reading: steps in, results out, and no clock."""

from collections import Counter
from typing import Any

import msgspec

from twin.certificate.case_words import (
    CONNECTOR,
    TRANSACTION,
    Act,
    Applies,
    Case,
    Doing,
    Exchange,
    Series,
    State,
)
from twin.certificate.cases import CASES
from twin.certificate.profile import Profile
from twin.engine.case_attempt import Attempt
from twin.engine.case_plan import LINK_ENDS, Item, Plan, plan_of
from twin.engine.case_reading import Names, observed, pick, reservations, transaction_in_use, unmet
from twin.engine.case_verdict import Verdict
from twin.model import EventKind, Kind, Side
from twin.protocol.fold import integer, word
from twin.protocol.state import StationState
from twin.rules import Step

_MOST_AT_ONCE = 32  # attempts at one case on one station
_MOST_TAGS = 4096  # whose parentIdTag is remembered


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a capture says of one occurrence of a case, or that there was none.

    ``evidence`` lists frame numbers.
    """

    case_id: str
    verdict: Verdict
    why: str
    evidence: tuple[int, ...] = ()
    station: str = ""


class _Watched:
    """What is remembered of one station between its steps."""

    def __init__(self, station: str) -> None:
        self.station = station
        self.attempts: dict[str, list[Attempt]] = {}
        self.after: StationState | None = None
        self.profile: Profile | None = None
        self.parents: dict[str, str] = {}
        self.cache_cleared_us: int | None = None
        self.seen: Counter[str] = Counter()  # results by case
        self.unmet: dict[str, str] = {}  # why a case could not begin, by case


class CaseBook:
    """Follows every case of a table on every station. Feed it all steps of an Analyzer, in their order.

    ``receive`` gives the results that became certain with this step; ``finish`` those of the end of the
    capture, with a "not seen" or a "not applicable" for each station and case that gave none.
    """

    def __init__(self, cases: tuple[Case, ...] = CASES) -> None:
        self._cases = cases
        self._plans = [plan_of(case) for case in cases]
        self._by_trigger: dict[tuple[Side | None, str], list[tuple[Plan, Item]]] = {}
        for plan in self._plans:
            for item in plan.triggers:
                self._by_trigger.setdefault(_trigger(item), []).append((plan, item))
        self._stations: dict[str, _Watched] = {}

    def receive(self, step: Step) -> list[CaseResult]:
        """The results that this step makes certain."""
        event = step.event
        key = event.station or event.link
        watched = self._stations.get(key)
        if watched is None:
            watched = self._stations[key] = _Watched(key)
        results: list[CaseResult] = []
        if watched.after is not None and step.before is not watched.after and watched.attempts:
            results += self._give_up(watched, "the capture began anew")
        if watched.after is not None and step.before is not watched.after:
            watched.parents, watched.cache_cleared_us = {}, None
        watched.after, watched.profile = step.after, step.profile
        old_end = event.kind is EventKind.CLOSED and step.before.link not in ("", event.link)
        if old_end:
            return results
        heard = self._hear(watched, step)
        self._open(watched, step, heard)
        _remember(watched, step)
        return results + self._results(watched)

    def finish(self) -> list[CaseResult]:
        """The capture ends here: what is still open was not seen to its end."""
        results: list[CaseResult] = []
        for watched in self._stations.values():
            results += self._give_up(watched, "the capture ended")
            for case in self._cases:
                if not watched.seen[case.id]:
                    verdict, why = _unseen(case, watched)
                    results.append(
                        CaseResult(case_id=case.id, verdict=verdict, why=why, station=watched.station)
                    )
        self._stations.clear()
        return results

    def _hear(self, watched: _Watched, step: Step) -> set[str]:
        heard = set()
        for case_id, attempts in watched.attempts.items():
            for attempt in attempts:
                attempt.parents = watched.parents
                attempt.cache_cleared_us = watched.cache_cleared_us
                if attempt.hear(step):
                    heard.add(case_id)
        return heard

    def _open(self, watched: _Watched, step: Step, heard: set[str]) -> None:
        """Begin every case of which this step may be the first; not one that it carries on."""
        event = step.event
        if event.kind is EventKind.CLOSED:
            if event.frame is None or event.frame.kind is not Kind.END:
                return
            found = self._by_trigger.get((None, ""), [])
        elif event.kind is EventKind.CALLED and not event.defects:
            found = self._by_trigger.get((event.sender, event.action), [])
        else:
            return
        for plan, item in found:
            if plan.case.id in heard and (len(plan.triggers) > 1 or not isinstance(item, Exchange)):
                continue  # it carries on what had begun
            names = _names_of(plan, item, step)
            if names is None:
                continue
            doubts = reservations(plan.case, step, names)
            if doubts is None:
                if (why := unmet(plan.case, step, names)) and plan.case.id not in watched.unmet:
                    watched.unmet[plan.case.id] = why
                continue
            attempt = Attempt(plan, step, names, doubts)
            attempt.parents, attempt.cache_cleared_us = watched.parents, watched.cache_cleared_us
            if attempt.begin(step):
                attempts = watched.attempts.setdefault(plan.case.id, [])
                attempts.append(attempt)
                if len(attempts) > _MOST_AT_ONCE:
                    attempts[0].give_up("too many at once")

    def _give_up(self, watched: _Watched, why: str) -> list[CaseResult]:
        for attempts in watched.attempts.values():
            for attempt in attempts:
                attempt.give_up(why)
        return self._results(watched)

    def _results(self, watched: _Watched) -> list[CaseResult]:
        results = []
        for case_id, attempts in list(watched.attempts.items()):
            ended = [attempt for attempt in attempts if attempt.outcome is not None]
            if not ended:
                continue
            open_ = [attempt for attempt in attempts if attempt.outcome is None]
            if open_:
                watched.attempts[case_id] = open_
            else:
                del watched.attempts[case_id]
            for attempt in ended:
                outcome = attempt.outcome
                if outcome is None or outcome.verdict is None:
                    continue
                watched.seen[case_id] += 1
                results.append(
                    CaseResult(
                        case_id=case_id,
                        verdict=outcome.verdict,
                        why=outcome.why,
                        evidence=tuple(sorted(attempt.ledger.evidence)),
                        station=watched.station,
                    )
                )
        return results


def _trigger(item: Item) -> tuple[Side | None, str]:
    match item:
        case Exchange():
            return item.by, item.action
        case Series():
            return Side.STATION, "MeterValues"
        case Act(doing) if doing in LINK_ENDS and doing is not Doing.RESTART:
            return None, ""
    raise ValueError(f"a case cannot begin with {item!r}")


def _names_of(plan: Plan, item: Item, step: Step) -> Names | None:
    """What the first message binds; ``None`` where it is not the first message of the case."""
    if isinstance(item, Exchange):
        return pick(item.where, step.payload, {})
    names: dict[str, Any] = {}
    if isinstance(item, Series):
        connector_id = integer(step.payload.get("connectorId"))
        transaction_id = integer(step.payload.get("transactionId"))
        told = observed(item.every.name, step.before) is not None
        if connector_id is None or transaction_id is None or not told:
            return None
        names = {CONNECTOR: connector_id, TRANSACTION: transaction_id}
    elif State.SOME_TRANSACTION in plan.case.state and transaction_in_use(step.before) is None:
        return None
    return names


def _remember(watched: _Watched, step: Step) -> None:
    """The parentIdTags that the CSMS tells, and when the cache was cleared."""
    event = step.event
    if event.kind is not EventKind.ANSWERED:
        return
    if event.action == "ClearCache" and step.payload.get("status") == "Accepted":
        watched.cache_cleared_us = event.at_us
    info = step.payload.get("idTagInfo")
    if event.action in ("Authorize", "StartTransaction") and isinstance(info, dict):
        tag = word(step.asked.get("idTag")).casefold()
        watched.parents.pop(tag, None)
        watched.parents[tag] = word(info.get("parentIdTag")).casefold()
        if len(watched.parents) > _MOST_TAGS:
            del watched.parents[next(iter(watched.parents))]


def _unseen(case: Case, watched: _Watched) -> tuple[Verdict, str]:
    certified = watched.profile is not None and watched.profile.certificate is not None
    if certified and case.applies is Applies.NOT:
        return Verdict.NOT_APPLICABLE, case.why
    return Verdict.NOT_SEEN, watched.unmet.get(case.id, "")


__all__ = ["CaseBook", "CaseResult", "Verdict"]
