"""What is known of one station, as frozen records: unknown is a value here, and it is never a fault (G1)."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from twin.model import Awaited, Side
from twin.protocol.metering import Sample

_CLOCKS_US = 2_000_000  # the station's clock and the recorder's may differ by as much


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


class Wait(StrEnum):
    """What a station's state waits for; when it does not come by its time, an OVERDUE event says so."""

    STATUSES = "StatusNotification of every connector after acceptance"
    STATUS_FITS = "a status that fits the transaction"
    STATUS_AFTER_START = "Charging or Suspended after StartTransaction"
    LEAVES_PREPARING = "the end of Preparing"
    STATUS_AFTER_AVAILABILITY = "StatusNotification after ChangeAvailability"
    SUSPENDED_AFTER_REFUSAL = "SuspendedEVSE after a refused StartTransaction"
    START_AFTER_REMOTE = "StartTransaction after RemoteStartTransaction"
    STOP_AFTER_REMOTE = "StopTransaction after RemoteStopTransaction"
    STOP_AFTER_REFUSAL = "StopTransaction after RemoteStopTransaction was refused"
    STOP_BEFORE_REMOTE = "StopTransaction before the start that RemoteStartTransaction asks for"
    STOP_AFTER_UNPLUG = "StopTransaction after the EV side disconnected"
    STOP_AFTER_RESET = "StopTransaction after Reset"
    BOOT_AFTER_POWER_LOSS = "BootNotification after StopTransaction(PowerLoss)"
    BOOT_AFTER_RESET = "BootNotification after Reset"
    HEARTBEAT = "a Heartbeat within 24 hours"
    SILENT = "any exchange within the heartbeat interval"
    RESEND = "the failed transaction message again"
    PONG = "a pong"
    OLD_LINK_ENDS = "the end of the earlier connection"


class Configured(msgspec.Struct, frozen=True):
    """A value in force, in the wire's own spelling."""

    key: str
    value: str
    source: Source
    seq: int
    at_us: int


class Outage(msgspec.Struct, frozen=True):
    """Between two connections: from the end of one to the opening of the next (UTC µs)."""

    from_us: int
    until_us: int
    seq: int  # the frame that opened the next
    abrupt: bool = False  # it ended without a Close frame: the network or the power went
    calling: bool = False  # while a CALL of the station was unanswered: what waited was not sent


class Socket(msgspec.Struct, frozen=True, kw_only=True):
    """The station's connection now. ``whole`` says that its opening was seen; nothing is known before that.

    ``attempts`` are the newest handshakes, refused ones included; ``others`` the links that were still open
    when this one opened, with their opening time; ``errors`` the newest CALLERRORs on it (frame numbers) and
    ``errors_us`` their times. ``queue_seq`` is the first message from the queue,
    ``live_seq`` the first transaction message that was not, ``spoke_seq`` the
    station's first CALL on it, ``boot_seq`` its BootNotification on it.
    """

    whole: bool = False
    opened_us: int | None = None
    opened_seq: int | None = None
    spoke_seq: int | None = None
    boot_seq: int | None = None
    attempts: tuple[int, ...] = ()
    refused: int = 0
    others: Mapping[str, int] = {}
    errors: tuple[int, ...] = ()
    errors_us: tuple[int, ...] = ()
    queue_seq: int | None = None
    live_seq: int | None = None
    ended_us: int | None = None  # of the connection before
    ended_abruptly: bool = False
    ended_calling: bool = False
    ran_on: tuple[int, int] | None = None  # a sample from within the outage: its frame and transactionId
    outages: tuple[Outage, ...] = ()


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """The station's clock against the recorder's, estimated (G3).

    Each live time stamp minus its arrival is the offset minus a delay, so the largest difference since the
    last correction is the best estimate. ``station_us`` is that of the window since ``synced_us``,
    ``earlier_us`` of the one before; ``csms_us`` is currentTime minus arrival of the last answer that had it.
    """

    station_us: int | None = None
    station_seq: int = 0
    samples: int = 0
    earlier_us: int | None = None
    csms_us: int | None = None
    csms_seq: int = 0
    synced_us: int | None = None

    @property
    def offset_us(self) -> int | None:
        """Station minus recorder, positive where the station is ahead; ``None`` while unknown."""
        return self.station_us if self.station_us is not None else self.earlier_us


