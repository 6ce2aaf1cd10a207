"""The analyzer sits beside the links and only watches: frames and the time in, steps and findings out.

Findings depend on nothing but the frames and their stamps. Three decisions give it, each held by a test:
``receive`` first fires every timer due by the frame's stamp; a time-out is stamped with its due time; and a
stamp is never earlier than the last wake-up the analyzer saw (``seen_us``, kept by whoever stamps).
"""

import heapq
from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from twin.certificate.profile import SPEC, Profile, identified
from twin.model import Event, EventKind, Fault, Finding, Frame, Kind, Side
from twin.protocol import codec
from twin.protocol.fold import asked_payload, fold, payload_of
from twin.protocol.session import UNPARSED, Rpc
from twin.protocol.state import StationState
from twin.rules import RULES, SPEAKS_FOR, Found, Rule, Step, to_blame

_SUBPROTOCOL = "ocpp1.6"
_LONGEST_DETAIL = 500  # characters: the evidence stands in the frames


class Analyzer:
    """Judges the traffic of any number of links and stations.

    ``profile`` is what every station is judged against; ``None`` takes, station by station, the one that its
    BootNotification identifies, and the specification alone until then. ``occurrences`` counts per rule what
    was found, capped findings included.
    """

    def __init__(self, profile: Profile | None = None, rules: Iterable[Rule] = RULES) -> None:
        self._profile = profile
        self._rules = tuple(rules)
        self._chosen: dict[tuple[EventKind, Side | None, str, bool], tuple[Rule, ...]] = {}
        self._links: dict[str, Rpc] = {}
        self._station_of: dict[str, str] = {}
        self._unjudged: set[str] = set()
        self._states: dict[str, StationState] = {}
        self._profiles: dict[str, Profile] = {}
        self._due: list[tuple[int, str]] = []
        self._told: set[tuple[object, ...]] = set()
        self.occurrences: Counter[str] = Counter()
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
            due_us, link = self._due[0]
            rpc = self._links.get(link)
            if rpc is not None and rpc.next_timer() == due_us:
                return due_us
            heapq.heappop(self._due)
        return None

    def finish(self) -> list[Finding]:
        """The capture ends here. CALLs still open at its edge are no finding (G9)."""
        self._links.clear()
        self._due.clear()
        return []

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
            link = heapq.heappop(self._due)[1]
            rpc = self._links[link]
            for event in rpc.handle_timer(due_us):
                steps += self._step(event)
            if (later_us := rpc.next_timer()) is not None:
                heapq.heappush(self._due, (later_us, link))
        return steps

    def judge(self, step: Step) -> list[Finding]:
        """The findings of one step, capped to one per rule, station, connector, transaction and key (G7)."""
        event = step.event
        founds: list[tuple[Rule, Found]] = []
        for rule in self._rules_for(event):
            if answer := rule.judge(step):
                founds += [(rule, found) for found in answer]
        if not founds:
            return []
        silent = {other for rule, _ in founds for other in SPEAKS_FOR.get(rule.id, ())}
        findings = []
        for rule, found in founds:
            if rule.id in silent:
                continue
            self.occurrences[rule.id] += 1
            told = (rule.id, event.station or event.link, found.connector_id, found.transaction_id, found.key)
            if told not in self._told:
                self._told.add(told)
                findings.append(_finding(rule, found, step))
        return findings

    def state_of(self, station: str) -> StationState:
        """What is known of a station now; an empty state for one that was never seen."""
        return self._states.get(station) or StationState(station=station)

    def profile_of(self, station: str) -> Profile:
        """What a station is judged against now."""
        return self._profile or self._profiles.get(station, SPEC)

    def _forget(self) -> None:
        """A recorder began anew here and knew nothing; nor may whoever reads its capture later."""
        self._links.clear()
        self._due.clear()
        for known in (self._station_of, self._unjudged, self._states, self._profiles, self._told):
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
            rpc = self._links[link] = Rpc(link)
        parsed = codec.parse(frame.text) if frame.text is not None else UNPARSED
        before_us = rpc.next_timer()
        steps: list[Step] = []
        for event in rpc.receive(frame, parsed):
            steps += self._step(event)
        after_us = rpc.next_timer()
        if after_us is not None and after_us != before_us:
            heapq.heappush(self._due, (after_us, link))
        if frame.kind in (Kind.END, Kind.REFUSED):
            del self._links[link]
            self._station_of.pop(link, None)
        return steps

    def _step(self, event: Event) -> list[Step]:
        station = event.station or self._station_of.get(event.link, "")
        if station != event.station:
            event = replace(event, station=station)
        key = station or event.link
        before = self._states.get(key) or StationState(station=station)
        after = fold(before, event)
        self._states[key] = after
        if event.kind is EventKind.CALLED and event.action == "BootNotification":
            self._profiles[key] = identified(after.vendor, after.model)
        profile = self._profile or self._profiles.get(key, SPEC)
        return [Step(event, before, after, profile, payload_of(event), asked_payload(event))]

    def _rules_for(self, event: Event) -> tuple[Rule, ...]:
        flawed = bool(event.defects) or event.kind is EventKind.MALFORMED
        place = (event.kind, event.sender, event.action, flawed)
        rules = self._chosen.get(place)
        if rules is None:
            wanted = {(event.kind, ""), (event.kind, event.action)}
            rules = tuple(
                rule
                for rule in self._rules
                if wanted.intersection(rule.on)
                and (rule.by is None or rule.by is event.sender)
                and (flawed or not rule.flawed)
            )
            if len(self._chosen) < 4096:  # unknown action names come from the wire
                self._chosen[place] = rules
        return rules


def _finding(rule: Rule, found: Found, step: Step) -> Finding:
    event = step.event
    frame = event.frame or (event.asked.frame if event.asked else None)
    fault = found.fault or rule.fault or to_blame(event)
    seq = frame.seq if frame else None
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
