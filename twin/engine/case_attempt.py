"""One possible occurrence of a test case in the traffic, followed message by message to its verdict."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from twin.certificate.case_words import (
    CONNECTOR,
    TAG,
    TRANSACTION,
    Act,
    Check,
    Doing,
    Each,
    Exchange,
    Never,
    Series,
    Wait,
)
from twin.engine.case_checks import Context, check
from twin.engine.case_plan import LINK_ENDS, Item, Plan, name_of
from twin.engine.case_reading import (
    OTHER,
    RIGHT,
    Opinion,
    Said,
    holds,
    is_set,
    number_of_connectors,
    pick,
    seconds,
    transaction_in_use,
    weigh,
)
from twin.engine.case_series import Reading
from twin.model import CallError, Event, EventKind, Kind, Side
from twin.protocol.fold import integer
from twin.rules import Step

_PATIENCE_S = 120  # for what the station owes
_HUMAN_PATIENCE_S = 600  # for people, and for the CSMS
_LINK_PATIENCE_S = 24 * 3600  # for a lost connection
_REACTION_S = 5  # after a timer of the station (the certificate's limit for a triggered function)
_MOST_EVIDENCE = 64
_MOST_NAMES = 3  # in a sentence


class Verdict(StrEnum):
    """What a capture says of a case, the most telling first; the first four are about what was seen."""

    FAILED = "failed"
    PASSED = "passed"
    MATCHED = "matched"  # all of it was seen and nothing contradicts it, but not all it rests on is known
    INCONCLUSIVE = "inconclusive"
    NOT_SEEN = "not seen"
    NOT_APPLICABLE = "not applicable"


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt ended; ``None`` for the verdict where it was never recognised as the case."""

    verdict: Verdict | None
    why: str


