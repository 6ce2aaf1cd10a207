"""A connector: its status is derived from facts, and every change is gated through the table of 4.9."""

import msgspec

from twin.engine.station.plant import Outlet
from twin.protocol.connectors import TRANSITIONS

EV_DISCONNECTED = "EV side disconnected"  # the info of 4.9
# Where the table has no cell: the status that is reported between, first that fits.
_BETWEEN = ("Available", "Preparing", "Finishing", "Unavailable")


class Authorization(msgspec.Struct, frozen=True):
    """An accepted idTag that waits for a plug on this connector until ``until_us``."""

    id_tag: str
    parent_tag: str
    until_us: int
    remote: bool


class Point:
    """The facts of one connector, 1 to N, and what was last said of it."""

    # a fleet has twenty thousand of them
    __slots__ = (
        "asking", "authorization", "connector_id", "dwell", "fault", "operative", "outlet", "post_tx",
        "refused", "scheduled", "sent", "timed_out", "told", "transaction",
    )  # fmt: skip

    def __init__(self, connector_id: int, outlet: Outlet) -> None:
        self.connector_id = connector_id
        self.outlet = outlet
        self.fault = ""  # errorCode while faulted
        self.operative = True
        self.scheduled: bool | None = None  # availability to take once it is free
        self.authorization: Authorization | None = None
        self.asking = False  # an Authorize for this connector is on its way
        self.transaction: int | None = None  # local id
        self.refused = False  # its StartTransaction was refused: no energy
        self.post_tx = False
        self.dwell = False
        self.timed_out = False  # plugged for too long without a tag (B6)
        self.told: tuple[str, str] | None = None  # status and errorCode queued last
        self.sent: tuple[str, str] | None = None  # and sent last on this connection

    @property
    def free(self) -> bool:
        """Nothing holds it: a transaction may start here once there is a car and a tag."""
        return (
            not self.fault
            and self.operative
            and self.transaction is None
            and self.authorization is None
            and not self.asking
        )

    def status(self, now_us: int) -> str:
        if self.fault:
            return "Faulted"
        if self.transaction is not None:
            if self.refused:
                return "SuspendedEVSE"  # precedence over SuspendedEV (4.9 SHALL)
            return "Charging" if self.outlet.draws(now_us) else "SuspendedEV"
        if not self.operative:
            return "Unavailable"
        if self.dwell or ((self.post_tx or self.timed_out) and self.outlet.plugged):
            return "Finishing"
        if self.outlet.plugged or self.authorization is not None:
            return "Preparing"
        return "Available"


def steps_between(before: str | None, after: str) -> list[str]:
    """What is reported to get from ``before`` to ``after`` by cells of the table (4.9)."""
    if before is None or after == before or after in TRANSITIONS[before]:
        return [after]
    between = next(
        (middle for middle in _BETWEEN if middle in TRANSITIONS[before] and after in TRANSITIONS[middle]),
        None,
    )
    return [between, after] if between else [after]