class Connector(msgspec.Struct, frozen=True, kw_only=True):
    """The last StatusNotification of a connector since the last reset point, and what came before it.

    ``at_us`` is its arrival, ``since_us`` the arrival of the first report of this status, ``stamp_us`` the
    payload's own stamp. ``before`` is the status it replaced, ``before_fault`` the status a fault replaced.
    ``changed_us`` are the arrivals of the newest changes. ``was_free`` says that it has reported a status
    that no transaction has (7.7) since then.
    """

    status: str
    error_code: str
    seq: int
    at_us: int
    info: str = ""
    vendor_error: str = ""
    stamp_us: int | None = None
    since_us: int = 0
    before: str = ""
    before_fault: str = ""
    changed_us: tuple[int, ...] = ()
    was_free: bool = False


class Availability(msgspec.Struct, frozen=True):
    """The last ChangeAvailability that was not Rejected."""

    operative: bool
    scheduled: bool
    seq: int
    at_us: int


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction from its StartTransaction on.

    Energies in Wh; ``*_us`` stamps are the payload's (UTC µs) unless the name says ``arrived``.

    ``transaction_id`` is ``None`` until StartTransaction.conf. ``register_wh`` is the newest register value
    (meterStart at first), ``resolution_wh`` one unit of its last digit, ``register_us`` its time stamp.
    ``sampled_us`` is the stamp of the newest periodic sample, ``None`` where the phase is unknown.
    ``latest_us`` is the newest stamp of its messages, clock-aligned data excepted. ``queued`` says that the
    StartTransaction was older than its connection (G4). ``vi_wh`` integrates voltage times current over the
    samples, ``None`` where they do not allow it.
    """

    transaction_id: int | None = None
    connector_id: int
    id_tag: str
    start_seq: int
    started_us: int | None
    meter_start_wh: int | None
    status: str = ""
    parent_tag: str = ""
    arrived_us: int = 0
    answered_us: int | None = None  # arrival of StartTransaction.conf
    queued: bool = False
    register_wh: Decimal | None = None
    resolution_wh: Decimal = Decimal(1)
    register_us: int | None = None
    register_seq: int = 0
    sampled_us: int | None = None
    sampled_seq: int = 0
    samples: int = 0  # periodic ones, live
    latest_us: int | None = None
    latest_seq: int = 0
    power_w: float | None = None
    power_us: int | None = None
    vi_wh: float | None = 0.0
    remote_stop_seq: int | None = None
    unplugged_seq: int | None = None
    stop_seq: int | None = None
    stopped_us: int | None = None
    stop_arrived_us: int = 0
    meter_stop_wh: int | None = None
    reason: str = ""


class SampleSet(msgspec.Struct, frozen=True):
    """The measurands of one sample, merged over messages by (connector, context, time stamp)."""

    stamp_us: int
    measurands: frozenset[str]
    seq: int
    transaction_id: int | None


class Verdict(msgspec.Struct, frozen=True):
    """The newest answer of the CSMS about an idTag, and to which action."""

    status: str
    seq: int
    at_us: int
    parent_tag: str = ""
    action: str = ""
    blocked_us: int = 0  # how long the station had been held up by then


class Unanswered(msgspec.Struct, frozen=True):
    """An Authorize that got no answer or a CALLERROR."""

    seq: int
    at_us: int
    why: str


class RemoteStart(msgspec.Struct, frozen=True):
    """A RemoteStartTransaction that the station accepted."""

    seq: int
    at_us: int
    connector_id: int | None


class Request(msgspec.Struct, frozen=True):
    """The newest CALL of the CSMS of its kind, and the status it was answered with ("" until then)."""

    seq: int
    at_us: int
    payload: Mapping[str, Any]
    status: str = ""


class ResetAsked(msgspec.Struct, frozen=True):
    """A Reset that the station accepted, and the transactions then open."""

    kind: str
    seq: int
    at_us: int
    transactions: tuple[int, ...]


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction message that failed and must be sent again before any newer one (§3.7).

    ``attempts`` counts transmissions, ``sent_us`` is the arrival of the last, ``failed_us`` the moment its
    failure was known, ``refused`` whether that was a CALLERROR. ``pending`` while it is on its way again.
    """

    action: str
    payload: Any
    seq: int
    attempts: int
    sent_us: int = 0
    failed_us: int = 0
    refused: bool = False
    link_ended: bool = False
    pending: bool = False


