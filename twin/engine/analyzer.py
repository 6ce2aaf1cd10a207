"""The analyzer sits beside the links and only watches: frames and the time in, steps and findings out.

Findings depend on nothing but the frames and their stamps. Three decisions give it, each held by a test:
``receive`` first fires every timer due by the frame's stamp; a time-out is stamped with its due time; and a
stamp is never earlier than the last wake-up the analyzer saw (``seen_us``, kept by whoever stamps).
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from twin.certificate.profile import SPEC, Profile, identified
from twin.model import Event, EventKind, Fault, Finding, Frame, Kind, Side
from twin.protocol import codec
from twin.protocol.actions import ACTIONS
from twin.protocol.fold import asked_payload, fold, payload_of, waits
from twin.protocol.session import EXPIRY_US, UNPARSED, Rpc
from twin.protocol.state import StationState
from twin.rules import RULES, SPEAKS_FOR, Found, Rule, Step, Unknown, to_blame
from twin.rules.certified import never_restored, write_keeps_certified

_SUBPROTOCOL = "ocpp1.6"
_LONGEST_S = 86_400  # of a MessageTimeout that is believed
_LONGEST_DETAIL = 500  # characters: the evidence stands in the frames


_REMEMBERED = 65_536  # findings told: a repeat of an older one is told again
_STRANGERS = 4096  # unknown action names come from the wire

type _Subject = tuple[str, object]


class Analyzer:
    """Judges the traffic of any number of links and stations.

    ``profile`` is what every station is judged against; ``None`` takes, station by station, the one that its
    BootNotification identifies, and the specification alone until then, each as ``adjusted`` changes it.
    ``occurrences`` counts per rule what
    was found, capped findings included; ``silences`` counts per rule and reason where evidence was missing;
    ``heard`` counts the events of each place a rule may listen to.
    """

    def __init__(
        self,
        profile: Profile | None = None,
        rules: Iterable[Rule] = RULES,
        *,
        adjusted: Callable[[Profile], Profile] | None = None,
    ) -> None:
        self._profile = profile
        self._adjusted = adjusted or (lambda found: found)
        self._unknown = self._adjusted(SPEC)
        self._rules = tuple(rules)
        self._chosen: dict[_Place, tuple[Rule, ...]] = {}
        self._links: dict[str, Rpc] = {}
        self._station_of: dict[str, str] = {}
        self._unjudged: set[str] = set()
        self._states: dict[str, StationState] = {}
        self._profiles: dict[str, Profile] = {}
        self._due: list[tuple[int, bool, str]] = []  # time, whether a station's state waits, link or station
        self._queued: set[tuple[int, bool, str]] = set()  # the same
        self._told: dict[tuple[object, ...], None] = {}
        self._explained: dict[tuple[str, str, _Subject], None] = {}
        self.occurrences: Counter[str] = Counter()
        self.silences: Counter[tuple[str, str]] = Counter()
        self.heard: Counter[_Place] = Counter()
        self.seen_us = 0

    def receive(self, frame: Frame) -> list[Finding]:
        """Every finding that this frame, and the timers due before it, give rise to."""
        return [finding for step in self.steps(frame) for finding in self.judge(step)]

    def handle_timer(self, now_us: int) -> list[Finding]:
        """Every finding of the time-outs due by ``now_us``; a late wake-up changes nothing."""
        return [finding for step in self.timer_steps(now_us) for finding in self.judge(step)]

    def next_timer(self) -> int | None:
        """When :meth:`handle_timer` next has something to say, in microseconds; ``None`` if never."""
        while self._due:
            due_us, waits_, name = self._due[0]
            next_us = self._next_of(waits_, name)
            if next_us == due_us:
                return due_us
            self._queued.discard(heapq.heappop(self._due))
            if next_us is not None and next_us > due_us:
                self._wake(waits_, name)  # put off since
        return None

    def finish(self) -> list[Finding]:
        """The capture ends here. What is still open or awaited at its edge is no finding (G9).

        In the lab context what a test wrote and nobody restored is told now.
        """
        self._links.clear()
        self._due.clear()
        self._queued.clear()
        told = []
        for key, state in self._states.items():
            for found in never_restored(state, self.profile_of(key)):
                told.append(_unrestored(found, state, self.seen_us))
                self.occurrences[told[-1].rule] += 1
        return told

    def steps(self, frame: Frame) -> list[Step]:
        """The time-outs due by the frame's stamp, then what the frame itself means, each with its state."""
        steps = self.timer_steps(frame.at_us)
        if frame.kind is Kind.GAP and not frame.link:
            if frame.facts.get("reason") == "restart":
                self._forget()
                return steps
            for link in list(self._links):
                steps += self._steps_of_link(replace(frame, link=link))
            return steps
        return steps + self._steps_of_link(frame)

    def timer_steps(self, now_us: int) -> list[Step]:
        """The time-outs due by ``now_us``, in the order of their due times."""
        self.seen_us = max(self.seen_us, now_us)
        steps: list[Step] = []
        while (due_us := self.next_timer()) is not None and due_us <= now_us:
            _, waits_, name = woken = heapq.heappop(self._due)
            self._queued.discard(woken)
            if waits_:
                steps += self._overdue(name, due_us)
                continue
            rpc = self._links[name]
            for event in rpc.handle_timer(due_us):
                steps += self._step(event)
            self._wake(False, name)
        return steps

    def judge(self, step: Step) -> list[Finding]:
        """The findings of one step, capped to one per rule, station, connector, transaction and key (G7)."""
        event = step.event
        place = _place(event)
        self.heard[place] += 1
        founds: list[tuple[Rule, Found]] = []
        for rule in self._rules_for(place):
            if answer := rule.judge(step):
                if isinstance(answer, Unknown):
                    self.silences[rule.id, answer.why] += 1
                else:
                    founds += [(rule, found) for found in answer]
        if not founds:
            return []
        who = event.station or event.link
        silent = {other for rule, _ in founds for other in SPEAKS_FOR.get(rule.id, ())}
        findings = []
        for rule, found in founds:
            if rule.id in silent or self._is_explained(rule, found, who):
                continue
            self._explain(rule, found, who)
            self.occurrences[rule.id] += 1
            told = (rule.id, who, found.connector_id, found.transaction_id, found.key)
            if told not in self._told:
                self._told[told] = None
                if len(self._told) > _REMEMBERED:
                    del self._told[next(iter(self._told))]
                findings.append(_finding(rule, found, step))
        return findings

    def state_of(self, station: str) -> StationState:
        """What is known of a station now; an empty state for one that was never seen."""
        return self._states.get(station) or StationState(station=station)

    def profile_of(self, station: str) -> Profile:
        """What a station is judged against now."""
        return self._profile or self._profiles.get(station, self._unknown)

    def listeners(self, rule: Rule) -> int:
        """How many events this rule was asked about, or screened: a sound message, a CALL with its answer."""
        return sum(count for place, count in self.heard.items() if _screens(rule, place))

    def _forget(self) -> None:
        """A recorder began anew here and knew nothing; nor may whoever reads its capture later."""
        self._links.clear()
        self._due.clear()
        self._queued.clear()
        for known in (
            self._station_of, self._unjudged, self._states, self._profiles, self._told, self._explained
        ):  # fmt: skip
            known.clear()

    def _steps_of_link(self, frame: Frame) -> list[Step]:
        link = frame.link
        if frame.kind is Kind.OPEN:
            self._unjudged.discard(link)
            if frame.station:
                self._station_of[link] = frame.station
            chosen = str(frame.facts.get("subprotocol") or _SUBPROTOCOL)
            if chosen.casefold() != _SUBPROTOCOL:
                self._unjudged.add(link)
        if link in self._unjudged:
            return []
        rpc = self._links.get(link)
        if rpc is None:
            time_out_us = _time_out_us(self.state_of(frame.station or link))
            rpc = self._links[link] = Rpc(link, expiry_us=EXPIRY_US | {Side.STATION: time_out_us})
        parsed = codec.parse(frame.text) if frame.text is not None else UNPARSED
        before_us = rpc.next_timer()
        steps: list[Step] = []
        for event in rpc.receive(frame, parsed):
            steps += self._step(event)
        if rpc.next_timer() != before_us:
            self._wake(False, link)
        if frame.kind in (Kind.END, Kind.REFUSED):
            del self._links[link]
            self._station_of.pop(link, None)
        return steps

    def _step(self, event: Event) -> list[Step]:
        station = event.station or self._station_of.get(event.link, "")
        if station != event.station:
            event = replace(event, station=station)
        key = station or event.link
        before = self._states.get(key)
        if before is None:
            before = _judged_by(self.profile_of(key), StationState(station=station))
        after = fold(before, event)
        if event.kind is EventKind.CALLED and event.action == "BootNotification":
            self._profiles[key] = self._adjusted(identified(after.vendor, after.model))
            after = _judged_by(self.profile_of(key), after)
        self._states[key] = after
        if after.config is not before.config or after.assumed is not before.assumed:
            self._links[event.link].expiry_us[Side.STATION] = _time_out_us(after)
        freed = before.calling_us is not None and after.calling_us is None
        configured = after.config is not before.config
        if after.awaited is not before.awaited or ((freed or configured) and after.awaited):
            self._wake(True, key)
        return [Step(event, before, after, self.profile_of(key), payload_of(event), asked_payload(event))]

    def _overdue(self, key: str, due_us: int) -> list[Step]:
        state = self._states[key]
        missed = waits.overdue(state, due_us)
        if missed is None:
            self._wake(True, key)
            return []
        event = Event(
            kind=EventKind.OVERDUE,
            at_us=missed.due_us,
            link=state.link,
            station=state.station,
            action=missed.what,
            awaited=missed,
        )
        after = fold(state, event)
        self._states[key] = after
        self._wake(True, key)
        return [Step(event, state, after, self.profile_of(key), {}, {})]

    def _next_of(self, waits_: bool, name: str) -> int | None:
        if waits_:
            state = self._states.get(name)
            return waits.next_due_us(state) if state is not None else None
        rpc = self._links.get(name)
        return rpc.next_timer() if rpc is not None else None

    def _wake(self, waits_: bool, name: str) -> None:
        due_us = self._next_of(waits_, name)
        if due_us is not None and (due_us, waits_, name) not in self._queued:
            self._queued.add((due_us, waits_, name))
            heapq.heappush(self._due, (due_us, waits_, name))

    def _rules_for(self, place: "_Place") -> tuple[Rule, ...]:
        rules = self._chosen.get(place)
        if rules is None:
            rules = tuple(rule for rule in self._rules if _hears(rule, place))
            if len(self._chosen) < _STRANGERS:
                self._chosen[place] = rules
        return rules

    def _is_explained(self, rule: Rule, found: Found, who: str) -> bool:
        return any((rule.id, who, subject) in self._explained for subject in _subjects(found))

    def _explain(self, rule: Rule, found: Found, who: str) -> None:
        """What this rule speaks for stays silent about the same transaction or key from here on (G8)."""
        for other in SPEAKS_FOR.get(rule.id, ()):
            for subject in _subjects(found):
                self._explained[other, who, subject] = None
        while len(self._explained) > _STRANGERS:
            del self._explained[next(iter(self._explained))]


