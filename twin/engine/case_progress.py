"""How far an attempt at a test case has come: what was said, what may come next, what is still missing."""

from typing import Any

from twin.certificate.case_words import Act, Doing, Exchange
from twin.engine.case_plan import LINK_ENDS, Item, Plan
from twin.engine.case_reading import is_set
from twin.protocol.state import StationState

type Place = tuple[int, int]
"""A stage and an item in it; what floats stands at stage -1."""


class Progress:
    """The place of one attempt in its plan; spans of time count from ``entered_us``, the begin of a stage."""

    def __init__(self, plan: Plan, opened: StationState, names: dict[str, Any], at_us: int) -> None:
        self.plan = plan
        self.names = names
        self.opened = opened
        self.stage = 0
        self.entered_us = at_us
        self.said: set[Place] = set()
        self.early: set[Place] = set()  # came before their turn
        self.lifted: set[int] = set()  # the nevers that hold no longer

    @property
    def over(self) -> bool:
        """Whether everything came."""
        return self.stage >= len(self.plan.stages) and not self._not_floated()

    @property
    def told(self) -> bool:
        """Whether what tells this case from others came."""
        telling = self.plan.telling
        if any(not item.owed for _, item in self._not_floated()):
            return False
        if self.stage != telling:
            return self.stage > telling
        found = [
            place in self.said
            for place, item in self._items(telling)
            if isinstance(item, Exchange) and not item.owed
        ]
        return bool(found) and all(found)

    def item_at(self, place: Place) -> Exchange:
        """The exchange at a place."""
        stage, number = place
        item = self.plan.floating[number][1] if stage < 0 else self.plan.stages[stage].items[number]
        assert isinstance(item, Exchange)
        return item

    def candidates(self) -> list[tuple[Place, Item]]:
        """What may come next."""
        found: list[tuple[Place, Item]] = []
        for stage in range(self.stage, len(self.plan.stages)):
            items = self._items(stage)
            found += [(place, item) for place, item in items if place not in self.said]
            if any(self.required(place, item) for place, item in items):
                break
        floating = [
            ((-1, number), item)
            for number, (since, item) in enumerate(self.plan.floating)
            if self.stage >= since and (-1, number) not in self.said
        ]
        return [*found, *floating]

    def later(self) -> list[tuple[Place, Exchange]]:
        """What stands further on."""
        return [
            (place, item)
            for stage in range(self.stage, len(self.plan.stages))
            for place, item in self._items(stage)
            if isinstance(item, Exchange) and place not in self.said
        ]

    def missing(self) -> list[tuple[Place, Item]]:
        """What has to come before anything else counts."""
        if self.stage >= len(self.plan.stages):
            return list(self._not_floated())
        if self.plan.stages[self.stage].one:
            return self._items(self.stage)
        return [
            (place, item) for place, item in self.candidates() if place[0] >= 0 and self.required(place, item)
        ]

    def required(self, place: Place, item: Item) -> bool:
        """Whether it has to come, and did not. What hangs on a setting nobody observed may be left out."""
        if place in self.said:
            return False
        if isinstance(item, Exchange):
            is_on = all(is_set(setting, self.opened, self.names) for setting in item.when)
            return is_on and not item.optional
        return not (isinstance(item, Act) and item.doing is Doing.RESTART)

    def say(self, place: Place, at_us: int) -> None:
        """It came."""
        self.said.add(place)
        self._advance(at_us)

    def unsay(self, place: Place) -> None:
        """It turned out to be something else."""
        self.said.discard(place)
        self.stage = place[0]

    def enter(self, stage: int, at_us: int) -> None:
        """Go on to a stage."""
        self.stage, self.entered_us = stage, at_us

    def lift(self, place: Place, item: Exchange) -> None:
        """What must not come until this step may come from now on."""
        for number, (since, never) in enumerate(self.plan.nevers):
            if never.until and never.until == item.action and (place[0] >= since or place[0] < 0):
                self.lifted.add(number)

    def link_act(self) -> int | None:
        """The stage of the act by which the link may end now, or one before if it may end all the same."""
        for place, item in self.candidates():
            if isinstance(item, Act) and item.doing in LINK_ENDS:
                return place[0]
        before = self.stage - 1
        if before < 0:
            return None
        near = [item for stage in self.plan.stages[self.stage : self.stage + 2] for item in stage.items]
        if any(isinstance(item, Act) and item.doing is Doing.RESTART for item in near):
            return before  # it went down before all was said
        started = any(place[0] == self.stage for place in self.said)
        return before if not started and isinstance(self.plan.stages[before].items[0], Act) else None

    def _items(self, stage: int) -> list[tuple[Place, Item]]:
        return [((stage, number), item) for number, item in enumerate(self.plan.stages[stage].items)]

    def _not_floated(self) -> list[tuple[Place, Exchange]]:
        return [
            ((-1, number), item)
            for number, (_, item) in enumerate(self.plan.floating)
            if (-1, number) not in self.said
        ]

    def _advance(self, at_us: int) -> None:
        while self.stage < len(self.plan.stages):
            items = self._items(self.stage)
            came = any(place in self.said for place, _ in items)
            waits = any(self.required(place, item) for place, item in items)
            if not came if self.plan.stages[self.stage].one else waits:
                break
            if not came and not self._all_left_out(self.stage):
                break  # it may still come, and what follows it is not there yet
            self.enter(self.stage + 1, at_us)

    def _all_left_out(self, since: int) -> bool:
        """Whether nothing from a stage on has to come."""
        return not any(
            self.required(place, item)
            for stage in range(since, len(self.plan.stages))
            for place, item in self._items(stage)
        )
