"""What is known of one station, as frozen records: unknown is a value here, and it is never a fault (G1)."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec


class Registration(StrEnum):
    """OCPP 1.6 §4.2. UNKNOWN until a BootNotification is seen; SENT while it is unanswered."""

    UNKNOWN = "unknown"
    SENT = "sent"
    ACCEPTED = "Accepted"
    PENDING = "Pending"
    REJECTED = "Rejected"


class Source(StrEnum):
    """Where a configured value was seen (G5); ``certified`` is added by whoever judges."""

    READ = "observed by GetConfiguration"
    WRITTEN = "written by ChangeConfiguration"
    BOOT = "set by BootNotification.conf"


class Configured(msgspec.Struct, frozen=True):
    """A value in force, in the wire's own spelling."""

    key: str
    value: str
    source: Source
    seq: int
    at_us: int


class Connector(msgspec.Struct, frozen=True):
    """The last StatusNotification of a connector since the last reset point."""

    status: str
    error_code: str
    seq: int
    at_us: int


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction from its StartTransaction on. Energies in Wh, stamps are the payload's (UTC µs).

    ``transaction_id`` is ``None`` until StartTransaction.conf. ``register_wh`` is the newest register value
    (meterStart at first), ``resolution_wh`` one unit of its last digit, ``register_us`` its time stamp.
    ``sampled_us`` is the stamp of the newest periodic sample, ``None`` where the phase is unknown.
    """

    transaction_id: int | None = None
    connector_id: int
    id_tag: str
    start_seq: int
    started_us: int | None
    meter_start_wh: int | None
    status: str = ""
    register_wh: Decimal | None = None
    resolution_wh: Decimal = Decimal(1)
    register_us: int | None = None
    register_seq: int = 0
    sampled_us: int | None = None
    sampled_seq: int = 0
    stop_seq: int | None = None


class SampleSet(msgspec.Struct, frozen=True):
    """The measurands of one sample, merged over messages by (connector, context, time stamp)."""

    stamp_us: int
    measurands: frozenset[str]
    seq: int
    transaction_id: int | None


class Verdict(msgspec.Struct, frozen=True):
    """The newest answer of the CSMS about an idTag."""

    status: str
    seq: int
    at_us: int


class Failing(msgspec.Struct, frozen=True):
    """A transaction message that failed and must be sent again before any newer one (§3.7)."""

    action: str
    payload: Any
    seq: int
    attempts: int


class StationState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the traffic has shown of one station. Changed only by ``fold``.

    What the station numbers is held for the newest 256, words for the newest 4096. Keys: ``connectors`` by
    connectorId, ``transactions`` (open) and ``ended`` by transactionId, ``starting`` by messageId,
    ``unanswered_starts`` by connectorId, ``id_tags`` and ``remote_starts`` by case-folded idTag, ``config``
    and ``awaiting_reboot`` by case-folded key, ``sampling`` by (connectorId, context).
    ``booted_us`` is the first BootNotification of this capture; ``spoke_before_boot`` says that the station
    had been running before it, with transactions nobody saw.
    """

    station: str = ""
    link: str = ""
    link_open_us: int | None = None
    registration: Registration = Registration.UNKNOWN
    boot_seq: int | None = None
    booted_us: int | None = None
    spoke_before_boot: bool = False
    last_boot_us: int | None = None
    retry_not_before_us: int | None = None
    triggered: bool = False
    vendor: str = ""
    model: str = ""
    firmware: str = ""
    connectors: Mapping[int, Connector] = {}
    transactions: Mapping[int, Transaction] = {}
    starting: Mapping[str, Transaction] = {}
    unanswered_starts: Mapping[int, int] = {}
    ended: Mapping[int, Transaction] = {}
    id_tags: Mapping[str, Verdict] = {}
    remote_starts: Mapping[str, int] = {}
    config: Mapping[str, Configured] = {}
    awaiting_reboot: Mapping[str, Configured] = {}
    sampling: Mapping[tuple[int, str], SampleSet] = {}
    failing: tuple[Failing, ...] = ()
    reset_seq: int | None = None
    station_stamps: int = 0
    fractional_stamps: int = 0
    last_exchange_us: int | None = None
    gaps: int = 0

    @property
    def known_from_boot(self) -> bool:
        """Whether the first thing this capture heard of the station was its boot, and no gap came after."""
        return self.booted_us is not None and not self.spoke_before_boot

    def transaction_on(self, connector_id: int) -> Transaction | None:
        """The open transaction of a connector, the newest if the station opened several."""
        found = [tx for tx in self.transactions.values() if tx.connector_id == connector_id]
        return found[-1] if found else None