def _judged_by(profile: Profile, state: StationState) -> StationState:
    return replace(state, assumed=profile.assumed, patience=profile.patience)


def _time_out_us(state: StationState) -> int:
    """How long the station waits for an answer (ER 3.82), the usual time where it is not known."""
    seconds = state.count_in_force("MessageTimeout")
    return seconds * 1_000_000 if seconds and seconds <= _LONGEST_S else EXPIRY_US[Side.STATION]


type _Place = tuple[EventKind, Side | None, str, bool]


def _place(event: Event) -> _Place:
    """Where a rule may listen; an action that OCPP does not know has no place of its own."""
    action = event.action if event.action in ACTIONS or event.kind is EventKind.OVERDUE else ""
    return event.kind, event.sender, action, bool(event.defects) or event.kind is EventKind.MALFORMED


def _hears(rule: Rule, place: _Place) -> bool:
    kind, sender, action, flawed = place
    return (
        ((kind, "") in rule.on or (kind, action) in rule.on)
        and (rule.by is None or rule.by is sender)
        and (flawed or not rule.flawed)
    )


# What passes by where a rule listens to a failure: every CALL may go unanswered, every answer lack its CALL.
_MAY_BECOME = {
    EventKind.CALLED: EventKind.TIMED_OUT,
    EventKind.ANSWERED: EventKind.ORPHANED,
    EventKind.REFUSED: EventKind.ORPHANED,
}


