"""One possible occurrence of a test case in the traffic, followed message by message to its verdict."""

from collections.abc import Mapping
from typing import Any

from twin.certificate.case_words import Act, Doing, Exchange, Never, Series, Wait
from twin.engine.case_checks import Context, check
from twin.engine.case_judging import (
    HUMAN_PATIENCE_S,
    LINK_PATIENCE_S,
    filled,
    is_owed,
    judge_call,
    patience_s,
)
from twin.engine.case_links import Links
from twin.engine.case_plan import Item, Plan, name_of
from twin.engine.case_progress import Place, Progress
from twin.engine.case_reading import (
    OTHER,
    Opinion,
    Said,
    holds,
    is_set,
    number_of_connectors,
    pick,
    seconds,
    weigh,
)
from twin.engine.case_repeats import Repeats, out_of_pace
from twin.engine.case_series import Reading
from twin.engine.case_verdict import Ledger, Outcome
from twin.model import CallError, Event, EventKind, Kind, Side
from twin.protocol.fold import word
from twin.protocol.timestamps import parse_stamp
from twin.rules import Step

_MOST_NAMES = 3  # in a sentence
_STAMP_SLACK_US = 2_000_000
# OCPP-J 1.6 table 7: what a station says of a CALL that it cannot read
_ABOUT_FORM = frozenset(
    {"FormationViolation", "OccurenceConstraintViolation", "ProtocolError", "TypeConstraintViolation"}
)