class Attempt:
    """Follows one occurrence from its first message. ``outcome`` is ``None`` while it goes on."""

    def __init__(self, plan: Plan, step: Step, names: Mapping[str, Any], doubts: list[str]) -> None:
        event = step.event
        self.plan = plan
        self.link = event.link
        self.outcome: Outcome | None = None
        self.evidence: list[int] = []
        self.doubts = doubts  # of what must be so before: they forbid "passed" and "failed"
        self.notes: list[str] = [plan.unseen] if plan.unseen else []  # these forbid "passed" alone
        self._names: dict[str, Any] = dict(names)
        self._opened, self._opened_us = step.before, event.at_us
        self._stage = 0
        self._entered_us = event.at_us
        self._said: set[tuple[int, int]] = set()
        self._each: dict[tuple[int, int], set[int]] = {}
        self._times: dict[tuple[int, int], tuple[int, int]] = {}  # how often, when last
        self._awaiting: dict[tuple[Side | None, str], tuple[int, int]] = {}
        self._lifted: set[int] = set()
        self._early: set[tuple[int, int]] = set()
        self._series = Reading()
        self._left = ""  # the link before this one
        self._down = False
        self._cut_us: int | None = None
        self._restored_us: int | None = None
        self._exchanged_us = event.at_us  # the last message that is none of this case
        self._fill(step)

    # --- the ends -------------------------------------------------------------------------------------------

    @property
    def recognised(self) -> bool:
        """Whether what tells this case from others was seen."""
        telling = self.plan.telling
        if self.plan.is_series:
            return self._series.begun
        if any(not item.owed and (-1, i) not in self._said for i, (_, item) in enumerate(self.plan.floating)):
            return False
        if any(place[0] <= telling and self._item(place).answer_where for place in self._awaiting.values()):
            return False
        if self._stage != telling:
            return self._stage > telling
        found = [
            (telling, i) in self._said
            for i, item in enumerate(self.plan.stages[telling].items)
            if isinstance(item, Exchange) and not item.owed
        ]
        return bool(found) and all(found)

    def give_up(self, why: str) -> None:
        """What happens next says nothing of the case any more."""
        if self.outcome is None:
            self.outcome = Outcome(Verdict.INCONCLUSIVE if self.recognised else None, why)

    def _dismiss(self, why: str) -> None:
        """This is another case."""
        if self.outcome is None:
            self.outcome = Outcome(None, why)

    def _contradict(self, why: str, *, known: bool = False) -> None:
        if self.outcome is not None:
            return
        if not (known or self.recognised):
            self.outcome = Outcome(None, why)
        elif self.doubts:
            self.outcome = Outcome(Verdict.INCONCLUSIVE, f"{why}; but {self.doubts[0]}")
        else:
            self.outcome = Outcome(Verdict.FAILED, why)

    def _complete(self) -> None:
        if self.outcome is None:
            doubts = [*self.doubts, *self.notes]
            verdict = Verdict.MATCHED if doubts else Verdict.PASSED
            self.outcome = Outcome(verdict, "; ".join(doubts[:_MOST_NAMES]))

    # --- one step -------------------------------------------------------------------------------------------

    def hear(self, step: Step) -> bool:
        """Take one step of the station; whether it was part of this case."""
        event = step.event
        if event.link == self._left:
            return False  # what is left of a link that was given up
        if event.link != self.link and not self._moves(event):
            return False
        self._ripen(step)
        if self.outcome is None:
            self._be_patient(step)
        if self.outcome is not None:
            return False
        match event.kind:
            case EventKind.RESET:
                self.give_up("a gap in the capture")
            case EventKind.CLOSED if event.frame and event.frame.kind is Kind.END:
                self._link_ends(event.at_us)
                return self._down
            case EventKind.CALLED:
                return self._called(step)
            case EventKind.ANSWERED | EventKind.REFUSED | EventKind.TIMED_OUT:
                return self._answered(step)
        return False

    def begin(self, step: Step) -> bool:
        """Take the step that opens the attempt; whether it really is its first."""
        event = step.event
        if event.kind is EventKind.CLOSED:
            self._link_ends(event.at_us)
            return self.outcome is None
        taken = self._called(step)
        return taken and (self.outcome is None or self.outcome.verdict is not None)

    def _called(self, step: Step) -> bool:
        event = step.event
        if event.defects:
            return False
        self._watch(step)
        if self.outcome is not None:
            return False
        for place, item in self._candidates():
            opinion, bound = self._weigh(item, place, step)
            match opinion[0]:
                case Said.RIGHT:
                    self._take(place, item, bound, step)
                    return True
                case Said.WRONG:
                    self._remember(event)
                    self._contradict(opinion[1], known=not (isinstance(item, Exchange) and item.owed))
                    return True
                case Said.DOUBTFUL:
                    self._remember(event)
                    self.give_up(opinion[1])
                    return True
        if event.sender is Side.STATION:
            self._exchanged_us = event.at_us
        self._overtaken(step)
        return False

    def _overtaken(self, step: Step) -> None:
        """Remember what came before its turn, so that nobody says that it never came."""
        for stage in range(self._stage, len(self.plan.stages)):
            for i, item in enumerate(self.plan.stages[stage].items):
                if isinstance(item, Exchange) and self._weigh(item, (stage, i), step)[0] is RIGHT:
                    self._early.add((stage, i))

    def _watch(self, step: Step) -> None:
        """What must not come, and what means that something else is going on."""
        for number, (since, never) in enumerate(self.plan.nevers):
            if self._stage < since or number in self._lifted or not self._is(never.exchange, step, never):
                continue
            given = [is_set(setting, step.before, self._names) for setting in never.given]
            if False in given:
                continue
            self._remember(step.event)
            if never.doubtful or None in given or step.before.triggered:
                self._give_up_known(never.why)
            else:
                self._contradict(never.why, known=never.tells)
            return
        for since, unless in self.plan.unlesses:
            if self._stage >= since and self._is(unless.exchange, step) and not self._expects(step):
                self._dismiss(unless.why)
                return

    def _is(self, exchange: Exchange, step: Step, never: Never | None = None) -> bool:
        event = step.event
        if event.sender is not exchange.by or (exchange.action and event.action != exchange.action):
            return False
        if never and event.action in never.but:
            return False
        return pick(exchange.where, step.payload, self._names) is not None and all(
            field.name in self._names for field in exchange.where if field.name
        )

    def _expects(self, step: Step) -> bool:
        return any(
            isinstance(item, Exchange) and item.owed and self._is(item, step)
            for _, item in self._candidates()
        )

    def _candidates(self) -> list[tuple[tuple[int, int], Item]]:
        """What may come next, with its place; floating steps stand at stage -1."""
        found: list[tuple[tuple[int, int], Item]] = []
        for stage in range(self._stage, len(self.plan.stages)):
            items = self.plan.stages[stage].items
            found += [((stage, i), item) for i, item in enumerate(items) if (stage, i) not in self._said]
            if any(self._required((stage, i), item) for i, item in enumerate(items)):
                break
        found += [
            ((-1, i), item)
            for i, (since, item) in enumerate(self.plan.floating)
            if self._stage >= since and (-1, i) not in self._said
        ]
        return found

    def _required(self, place: tuple[int, int], item: Item) -> bool:
        if place in self._said:
            return False
        if isinstance(item, Exchange):
            return not item.optional and not self._is_off(item)
        return not (isinstance(item, Act) and item.doing is Doing.RESTART)

    def _is_off(self, item: Exchange) -> bool:
        """Whether a step that hangs on a setting may be left out; where the setting is unknown, it may."""
        return not all(is_set(setting, self._opened, self._names) for setting in item.when)

    def _weigh(self, item: Item, place: tuple[int, int], step: Step) -> tuple[Opinion, dict[str, Any]]:
        event = step.event
        if isinstance(item, Series):
            return self._series.read(item, step, self._names, self._outage_s(), bool(self.doubts)), {}
        if not isinstance(item, Exchange) or event.sender is not item.by or event.action != item.action:
            return OTHER, {}
        bound = pick(item.where, step.payload, self._names)
        if bound is None:
            return OTHER, {}
        opinion = RIGHT
        saved = self._names
        self._names = {**saved, **bound}
        self._fill(step)
        for wanted in item.checks:
            if opinion is RIGHT:
                opinion = self._check(wanted, step)
        bound, self._names = self._names, saved
        for must in item.must:
            if opinion is RIGHT:
                opinion = weigh(must, step.payload, self._subject(step))
        if opinion is RIGHT and item.not_before is not None:
            opinion = self._in_time(item, step)
        if item.each is not None:
            opinion = self._one_of_each(item, place, step, opinion)
        return opinion, bound

    def _subject(self, step: Step) -> str:
        connector_id = integer(step.payload.get("connectorId"))
        return f"connector {connector_id}" if connector_id is not None else step.event.action

    def _check(self, wanted: Check, step: Step) -> Opinion:
        context = Context(
            self._names, self._opened, self._opened_us, self._cut_us, self._restored_us, self.parents,
            self.cache_cleared_us,
        )  # fmt: skip
        return check(wanted, step, context)

    parents: Mapping[str, str] = {}  # of the station; set by whoever keeps the book
    cache_cleared_us: int | None = None

    def _in_time(self, item: Exchange, step: Step) -> Opinion:
        assert item.not_before is not None
        span_s = seconds(item.not_before, step, self._names)
        if span_s is None:
            return Said.DOUBTFUL, "the span of time is not known"
        slack_us = step.profile.tolerances.timer_slack_us(span_s * 1_000_000)
        took_us = step.event.at_us - self._entered_us
        if took_us >= span_s * 1_000_000 - slack_us:
            return RIGHT
        told = f"{item.action} came after {took_us / 1e6:.0f} s and not after {span_s} s"
        by_hand = item.action == "StatusNotification"  # somebody may have cancelled or unplugged
        return (Said.DOUBTFUL if by_hand else Said.WRONG), told

    def _one_of_each(self, item: Exchange, place: tuple[int, int], step: Step, opinion: Opinion) -> Opinion:
        connector_id = integer(step.payload.get("connectorId"))
        if connector_id is None:
            return OTHER
        if item.each is Each.OTHER_CONNECTOR:
            if connector_id == self._names.get(CONNECTOR):
                return OTHER
            if opinion[0] in (Said.WRONG, Said.DOUBTFUL):
                self._note(opinion[1])  # another connector has a life of its own
                return RIGHT
        return opinion

    def _take(self, place: tuple[int, int], item: Item, bound: Mapping[str, Any], step: Step) -> None:
        event = step.event
        self._names.update(bound)
        self._remember(event)
        if place[0] > self._stage:
            self._enter(place[0], event.at_us)
        if isinstance(item, Series):
            if self._series.done:
                self._say(place, step)
            return
        assert isinstance(item, Exchange)
        if item.by is Side.CSMS or item.answer_where or item.answer_must or item.answer_checks:
            message_id = event.message.message_id if event.message else ""
            self._awaiting[event.sender, message_id] = place
        if self._is_enough(place, item, step):
            self._say(place, step)
        if self._settled(item):
            self._lift(place, item)

    def _settled(self, item: Exchange) -> bool:
        return not (item.by is Side.CSMS or item.answer_where or item.answer_must or item.answer_checks)

    def _is_enough(self, place: tuple[int, int], item: Exchange, step: Step) -> bool:
        """Whether a step that is repeated was repeated often enough."""
        at_us = step.event.at_us
        if item.each is not None:
            told = self._each.setdefault(place, set())
            connector_id = integer(step.payload.get("connectorId"))
            if connector_id is not None and len(told) < 10_000:
                told.add(connector_id)
            missing = self._missing(place, item, step)
            return not missing
        if item.times <= 1:
            return True
        count, last_us = self._times.get(place, (0, at_us))
        if count and item.every is not None and (every_s := seconds(item.every, step, self._names)):
            slack_us = step.profile.tolerances.timer_slack_us(every_s * 1_000_000)
            apart_us = at_us - last_us
            if abs(apart_us - every_s * 1_000_000) > slack_us:
                told_s = f"{item.action} came after {apart_us / 1e6:.0f} s where the interval is {every_s} s"
                if self._exchanged_us > last_us:
                    self.give_up(f"{told_s}, with other messages in between")
                else:
                    self._contradict(told_s)
        self._times[place] = (count + 1, at_us)
        return count + 1 >= item.times

    def _missing(self, place: tuple[int, int], item: Exchange, step: Step) -> list[int]:
        """The connectors that did not report yet."""
        number = number_of_connectors(step)
        if number is not None:
            expected = set(range(min(number, 10_000) + 1))
        else:
            self._note("NumberOfConnectors was not observed")
            expected = set(self._opened.connectors)
        if item.each is Each.OTHER_CONNECTOR:
            expected.discard(self._names.get(CONNECTOR, -1))
        return sorted(expected - self._each.get(place, set()))

    def _say(self, place: tuple[int, int], step: Step) -> None:
        self._said.add(place)
        self._advance(step.event.at_us)

    def _enter(self, stage: int, at_us: int) -> None:
        self._stage, self._entered_us = stage, at_us

    def _advance(self, at_us: int) -> None:
        stages = self.plan.stages
        while self._stage < len(stages):
            stage = stages[self._stage]
            places = [((self._stage, i), item) for i, item in enumerate(stage.items)]
            said = [place in self._said for place, _ in places]
            if not (any(said) if stage.one else not any(self._required(p, item) for p, item in places)):
                break
            if not any(said) and not self._all_left_out(self._stage):
                break  # it may still come, and what follows it is not there yet
            self._enter(self._stage + 1, at_us)
        self._end(at_us)

    def _all_left_out(self, since: int) -> bool:
        """Whether nothing from a stage on has to come."""
        return not any(
            self._required((number, i), item)
            for number in range(since, len(self.plan.stages))
            for i, item in enumerate(self.plan.stages[number].items)
        )

    def _end(self, at_us: int) -> None:
        floating = any((-1, i) not in self._said for i in range(len(self.plan.floating)))
        if self._stage >= len(self.plan.stages) and not floating and not self._awaiting:
            self._complete()

    def _lift(self, place: tuple[int, int], item: Exchange) -> None:
        for number, (since, never) in enumerate(self.plan.nevers):
            if never.until and never.until == item.action and (place[0] >= since or place[0] < 0):
                self._lifted.add(number)

    # --- answers --------------------------------------------------------------------------------------------

    def _answered(self, step: Step) -> bool:
        event = step.event
        asked = event.asked
        if asked is None:
            return False
        place = self._awaiting.pop((asked.sender, asked.call.message_id), None)
        if place is None:
            return False
        item = self._item(place)
        self._remember(event)
        if event.kind is not EventKind.ANSWERED and item.answer_where and place[0] <= self.plan.telling:
            self._dismiss(f"{item.action} was not answered as the case has it")
        elif event.kind is EventKind.TIMED_OUT:
            self.give_up(f"{item.action} was not answered ({event.why})")
        elif event.kind is EventKind.REFUSED:
            self._refused(item, event)
        elif not event.defects:
            self._judge_answer(place, item, step)
        if self.outcome is None:
            self._lift(place, item)
            self._end(event.at_us)
        return True

    def _item(self, place: tuple[int, int]) -> Exchange:
        item = self.plan.floating[place[1]][1] if place[0] < 0 else self.plan.stages[place[0]].items[place[1]]
        assert isinstance(item, Exchange)
        return item

    def _refused(self, item: Exchange, event: Event) -> None:
        code = str(event.message.code)[:40] if isinstance(event.message, CallError) else ""
        if item.by is Side.STATION:
            self.give_up(f"the CSMS refused {item.action} ({code})")
        elif "*" not in item.errors and code not in item.errors:
            self._contradict(f"{item.action} was answered with the error {code}", known=True)

    def _judge_answer(self, place: tuple[int, int], item: Exchange, step: Step) -> None:
        bound = pick(item.answer_where, step.payload, self._names)
        if bound is None:
            why = f"{item.action} was answered otherwise"
            if place[0] <= self.plan.telling:
                self._dismiss(why)
            else:
                self.give_up(why)
            return
        self._names.update(bound)
        by_station = item.by is Side.CSMS
        for wanted in item.answer_checks:
            told, why = self._check(wanted, step)
            if told is Said.OTHER:  # it answers another question
                self._said.discard(place)
                self._enter(place[0], self._entered_us)
            elif told is Said.WRONG:
                self._contradict(why, known=by_station)
            elif told is Said.DOUBTFUL:
                self._note(why)
        for must in item.answer_must:
            told, why = weigh(must, step.payload, item.action)
            if told is Said.WRONG:
                unsure = [state for state in must.sure if holds(state, step, self._names) is not True]
                if unsure:
                    self._give_up_known(f"{why}; it is not known whether {unsure[0].value}")
                else:
                    self._contradict(why, known=by_station)
            elif told is Said.DOUBTFUL:
                self._give_up_known(why)

    def _give_up_known(self, why: str) -> None:
        if self.outcome is None:
            self.outcome = Outcome(Verdict.INCONCLUSIVE, why)

    # --- links and time -------------------------------------------------------------------------------------

    def _moves(self, event: Event) -> bool:
        """Whether the station goes on over another link and this attempt may follow."""
        if event.kind is EventKind.CLOSED:
            return False
        if not self._down:
            self._link_ends(event.at_us)
        if self.outcome is not None:
            return False
        self._left, self.link, self._down = self.link, event.link, False
        self._restored_us = event.at_us
        place = (self._stage, 0)
        if self._stage < len(self.plan.stages):
            match self.plan.stages[self._stage].items[0]:
                case Act(Doing.LINK_RESTORED):
                    self._said.add(place)
                    self._advance(event.at_us)
        return True

    def _link_ends(self, at_us: int) -> None:
        if self._down:
            return
        ended = self._link_act()
        if ended is None:
            self.give_up("the connection ended")
            return
        self._down = True
        self._cut_us = self._cut_us if self._cut_us is not None else at_us
        if ended >= self._stage:
            self._said.add((ended, 0))
            self._enter(ended, at_us)
            self._advance(at_us)

    def _link_act(self) -> int | None:
        """The stage of the act by which the link may end now; the stage before, if it just did."""
        for place, item in self._candidates():
            if isinstance(item, Act) and item.doing in LINK_ENDS:
                return place[0]
        near = self.plan.stages[self._stage : self._stage + 2]
        if self._stage and any(
            isinstance(item, Act) and item.doing is Doing.RESTART for stage in near for item in stage.items
        ):
            return self._stage - 1  # it went down before all was said
        before = self._stage - 1
        started = any(place[0] == self._stage for place in self._said) or self._series.begun
        if before >= 0 and not started and isinstance(self.plan.stages[before].items[0], Act):
            return before
        return None

    def _outage_s(self) -> float | None:
        if self._cut_us is None or self._restored_us is None:
            return None
        return (self._restored_us - self._cut_us) / 1e6

    def _ripen(self, step: Step) -> None:
        """Waits that are over."""
        if self._stage >= len(self.plan.stages):
            return
        item = self.plan.stages[self._stage].items[0]
        if isinstance(item, Wait):
            span_s = seconds(item.span, step, self._names)
            if span_s is not None and step.event.at_us >= self._entered_us + span_s * 1_000_000:
                self._say((self._stage, 0), step)

    def _be_patient(self, step: Step) -> None:
        """What should have come by now; only a station that still speaks can be blamed for silence."""
        event = step.event
        waited_s = (event.at_us - self._entered_us) / 1e6
        if self._down:
            if waited_s > _LINK_PATIENCE_S:
                self.give_up("the connection stayed away")
            return
        missing = self._still_missing()
        if not missing or waited_s <= self._patience_s(missing, step):
            return
        owed = [item for _, item in missing if isinstance(item, Exchange) and self._is_owed(item)]
        if event.sender is not Side.STATION or len(owed) < len(missing) or self._awaiting:
            if waited_s > _HUMAN_PATIENCE_S:
                self.give_up(f"{name_of(missing[0][1])} never came")
            return
        place, item = missing[0]
        if self._early.intersection(place for place, _ in missing):
            self.give_up(f"{name_of(item)} came before its turn")
            return
        told = f"no {name_of(item)} within {waited_s:.0f} s"
        if owed[0].each is not None:
            connectors = self._missing(place, owed[0], step)
            if number_of_connectors(step) is None:
                self.give_up(told)
                return
            told = f"{told} from connector {', '.join(map(str, connectors[:_MOST_NAMES]))}"
        self._contradict(told)

    def _still_missing(self) -> list[tuple[tuple[int, int], Item]]:
        stage = self._stage
        if stage >= len(self.plan.stages):
            return [
                ((-1, i), item) for i, (_, item) in enumerate(self.plan.floating) if (-1, i) not in self._said
            ]
        if self.plan.stages[stage].one:
            return [((stage, i), item) for i, item in enumerate(self.plan.stages[stage].items)]
        return [
            (place, item)
            for place, item in self._candidates()
            if place[0] >= 0 and self._required(place, item)
        ]

    def _is_owed(self, item: Exchange) -> bool:
        return item.owed and item.by is Side.STATION

    def _patience_s(self, missing: list[tuple[tuple[int, int], Item]], step: Step) -> float:
        spans: list[float] = []
        for _, item in missing:
            if not isinstance(item, Exchange):
                spans.append(_LINK_PATIENCE_S)
            elif item.within is not None and (span_s := seconds(item.within, step, self._names)) is not None:
                slack_us = step.profile.tolerances.timer_slack_us(span_s * 1_000_000)
                spans.append(span_s + slack_us / 1e6 + _REACTION_S)
            else:
                longest = item.every or item.not_before
                span_s = seconds(longest, step, self._names) if longest is not None else 0
                patience_s = _PATIENCE_S if self._is_owed(item) else _HUMAN_PATIENCE_S
                spans.append(patience_s + 2 * (span_s or 0))
        return max(spans)

    # --- memory ---------------------------------------------------------------------------------------------

    def _fill(self, step: Step) -> None:
        """Names that follow from those already bound."""
        names, state = self._names, step.before
        transaction = state.transactions.get(names[TRANSACTION]) if _is_id(names.get(TRANSACTION)) else None
        if transaction is None and TRANSACTION not in names and self.plan.case.state:
            connector_id = integer(names.get(CONNECTOR))
            if connector_id is not None:
                transaction = state.transaction_on(connector_id)
            elif any("transaction is running" in wanted.value for wanted in self.plan.case.state):
                transaction = transaction_in_use(state)
        if transaction is not None:
            if transaction.transaction_id is not None:
                names.setdefault(TRANSACTION, transaction.transaction_id)
            names.setdefault(CONNECTOR, transaction.connector_id)
            names.setdefault(TAG, transaction.id_tag)

    def _note(self, why: str) -> None:
        if why not in self.notes and len(self.notes) < _MOST_NAMES:
            self.notes.append(why)

    def _remember(self, event: Event) -> None:
        frame = event.frame or (event.asked.frame if event.asked else None)
        if frame is not None and frame.seq not in self.evidence and len(self.evidence) < _MOST_EVIDENCE:
            self.evidence.append(frame.seq)


def _is_id(value: Any) -> bool:
    return integer(value) is not None