def _screens(rule: Rule, place: _Place) -> bool:
    kind, sender, action, flawed = place
    if kind in _MAY_BECOME and _hears(rule, (_MAY_BECOME[kind], sender, action, True)):
        return True
    return _hears(rule, (kind, sender, action, flawed or rule.flawed))


def _subjects(found: Found) -> list[_Subject]:
    """What a finding is about, beyond its own message: a transaction, or a configuration key."""
    subjects: list[_Subject] = []
    if found.transaction_id is not None:
        subjects.append(("transaction", found.transaction_id))
    if found.config_key:
        subjects.append(("key", found.config_key.casefold()))
    return subjects


def _unrestored(found: Found, state: StationState, at_us: int) -> Finding:
    rule = next(rule for rule in RULES if rule.judge is write_keeps_certified)
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        fault=rule.fault or Fault.CSMS,
        seq=found.evidence[0],
        at_us=at_us,
        detail=found.detail,
        link=state.link,
        station=state.station,
        evidence=found.evidence,
        provenance="certified",
        reference=rule.reference,
    )


def _finding(rule: Rule, found: Found, step: Step) -> Finding:
    event = step.event
    frame = event.frame or (event.asked.frame if event.asked else None)
    fault = found.fault or rule.fault or to_blame(event)
    seq = frame.seq if frame else event.awaited.seq if event.awaited else None
    return Finding(
        rule=rule.id,
        severity=found.severity or rule.severity,
        fault=Fault(fault),
        seq=seq,
        at_us=event.at_us,
        detail=found.detail if len(found.detail) <= _LONGEST_DETAIL else f"{found.detail[:_LONGEST_DETAIL]}…",
        link=event.link,
        station=event.station,
        connector_id=found.connector_id,
        transaction_id=found.transaction_id,
        evidence=tuple(sorted({*found.evidence, *((seq,) if seq is not None else ())})),
        provenance=found.provenance,
        reference=rule.reference,
    )
