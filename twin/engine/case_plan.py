"""A case as a recogniser walks it: stages of messages, and what must not come in between."""

import msgspec

from twin.certificate.case_words import (
    Act,
    AnyOrder,
    Case,
    Doing,
    Exchange,
    Never,
    OneOf,
    Series,
    Unless,
    Wait,
)
from twin.model import Side

# The acts that show on the wire as the end or the opening of a link; those that must, and one that may.
LINK_ENDS = frozenset({Doing.POWER_CYCLE, Doing.LINK_CUT, Doing.RESTART})
_ON_THE_WIRE = LINK_ENDS | {Doing.LINK_RESTORED}

type Item = Exchange | Act | Wait | Series


class Stage(msgspec.Struct, frozen=True):
    """What is looked for at one place of a case: all of it in any order, or with ``one`` any of it."""

    items: tuple[Item, ...]
    one: bool = False


class Plan(msgspec.Struct, frozen=True):
    """``nevers``, ``unlesses`` and ``floating`` stand with the stage from which they hold.

    ``telling`` is the last stage that tells this case from others, ``unseen`` an act that nothing shows,
    ``actions`` all that any of it reads; "" among them for every action.
    """

    case: Case
    stages: tuple[Stage, ...]
    nevers: tuple[tuple[int, Never], ...]
    unlesses: tuple[tuple[int, Unless], ...]
    floating: tuple[tuple[int, Exchange], ...]
    telling: int
    unseen: str
    actions: frozenset[str]

    @property
    def is_series(self) -> bool:
        """Whether meter values are what the case is about."""
        return any(isinstance(item, Series) for stage in self.stages for item in stage.items)

    @property
    def triggers(self) -> tuple[Item, ...]:
        """The messages or acts of which each may be the first of the case."""
        return self.stages[0].items


def plan_of(case: Case) -> Plan:
    """The stages of a case, once and for all."""
    stages: list[Stage] = []
    nevers: list[tuple[int, Never]] = []
    unlesses: list[tuple[int, Unless]] = []
    floating: list[tuple[int, Exchange]] = []
    unseen = ""
    for step in case.steps:
        match step:
            case Never():
                nevers.append((len(stages), step))
            case Unless():
                unlesses.append((len(stages), step))
            case AnyOrder(steps):
                stages.append(Stage(steps))
            case OneOf(steps):
                stages.append(Stage(steps, one=True))
            case Exchange(floating=True):
                floating.append((len(stages), step))
            case Act(doing) if doing not in _ON_THE_WIRE:
                unseen = unseen if step.shown else f"nothing shows the act itself: {doing.value}"
            case _:
                stages.append(Stage((step,)))
    telling = max((place for place, stage in enumerate(stages) if any(map(_tells, stage.items))), default=0)
    exchanges = [item for stage in stages for item in stage.items if isinstance(item, Exchange)]
    exchanges += [item for _, item in floating]
    exchanges += [never.exchange for _, never in nevers]
    exchanges += [unless.exchange for _, unless in unlesses]
    actions = {exchange.action for exchange in exchanges}
    if any(isinstance(item, Series) for stage in stages for item in stage.items):
        actions.add("MeterValues")
    return Plan(
        case,
        tuple(stages),
        tuple(nevers),
        tuple(unlesses),
        tuple(floating),
        telling,
        unseen,
        frozenset(actions),
    )


def _tells(item: Item) -> bool:
    return isinstance(item, Exchange) and not item.owed


def name_of(item: Item) -> str:
    """What was looked for, in words."""
    match item:
        case Exchange():
            words = [str(word) for must in item.must for word in must.allowed if word is not None]
            words += [str(word) for field in item.where if field.path == "status" for word in field.values]
            sender = "the CSMS's" if item.by is Side.CSMS else ""
            return " ".join(part for part in (sender, item.action, "/".join(words[:2])) if part)
        case Act():
            return item.doing.value
        case Wait():
            return "time to pass"
        case Series():
            return "MeterValues"
