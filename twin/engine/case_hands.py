"""Who does the physical steps of a case, and what a variant of the station has for it."""

from collections.abc import Callable, Mapping
from typing import Protocol

from twin.certificate.case_words import Applies, Case, Doing, Needs
from twin.engine.station import Act, Behaviour
from twin.protocol.timestamps import SECOND_US

_POWER_US = 5 * SECOND_US


class Hands(Protocol):
    """Who does what people, the mains and the network do: ``busy`` until the last step is done or ``failed``.

    ``tidy`` asks for what a test leaves behind: no cable plugged in, no fault, power and network there.
    """

    @property
    def busy(self) -> bool: ...

    @property
    def failed(self) -> str: ...

    def do(self, doing: Doing, connector_id: int, tag: str, now_us: int) -> None: ...

    def tidy(self, now_us: int) -> None: ...


class ModelHands:
    """Does to our own model what people, the mains and the network do."""

    busy = False
    failed = ""

    def __init__(
        self, act: Callable[[Act, int], None], act_at: Callable[[Act, int], None], connectors: int
    ) -> None:
        self._act = act
        self._act_at = act_at
        self._connectors = connectors

    def do(self, doing: Doing, connector_id: int, tag: str, now_us: int) -> None:
        for act, after_us in acts_of(doing, connector_id, tag):
            if after_us:
                self._act_at(act, now_us + after_us)
            else:
                self._act(act, now_us)

    def tidy(self, now_us: int) -> None:
        self._act(Act(do="power on"), now_us)
        self._act(Act(do="link up"), now_us)
        for number in range(1, self._connectors + 1):
            self._act(Act(do="unplug", connector_id=number), now_us)
            self._act(Act(do="clear", connector_id=number), now_us)


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
    held = {
        Needs.FIXED_CABLE: True,
        Needs.SOCKET: False,
        Needs.LOCK_FAILURE: False,
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