class Notice(msgspec.Struct, frozen=True):
    """An Authorize or StatusNotification that failed: it may be sent again, and need not be."""

    action: str
    payload: Any
    seq: int


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long what must follow may take before it is missing (µs); whoever judges sets it by its profile."""

    triggered_us: int = 60_000_000  # a message that another one triggers
    unplug_us: int = 60_000_000  # StopTransaction after the EV side disconnected
    reboot_us: int = 300_000_000  # a boot, and the Stops, after Reset: it may take minutes
    status_us: int = 10_000_000  # StartTransaction and its status may come in either order
    timer_us: int = 2_000_000  # beyond an interval, or the share of it, whichever is more
    timer_share: float = 0.05


class StationState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the traffic has shown of one station. Changed only by ``fold``.

    What the station numbers is held for the newest 256, words for the newest 4096. Keys: ``connectors`` and
    ``availability`` by connectorId, ``transactions`` (open) and ``ended`` by transactionId, ``starting`` by
    messageId, ``unanswered_starts`` by connectorId, ``last_stop`` (the newest ended transaction) by
    connectorId, ``id_tags``, ``unanswered_tags`` and ``remote_starts`` by case-folded idTag, ``config`` and
    ``awaiting_reboot`` by case-folded key, ``sampling`` by (connectorId, context), ``awaited`` by (what,
    connectorId or transactionId), ``requests`` (Reset, RemoteStopTransaction, UnlockConnector) by (action,
    connectorId or transactionId).
    ``answers_seen`` counts the answers of each side: a log may hold those of one only;
    ``cut`` are the sides of which an imported log has left CALLs out.
    ``rhythm`` is the gap between periodic samples (µs) and how many in a row had it, within a tenth.
    ``heard`` holds the samples of the newest MeterValues: they are read once.
    ``booted_us`` is the first BootNotification of this capture; ``spoke_before_boot`` says that the station
    had been running before it, with transactions nobody saw. ``assumed`` are the certified values that hold
    where nothing was observed, ``patience`` their limits (the analyzer sets both with the profile).
    """

    station: str = ""
    link: str = ""
    link_open_us: int | None = None
    socket: Socket = Socket()
    clock: Clock = Clock()
    registration: Registration = Registration.UNKNOWN
    boot_seq: int | None = None
    boot: Mapping[str, Any] = {}
    booted_us: int | None = None
    spoke_before_boot: bool = False
    last_boot_us: int | None = None
    boots_us: tuple[int, ...] = ()
    asked_boot_us: int | None = None  # the newest BootNotification was triggered: no reboot
    boot_failed: bool = False  # the newest BootNotification got a CALLERROR, or no answer
    boot_answered_us: int = 0
    boot_unclear: bool = False  # or an answer that can be read one way or the other
    unread_us: int = 0  # the newest answer of the CSMS that a framing flaw spoils
    rejected: bool = False  # or may think so: until another answer
    rejected_until_us: int = 0
    accepted_us: int | None = None
    retry_not_before_us: int | None = None
    retry_interval_s: int | None = None
    triggers: Mapping[str, int] = {}
    vendor: str = ""
    model: str = ""
    firmware: str = ""
    connectors: Mapping[int, Connector] = {}
    availability: Mapping[int, Availability] = {}
    transactions: Mapping[int, Transaction] = {}
    starting: Mapping[str, Transaction] = {}
    unanswered_starts: Mapping[int, int] = {}
    ended: Mapping[int, Transaction] = {}
    last_stop: Mapping[int, Transaction] = {}
    zero_starts: int = 0
    id_tags: Mapping[str, Verdict] = {}
    asked_tag: tuple[str, int, int] = ("", 0, 0)  # of the newest Authorize: idTag, frame, arrival
    unanswered_tags: Mapping[str, Unanswered] = {}
    remote_starts: Mapping[str, RemoteStart] = {}
    config: Mapping[str, Configured] = {}
    awaiting_reboot: Mapping[str, Configured] = {}
    unknown_keys: frozenset[str] = frozenset()
    listed_keys: frozenset[str] | None = None  # of an answer with all keys
    assumed: Mapping[str, str] = {}
    patience: Patience = Patience()
    sampling: Mapping[tuple[int, str], SampleSet] = {}
    heard: tuple[Sample, ...] = ()
    rhythm: tuple[int, int] = (0, 0)
    failing: tuple[Failing, ...] = ()
    failed_notices: tuple[Notice, ...] = ()
    reset: ResetAsked | None = None
    requests: Mapping[tuple[str, int | None], Request] = {}
    heartbeat_us: int | None = None
    answers_seen: Mapping[Side, int] = {}
    cut: frozenset[Side] = frozenset()
    csms_answers: int = 0
    csms_mean_us: int = 0
    station_stamps: int = 0
    fractional_stamps: int = 0
    last_exchange_us: int | None = None
    last_exchange_seq: int = 0
    calling_us: int | None = None  # since when a CALL of the station is unanswered
    stuck: bool = False  # MeterValues of no transaction failed, and nothing of the queue was sent since
    freed_us: int = 0  # when one that failed or took long was over, and what had waited for it
    blocked_us: int = 0  # how long such CALLs have held it up in all
    awaited: Mapping[tuple[Wait, int | None], Awaited] = {}
    gaps: int = 0

    @property
    def known_from_boot(self) -> bool:
        """Whether the first thing this capture heard of the station was its boot, and no gap came after."""
        return self.booted_us is not None and not self.spoke_before_boot

    @property
    def triggered(self) -> bool:
        """Whether the CSMS asked for a message since the boot, and was not refused."""
        return bool(self.triggers)

    @property
    def transactions_known(self) -> bool:
        """Whether it was seen how the station numbers its transactions: a first boot ends none of them."""
        return self.known_from_boot and bool(self.transactions or self.ended)

    def connector_known(self, connector_id: int) -> bool:
        """Whether no transaction on this connector is older than what was seen of it."""
        known = self.connectors.get(connector_id)
        if connector_id in self.last_stop:
            return True
        return self.known_from_boot and known is not None and known.was_free

    @property
    def reset_since_boot(self) -> bool:
        """Whether a Reset was accepted since the last boot."""
        return self.reset is not None and (self.last_boot_us is None or self.reset.at_us >= self.last_boot_us)

    @property
    def may_have_lost_power(self) -> bool:
        """Whether the connection ended abruptly since the last boot: a loss of power looks like that."""
        outage = self.socket.outages[-1] if self.socket.outages else None
        booted_us = self.last_boot_us or 0
        return outage is not None and outage.abrupt and booted_us <= outage.from_us

    @property
    def queue_waits(self) -> bool:
        """Whether transaction messages may wait behind one that failed (3.7)."""
        return self.stuck or bool(self.failing)

    def held_up(self, since_us: int, now_us: int) -> bool:
        """Whether what is sent now may have waited since then for answers to other CALLs."""
        return self.freed_us > since_us and now_us - self.freed_us < _CLOCKS_US

    def was_rejected(self, since_us: int) -> bool:
        """Whether the station was Rejected at any moment from then on (4.2: it answers nothing)."""
        return self.rejected or since_us <= self.rejected_until_us

    def booted_between(self, from_us: int, until_us: int) -> bool:
        """Whether the station booted in that time, by the recorder's clock."""
        return any(from_us < booted_us <= until_us for booted_us in self.boots_us)

    def transaction_on(self, connector_id: int) -> Transaction | None:
        """The open transaction of a connector, the newest if the station opened several."""
        found = [tx for tx in self.transactions.values() if tx.connector_id == connector_id]
        return found[-1] if found else None

    def text_in_force(self, key: str) -> str | None:
        """The value of a configuration key: observed, else certified, else ``None``."""
        known = self.config.get(key.casefold())
        return known.value if known is not None else self.assumed.get(key.casefold())

    def count_in_force(self, key: str) -> int | None:
        """An integer key in force; ``None`` when unknown or no number of at most 18 digits."""
        text = (self.text_in_force(key) or "").strip()
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None

    def queued(self, stamp_us: int | None) -> bool | None:
        """Whether a payload stamp lies before the opening of the present connection (G4).

        ``None`` where that cannot be said: the stamp is missing, or the opening was not seen.
        """
        if stamp_us is None or self.socket.opened_us is None or not self.socket.whole:
            return None
        offset_us = self.clock.offset_us
        if offset_us is None:
            offset_us = self.clock.csms_us or 0
        return stamp_us - offset_us < self.socket.opened_us - _CLOCKS_US

    def perhaps_queued(self, stamp_us: int) -> bool:
        """Whether a payload stamp may lie before the opening of the connection, as far as clocks tell."""
        return self.queued(stamp_us - 2 * _CLOCKS_US) is not False