class Attempt:
    """Follows one occurrence from its first message.

    ``parents`` and ``cache_cleared_us`` are the station's, kept by whoever keeps the book.
    """

    parents: Mapping[str, str] = {}
    cache_cleared_us: int | None = None

    def __init__(self, plan: Plan, step: Step, names: Mapping[str, Any], doubts: list[str]) -> None:
        event = step.event
        self.plan = plan
        self.ledger = Ledger(doubts, plan.unseen)
        names = filled(dict(names), step.before, plan.case)
        self._progress = Progress(plan, step.before, names, event.at_us)
        self._opened_us = event.at_us
        self._repeats = Repeats(step.before)
        self._links = Links(event.link)
        self._awaiting: dict[tuple[Side | None, str], Place] = {}
        self._series = Reading()
        self._exchanged_us = event.at_us  # the last message of the station that is none of this case
        self._patient_until_us = 0  # until then nothing is late

    # --- the ends -------------------------------------------------------------------------------------------

    @property
    def recognised(self) -> bool:
        """Whether what tells this case from others was seen."""
        if self.plan.is_series:
            return self._series.tells
        progress, telling = self._progress, self.plan.telling
        waiting = [place for place in self._awaiting.values() if place[0] <= telling]
        return progress.told and not any(progress.item_at(place).answer_where for place in waiting)

    @property
    def outcome(self) -> Outcome | None:
        """``None`` while the attempt goes on."""
        return self.ledger.outcome

    def give_up(self, why: str, *, known: bool = False) -> None:
        """What happens next says nothing of the case any more."""
        self.ledger.give_up(why, known=known or self.recognised)

    def _contradict(self, why: str, *, known: bool = False) -> None:
        self.ledger.contradict(why, known=known or self.recognised)

    def _complete(self) -> None:
        if self._progress.over and not self._awaiting:
            self.ledger.complete()

    # --- one step -------------------------------------------------------------------------------------------

    def begin(self, step: Step) -> bool:
        """Take the step that opens the attempt; whether it really is its first."""
        if step.event.kind is EventKind.CLOSED:
            self._link_ends(step.event.at_us)
            return self.outcome is None
        taken = self._called(step)
        return taken and (self.outcome is None or self.outcome.verdict is not None)

    def hear(self, step: Step) -> bool:
        """Take one step of the station; whether it was part of this case."""
        event = step.event
        if event.link == self._links.left:
            return False  # what is left of a link that was given up
        if event.link != self._links.link and not self._moves(event):
            return False
        self._ripen(step)
        heard = self.outcome is None and self._heard(step)
        if heard:
            self._patient_until_us = 0
        if self.outcome is None and not heard:
            self._be_patient(step)
        return heard

    def _heard(self, step: Step) -> bool:
        event = step.event
        match event.kind:
            case EventKind.RESET:
                self.give_up("a gap in the capture")
            case EventKind.CLOSED if event.frame and event.frame.kind is Kind.END:
                self._link_ends(event.at_us)
                return self._links.down
            case EventKind.CALLED if not event.defects:
                return self._called(step)
            case EventKind.ANSWERED | EventKind.REFUSED | EventKind.TIMED_OUT:
                return self._answered(step)
        return False

    def _called(self, step: Step) -> bool:
        event = step.event
        if event.action not in self.plan.actions and "" not in self.plan.actions:
            if event.sender is Side.STATION:
                self._exchanged_us = event.at_us
            return False
        self._watch(step)
        if self.outcome is not None:
            return False
        for place, item in self._progress.candidates():
            (said, why), names = self._judge(item, step)
            if said is Said.OTHER:
                continue
            self.ledger.remember(event)
            if said is Said.RIGHT:
                self.ledger.note(why)
                self._take(place, item, names, step)
            elif said is Said.WRONG:
                self._contradict(why, known=not (isinstance(item, Exchange) and item.owed))
            else:
                self.give_up(why)
            return True
        if event.sender is Side.STATION:
            self._exchanged_us = event.at_us
        for place, later in self._progress.later():
            if self._judge(later, step)[0][0] is Said.RIGHT:
                self._progress.early.add(place)
        return False

    def _judge(self, item: Item, step: Step) -> tuple[Opinion, dict[str, Any]]:
        if isinstance(item, Series):
            opinion = self._series.read(
                item, step, self._names, self._links.outage_s, bool(self.ledger.doubts)
            )
            return opinion, self._names
        if not isinstance(item, Exchange):
            return OTHER, self._names
        return judge_call(item, step, self.plan.case, self._context)

    def _watch(self, step: Step) -> None:
        """What must not come, and what means that something else is going on."""
        progress = self._progress
        for number, (since, never) in enumerate(self.plan.nevers):
            if progress.stage < since or number in progress.lifted or not self._is(never, step):
                continue
            given = {setting.key: is_set(setting, step.before, self._names) for setting in never.given}
            if False in given.values():
                continue
            unknown = [f"{key} was not observed" for key, so in given.items() if so is None]
            self.ledger.remember(step.event)
            if never.doubtful or unknown or step.before.triggered:
                self.give_up(
                    "; but ".join((never.why, *unknown[:1])),
                    known=never.tells or never.doubtful or bool(never.given),
                )
            else:
                self._contradict(never.why, known=never.tells)
            return
        for since, unless in self.plan.unlesses:
            if progress.stage >= since and self._fits(unless.exchange, step) and not self._expects(step):
                self.ledger.dismiss(unless.why)
                return

    def _is(self, never: Never, step: Step) -> bool:
        """A message that waited out a lost connection tells of another time (OCPP 1.6 §3.7)."""
        if step.event.action in never.but or not self._fits(never.exchange, step):
            return False
        stamp, since_us = parse_stamp(word(step.payload.get("timestamp"))), step.before.link_open_us
        return stamp is None or since_us is None or stamp.at_us >= since_us - _STAMP_SLACK_US

    def _fits(self, exchange: Exchange, step: Step) -> bool:
        event = step.event
        if event.sender is not exchange.by or (exchange.action and event.action != exchange.action):
            return False
        known = all(field.name in self._names for field in exchange.where if field.name)
        return known and pick(exchange.where, step.payload, self._names) is not None

    def _expects(self, step: Step) -> bool:
        items = [item for _, item in self._progress.candidates()]
        return any(isinstance(item, Exchange) and item.owed and self._fits(item, step) for item in items)

    def _take(self, place: Place, item: Item, names: dict[str, Any], step: Step) -> None:
        event, progress = step.event, self._progress
        progress.names = names
        if place[0] > progress.stage:
            progress.enter(place[0], event.at_us)
        if isinstance(item, Exchange):
            if awaits_answer(item):
                message_id = event.message.message_id if event.message else ""
                self._awaiting[event.sender, message_id] = place
            else:
                progress.lift(place, item)
            enough = self._is_enough(place, item, step)
        else:
            enough = self._series.done
        if enough:
            progress.say(place, event.at_us)
            self._complete()

    def _is_enough(self, place: Place, item: Exchange, step: Step) -> bool:
        """Whether a step that is repeated was repeated often enough, and in time."""
        last_us = self._repeats.last_us(place)
        if last_us is not None and (why := out_of_pace(item, step, self._names, step.event.at_us - last_us)):
            if self._exchanged_us > last_us:
                self.give_up(f"{why}, with other messages in between")
            else:
                self._contradict(why)
        if item.each is not None and number_of_connectors(step) is None:
            self.ledger.note("NumberOfConnectors was not observed")
        return self._repeats.is_enough(place, item, step, self._names)

    # --- answers --------------------------------------------------------------------------------------------

    def _answered(self, step: Step) -> bool:
        event = step.event
        asked = event.asked
        place = self._awaiting.pop((asked.sender, asked.call.message_id), None) if asked else None
        if place is None:
            return False
        item = self._progress.item_at(place)
        self.ledger.remember(event)
        if event.kind is not EventKind.ANSWERED and item.answer_where and place[0] <= self.plan.telling:
            self.ledger.dismiss(f"{item.action} was not answered as the case has it")
        elif event.kind is EventKind.TIMED_OUT:
            self.give_up(f"{item.action} was not answered ({event.why})")
        elif event.kind is EventKind.REFUSED:
            self._refused(item, event)
        elif not event.defects:
            self._judge_answer(place, item, step)
        if self.outcome is None:
            self._progress.lift(place, item)
            self._complete()
        return True

    def _refused(self, item: Exchange, event: Event) -> None:
        code = str(event.message.code)[:40] if isinstance(event.message, CallError) else ""
        if item.by is Side.STATION:
            self.give_up(f"the CSMS refused {item.action} ({code})")
        elif code in _ABOUT_FORM and not item.errors:
            self.give_up(f"{item.action} was answered with {code}, as if it were ill-formed", known=True)
        elif "*" not in item.errors and code not in item.errors:
            self._contradict(f"{item.action} was answered with the error {code}", known=True)

    def _judge_answer(self, place: Place, item: Exchange, step: Step) -> None:
        bound = pick(item.answer_where, step.payload, self._names)
        if bound is None:
            why = f"{item.action} was answered otherwise"
            if place[0] <= self.plan.telling:
                self.ledger.dismiss(why)
            else:
                self.give_up(why)
            return
        self._progress.names = {**self._names, **bound}
        by_station = item.by is Side.CSMS  # its answer to what it was asked tells enough
        for wanted in item.answer_checks:
            said, why = check(wanted, step, self._context)
            if said is Said.OTHER:
                self._progress.unsay(place)
            elif said is Said.WRONG:
                self._contradict(why, known=by_station)
            elif said is Said.DOUBTFUL:
                self.ledger.note(why)
        for must in item.answer_must:
            said, why = weigh(must, step.payload, item.action)
            unsure = [state for state in must.sure if holds(state, step, self._names) is not True]
            if said is Said.WRONG and not unsure:
                self._contradict(why, known=by_station)
            elif said is Said.WRONG:
                self.give_up(f"{why}; it is not known whether {unsure[0].value}", known=True)
            elif said is Said.DOUBTFUL:
                self.give_up(why, known=True)

    # --- links and time -------------------------------------------------------------------------------------

    def _moves(self, event: Event) -> bool:
        """Whether the station goes on over another link and this attempt may follow."""
        if event.kind is EventKind.CLOSED:
            return False
        if not self._links.down:
            self._link_ends(event.at_us)
        if self.outcome is not None:
            return False
        self._links.move(event.link, event.at_us)
        self._patient_until_us = 0
        progress = self._progress
        progress.enter(progress.stage, event.at_us)  # nobody can be late while there is no link
        if progress.stage < len(self.plan.stages):
            match self.plan.stages[progress.stage].items[0]:
                case Act(Doing.LINK_RESTORED):
                    progress.say((progress.stage, 0), event.at_us)
        return True

    def _link_ends(self, at_us: int) -> None:
        if self._links.down:
            return
        progress = self._progress
        ended = None if self._series.begun else progress.link_act()
        if ended is None:
            self.give_up("the connection ended")
            return
        self._links.end(at_us)
        if ended >= progress.stage:
            progress.enter(ended, at_us)
            progress.say((ended, 0), at_us)

    def _ripen(self, step: Step) -> None:
        """Waits that are over."""
        progress = self._progress
        if progress.stage >= len(self.plan.stages):
            return
        item = self.plan.stages[progress.stage].items[0]
        if isinstance(item, Wait):
            span_s = seconds(item.span, step, self._names)
            if span_s is not None and step.event.at_us >= progress.entered_us + span_s * 1_000_000:
                self._patient_until_us = 0
                progress.say((progress.stage, 0), step.event.at_us)
                self._complete()

    def _be_patient(self, step: Step) -> None:
        """What should have come by now; only a station that still speaks can be blamed for silence."""
        event, progress = step.event, self._progress
        if event.at_us <= self._patient_until_us:
            return
        waited_s = (event.at_us - progress.entered_us) / 1e6
        if self._links.down:
            if waited_s > LINK_PATIENCE_S:
                self.give_up("the connection stayed away")
            return
        missing = progress.missing()
        items = [item for _, item in missing]
        if not items:
            return
        longest_s = patience_s(items, step, self._names)
        if waited_s <= longest_s:
            self._patient_until_us = progress.entered_us + int(longest_s * 1e6)
            return
        held_up = bool(self._awaiting or step.before.failing)  # OCPP 1.6 §3.7: one after another
        if event.sender is not Side.STATION or held_up or not all(map(is_owed, items)):
            if waited_s > HUMAN_PATIENCE_S:
                self.give_up(f"{name_of(items[0])} never came")
            return
        if any(place in progress.early for place, _ in missing):
            self.give_up(f"{name_of(items[0])} came before its turn")
            return
        told = f"no {name_of(items[0])} within {waited_s:.0f} s"
        if isinstance(items[0], Exchange) and items[0].each is not None:
            if number_of_connectors(step) is None:
                self.give_up(told)
                return
            silent = self._repeats.silent(missing[0][0], items[0], step, self._names)
            told = f"{told} from connector {', '.join(map(str, silent[:_MOST_NAMES]))}"
        self._contradict(told)

    # --- memory ---------------------------------------------------------------------------------------------

    @property
    def _names(self) -> dict[str, Any]:
        return self._progress.names

    @property
    def _context(self) -> Context:
        progress = self._progress
        return Context(
            self._names, progress.opened, self._opened_us, progress.entered_us, self._links.cut_us,
            self._links.restored_us, self.parents, self.cache_cleared_us,
        )  # fmt: skip


def awaits_answer(item: Exchange) -> bool:
    """Whether the answer is part of the step; a station always owes one."""
    asks = item.answer_where or item.answer_must or item.answer_checks
    return item.by is Side.CSMS or bool(asks)
