"""How a station behaves where the specification leaves it open, and how real ones misbehave.

The specification layer has no switch. What is ambiguous has a default with its reason (``Behaviour``);
what is wrong is a quirk, named, off by default, and says which rule must find it (``QUIRKS``).
"""

from typing import Literal

import msgspec


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Variants of the product, the ambiguities of OCPP 1.6, and timing. Times in ms or s as the name says.

    Every default suits the certified station; ``PROFILES`` names the variants that conditional cases need.
    """

    # --- variants
    connectors: int = 20
    cache: Literal["absent", "disabled", "on"] = "disabled"
    allow_offline: bool = False
    ups: bool = False  # enough power left to say StopTransaction before going down
    evse_stop_key: Literal["RW", "R", "absent"] = "RW"  # ER 3.79 allows all three
    # --- ambiguities, each with what real stations do
    ev_disconnect_status: Literal["Finishing", "Available"] = "Finishing"  # 4.9 SHOULD against its own C1
    first_sample: Literal["after interval", "at start"] = "after interval"  # 9.1.19 is silent
    aligned_stamp: Literal["tick", "slot start"] = "tick"  # 9.1.5; on the grid either way
    aligned_idle: bool = False  # ER 3.15 against 3.16: mostly during transactions only
    boot_interval_sets_key: bool = True  # 4.2: mostly yes
    heartbeat_mode: Literal["period", "inactivity"] = "period"  # satisfies 4.6 and 9.1.10 both
    id_timeout_s: int = 0  # plugged and unauthorised: 0 stays in Preparing (B6 against 9.1.6)
    reconnect_order: Literal["queue", "status"] = "queue"  # 3.7 and 4.9 leave it open
    link_loss_counts: bool = False  # whether a lost link is an attempt (3.7.1 is silent)
    max_keys_policy: Literal["full", "truncate", "error"] = "full"  # more than GetConfigurationMaxKeys asked
    stop_authorize: bool = False  # Authorize for the same tag at stop (4.1: shall not)
    hard_reset_stop: Literal["before", "after"] = "before"  # 5.14: "not required" to wait
    non_core_error: Literal["NotSupported", "NotImplemented"] = "NotSupported"  # OCPP-J table 7
    pending_remote: Literal["Rejected", "CALLERROR"] = "Rejected"  # RemoteStart while Pending
    firmware_version: str = "1.0.1"
    remote_key: Literal["RW", "R"] = "RW"  # AuthorizeRemoteTxRequests
    fault_ends_transaction: bool = True
    transaction_data_limit: int = 0  # entries kept beside Begin and End; 0: no limit, as declared
    # --- timing
    answer_ms: tuple[int, int] = (30, 250)  # to a CALL of the CSMS: from, to
    boot_ms: int = 3_000  # from power to the first connection
    backoff_s: tuple[int, int] = (1, 60)  # first and longest wait for the next connection
    finishing_ms: int = 1_500  # dwell in Finishing after an unplug at the EV
    clock_offset_ms: int = 0  # the station's clock before it is told the time
    quirks: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if unknown := sorted(self.quirks - QUIRKS.keys()):
            raise ValueError(f"no quirk {', '.join(unknown)}; there are {', '.join(sorted(QUIRKS))}")
        if not 1 <= self.connectors <= 20:
            raise ValueError(f"connectors is {self.connectors}, not 1 to 20")


class Quirk(msgspec.Struct, frozen=True):
    """One way in which a station misbehaves: what it does, where it was seen, which rule must say so."""

    name: str
    does: str
    seen: str
    rule: str


_FIELD, _SIMULATOR, _MADE = "field traffic", "independent simulators", "made for a rule"

QUIRKS: dict[str, Quirk] = {
    quirk.name: quirk
    for quirk in (
        Quirk("available-before-stop", "Available is reported 11 s before StopTransaction", _FIELD, "T032"),
        Quirk("stop-stamped-early", "StopTransaction is stamped 9 s before its last sample", _FIELD, "T012"),
        Quirk("boot-on-reconnect", "BootNotification after a mere reconnect", _SIMULATOR, "H011"),
        Quirk("acts-before-answering", "what Reset triggers comes before Reset.conf", _SIMULATOR, "J018"),
        Quirk("calls-in-flight", "up to three CALLs are outstanding", _SIMULATOR, "J006"),
        Quirk("loses-stop", "a StopTransaction that was queued offline is lost", _SIMULATOR, "T008"),
        Quirk("meter-overtakes", "live MeterValues overtake what waits for its retry", _SIMULATOR, "R003"),
        Quirk("register-falls", "meterStop is 5 Wh below the last sample", _SIMULATOR, "T015"),
        Quirk("zoneless-clock", "time stamps without a zone", _FIELD, "P006"),
        Quirk("local-time", "local time, one hour ahead, marked as UTC", _FIELD, "P012"),
        Quirk("reused-ids", "a messageId is used for two CALLs", _FIELD, "J005"),
        Quirk("slow-answers", "CALLs of the CSMS are answered after 5.5 s", _FIELD, "P001"),
        Quirk("missing-measurand", "Voltage is left out of the samples", _FIELD, "M003"),
        Quirk("comma-decimal", "values with a decimal comma", _FIELD, "M006"),
        Quirk("wrong-unit", "Current.Import in mA, said to be Wh", _FIELD, "M007"),
        Quirk("boot-loop", "a second BootNotification at once", _FIELD, "B013"),
        Quirk("empty-vendor", "chargePointVendor is empty", _FIELD, "J023"),
        Quirk("stores-nothing", "every ChangeConfiguration Accepted, none stored", _SIMULATOR, "C006"),
        Quirk("accepts-invalid", "invalid values Accepted", _SIMULATOR, "C003"),
        Quirk("extra-measurand", "a fourth measurand Accepted, and left out", _SIMULATOR, "C003"),
        Quirk("accepts-unknown", "unknown keys Accepted", _SIMULATOR, "C004"),
        Quirk("unlocks", "UnlockConnector answered Unlocked", _MADE, "T029"),
        Quirk("no-milliseconds", "time stamps in whole seconds", _FIELD, "P005"),
        Quirk("empty-sample", "transactionData with an empty sampledValue", _SIMULATOR, "M016"),
        Quirk("transaction-zero", "StopTransaction with transactionId 0", _FIELD, "T011"),
        Quirk("no-stop-after-reset", "Reset with a transaction, and no StopTransaction ever", _MADE, "T028"),
        Quirk("no-status-after-boot", "connector 1 is not reported after acceptance", _MADE, "B008"),
        Quirk("authorizes-stop", "Authorize for the tag that runs the transaction", _FIELD, "T020"),
        Quirk("retry-restamped", "a retransmission carries a new time stamp", _MADE, "R004"),
        Quirk("accepts-profiles", "SetChargingProfile Accepted", _FIELD, "N001"),
        Quirk("firmware-status", "FirmwareStatusNotification with every Heartbeat", _FIELD, "N005"),
        Quirk("deaf", "GetConfiguration is never answered", _FIELD, "J010"),
        Quirk("lists-secret", "AuthorizationKey is listed by GetConfiguration", _SIMULATOR, "C019"),
        Quirk("starts-offline", "a transaction starts unauthorized while offline", _MADE, "R007"),
        Quirk("four-elements", "CALLRESULT with four elements", _MADE, "J002"),
        Quirk("starts-unauthorized", "StartTransaction without Authorize", _MADE, "T001"),
        Quirk("repeats-status", "each status is sent twice", _FIELD, "S002"),
        Quirk("no-heartbeat", "Heartbeat is never sent", _FIELD, "P008"),
        Quirk("keeps-charging", "an EV-side disconnect does not end the transaction", _MADE, "T032"),
    )
}


PROFILES: dict[str, Behaviour] = {
    "certified": Behaviour(),
    "cache-offline": Behaviour(cache="on", allow_offline=True),
    "ups": Behaviour(ups=True),
}
