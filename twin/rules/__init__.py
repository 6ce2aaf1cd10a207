"""The rule book as written-out lists: every rule, the events it listens to, which rule speaks for which."""

from twin.model import EventKind, Fault, Severity, Side
from twin.rules import (
    boot,
    configuration,
    connection,
    connectors,
    framing,
    metering,
    retry,
    scope,
    timing,
    transactions,
)
from twin.rules.step import Found, InForce, Rule, Step, Unknown, to_blame

__all__ = ["RULES", "SPEAKS_FOR", "Found", "InForce", "Rule", "Step", "Unknown", "to_blame"]

ERROR, WARNING, DRIFT, NOTE = Severity.ERROR, Severity.WARNING, Severity.DRIFT, Severity.NOTE
CP, CS, CAPTURE, NOBODY = Fault.STATION, Fault.CSMS, Fault.CAPTURE, Fault.NOBODY
SENDER = None
OPENED, CLOSED = EventKind.OPENED, EventKind.CLOSED
CALLED, ANSWERED, REFUSED = EventKind.CALLED, EventKind.ANSWERED, EventKind.REFUSED
TIMED_OUT, ORPHANED, MALFORMED = EventKind.TIMED_OUT, EventKind.ORPHANED, EventKind.MALFORMED
OVERDUE, NOTED = EventKind.OVERDUE, EventKind.NOTED

_ANY_CALL = ((CALLED, ""),)
_ANY_ANSWER = ((ANSWERED, ""), (REFUSED, ""))
_ANY_MESSAGE = ((CALLED, ""), (ANSWERED, ""), (REFUSED, ""), (ORPHANED, ""))
_ANY_TEXT = (*_ANY_MESSAGE, (MALFORMED, ""))
_START, _STOP, _METER = (CALLED, "StartTransaction"), (CALLED, "StopTransaction"), (CALLED, "MeterValues")
_STATUS, _BOOT = (CALLED, "StatusNotification"), (CALLED, "BootNotification")
_WRITTEN, _READ = (ANSWERED, "ChangeConfiguration"), (ANSWERED, "GetConfiguration")
_IN_TRANSACTION = tuple(
    (TIMED_OUT, action) for action in ("StartTransaction", "StopTransaction", "MeterValues")
)

RULES: tuple[Rule, ...] = (
    # H: connection and handshake
    Rule("H001", connection.offers_subprotocol, ERROR, CP, "OCPP-J 1.6 §3.1.2", ((OPENED, ""),)),
    Rule("H002", connection.selects_subprotocol, ERROR, CS, "OCPP-J 1.6 §3.2", ((OPENED, ""),)),
    Rule("H003", connection.identity_in_path, ERROR, CP, "OCPP-J 1.6 §3.1.1", ((OPENED, ""),)),
    Rule("H006", connection.basic_user_is_identity, WARNING, CP, "OCPP-J 1.6 §6.2", ((OPENED, ""),)),
    Rule("H008", connection.ends_cleanly, WARNING, NOBODY, "RFC 6455 §7.4.1", ((CLOSED, ""),)),
    Rule("H012", connection.no_binary, ERROR, SENDER, "OCPP-J 1.6 §4.1.2", ((MALFORMED, ""),)),
    Rule("H013", connection.deflate_negotiated, NOTE, NOBODY, "OCPP-J 1.6 §5.1", ((OPENED, ""),)),
    # J: framing and RPC
    Rule("J001", framing.is_json_array, ERROR, SENDER, "OCPP-J 1.6 §4.1.2", _ANY_TEXT, flawed=True),
    Rule("J002", framing.element_count, ERROR, SENDER, "OCPP-J 1.6 §4.2", _ANY_TEXT, flawed=True),
    Rule("J003", framing.message_type, ERROR, SENDER, "OCPP-J 1.6 §4.1.3", _ANY_TEXT, flawed=True),
    Rule("J004", framing.message_id, ERROR, SENDER, "OCPP-J 1.6 §4.1.4", _ANY_TEXT, flawed=True),
    Rule("J005", framing.id_not_reused, ERROR, SENDER, "OCPP-J 1.6 §4.1.4", _ANY_CALL),
    Rule("J006", framing.one_outstanding, WARNING, SENDER, "OCPP-J 1.6 §4.1.1", _ANY_CALL),
    Rule("J007", framing.answers_a_call, ERROR, SENDER, "OCPP-J 1.6 §4.1.1", ((ORPHANED, ""),)),
    Rule("J008", framing.not_late, WARNING, CP, "OCPP-J 1.6 §4.1.1", ((ORPHANED, ""),)),
    Rule("J009", framing.one_answer, ERROR, SENDER, "OCPP-J 1.6 §4.2.2", ((ORPHANED, ""),)),
    Rule("J010", framing.every_call_answered, ERROR, SENDER, "OCPP-J 1.6 §4.1.1", ((TIMED_OUT, ""),)),
    Rule("J011", framing.error_code, WARNING, SENDER, "OCPP-J 1.6 §4.2.3", ((REFUSED, ""), (ORPHANED, ""))),
    Rule("J012", framing.error_parts, WARNING, SENDER, "OCPP-J 1.6 §4.2.3", ((REFUSED, ""), (ORPHANED, ""))),
    Rule("J013", framing.null_payload, NOTE, SENDER, "OCPP-J 1.6 §4.2.1", (*_ANY_CALL, (ANSWERED, ""))),
    Rule("J014", framing.right_sender, ERROR, SENDER, "OCPP 1.6 §4, §5", _ANY_CALL),
    Rule("J015", framing.known_action, ERROR, SENDER, "OCPP 1.6 §4, §5", _ANY_CALL),
    Rule("J016", framing.strict_json, ERROR, SENDER, "RFC 8259 §4, §6", _ANY_TEXT, flawed=True),
    Rule("J021", framing.fits_schema, ERROR, SENDER, "OCPP 1.6 §6, schemas", (*_ANY_CALL, (ANSWERED, ""))),
    Rule("J022", framing.whole_record, NOTE, CAPTURE, "RFC 8259 (damage by the capture)", _ANY_TEXT),
    Rule(
        "J023",
        framing.identifiers_not_empty,
        WARNING,
        SENDER,
        "OCPP 1.6 §6.3, §6.1",
        (_BOOT, _START, (CALLED, "Authorize"), (CALLED, "RemoteStartTransaction")),
    ),
    # B: boot and registration
    Rule("B002", boot.silent_until_accepted, ERROR, CP, "OCPP 1.6 §4.2", _ANY_CALL, by=Side.STATION),
    Rule("B003", boot.boot_retry_waits, WARNING, CP, "OCPP 1.6 §4.2", (_BOOT,)),
    Rule("B004", boot.rejected_sends_nothing, ERROR, CP, "OCPP 1.6 §4.2", _ANY_CALL, by=Side.STATION),
    Rule("B005", boot.rejected_is_left_alone, WARNING, CS, "OCPP 1.6 §4.2", _ANY_CALL, by=Side.CSMS),
    Rule(
        "B006",
        boot.pending_is_not_started,
        ERROR,
        CS,
        "OCPP 1.6 §4.2",
        ((CALLED, "RemoteStartTransaction"), (CALLED, "RemoteStopTransaction")),
    ),
    Rule(
        "B010",
        boot.boot_interval_as_certified,
        DRIFT,
        CS,
        "certificate row 9",
        ((ANSWERED, "BootNotification"),),
    ),
    Rule(
        "B011",
        boot.boot_time_plausible,
        WARNING,
        CS,
        "OCPP 1.6 §3.14, §4.2",
        ((ANSWERED, "BootNotification"),),
    ),
    Rule("B012", boot.identity_as_certified, NOTE, CP, "certificate, identity", (_BOOT,)),
    Rule("B013", boot.no_boot_loop, WARNING, CP, "seen in the field", (_BOOT,)),
    # S: connectors
    Rule("S001", connectors.transition_in_table, WARNING, CP, "OCPP 1.6 §4.9", (_STATUS,)),
    Rule("S003", connectors.connector_0_status, ERROR, CP, "OCPP 1.6 §4.9, §7.7", (_STATUS,)),
    Rule("S004", connectors.connector_in_range, ERROR, CP, "OCPP 1.6 §3.8", (_STATUS, _START, _METER)),
    Rule("S005", connectors.never_reserved, DRIFT, CP, "certificate, functionalities", (_STATUS,)),
    Rule("S006", connectors.faulted_has_a_code, WARNING, CP, "OCPP 1.6 §4.9, §7.6", (_STATUS,)),
    Rule("S007", connectors.ev_communication_error, ERROR, CP, "OCPP 1.6 §4.9", (_STATUS,)),
    Rule("S009", connectors.error_code_fits_product, DRIFT, CP, "certificate, hardware", (_STATUS,)),
    # T: authorization and transactions
    Rule("T001", transactions.authorized_before_start, ERROR, CP, "OCPP 1.6 §4.1, §9.1.13", (_START,)),
    Rule("T003", transactions.not_started_when_refused, ERROR, CP, "OCPP 1.6 §4.1", (_START,)),
    Rule("T007", transactions.start_on_a_connector, ERROR, CP, "OCPP 1.6 §6.45", (_START,)),
    Rule("T008", transactions.one_transaction_per_connector, ERROR, CP, "OCPP 1.6 §2.2, §4.8", (_START,)),
    Rule("T009", transactions.no_reservation_id, DRIFT, CP, "certificate, functionalities", (_START,)),
    Rule(
        "T010",
        transactions.transaction_id_unique,
        WARNING,
        CS,
        "OCPP 1.6 §6.46, ER 3.54",
        ((ANSWERED, "StartTransaction"),),
    ),
    Rule("T011", transactions.uses_the_id_given, ERROR, CP, "ER 3.18", (_METER, _STOP)),
    Rule("T014", transactions.meter_stop_not_below_start, ERROR, CP, "OCPP 1.6 §7.31", (_STOP,)),
    Rule("T015", transactions.register_does_not_fall, ERROR, CP, "ER 3.77", (_METER, _STOP)),
    Rule(
        "T021",
        transactions.remote_stop_of_known_id,
        ERROR,
        CP,
        "OCPP 1.6 §5.12",
        ((ANSWERED, "RemoteStopTransaction"),),
    ),
    Rule(
        "T023", transactions.transaction_messages_answered, ERROR, CS, "OCPP 1.6 §4.7, §4.8", _IN_TRANSACTION
    ),
    Rule("T024", transactions.stop_stays_deliverable, WARNING, CP, "ER 3.89", (_STOP,)),
    Rule(
        "T029",
        transactions.unlock_not_supported,
        DRIFT,
        CP,
        "OCPP 1.6 §7.46, ER 3.85",
        ((ANSWERED, "UnlockConnector"),),
    ),
    Rule(
        "T031",
        transactions.data_transfer_refused_bare,
        WARNING,
        SENDER,
        "OCPP 1.6 §4.3",
        ((ANSWERED, "DataTransfer"),),
    ),
    Rule("T034", transactions.failed_start, NOTE, CP, "seen in the field", (_STOP,)),
    # M: metering
    Rule("M001", metering.sampled_in_time, ERROR, CP, "ER 3.15, OCPP 1.6 §9.1.19", (_METER, _STOP)),
    Rule("M003", metering.measurands_as_configured, ERROR, CP, "OCPP 1.6 §9.1.15, §9.1.17", (_METER,)),
    Rule("M004", metering.connector_of_the_transaction, ERROR, CP, "OCPP 1.6 §4.7, ER 3.16", (_METER,)),
    Rule("M005", metering.transaction_id_present, WARNING, CP, "OCPP 1.6 §4.7, ER 3.16", (_METER,)),
    Rule("M006", metering.value_is_a_number, ERROR, CP, "OCPP 1.6 §7.43, §7.49", (_METER, _STOP)),
    Rule("M007", metering.unit_fits_measurand, WARNING, CP, "OCPP 1.6 §7.43, §7.45", (_METER, _STOP)),
    Rule("M014", metering.value_plausible, WARNING, CP, "seen in the field", (_METER, _STOP)),
    Rule("M015", metering.register_not_saturated, ERROR, CP, "seen in the field", (_START, _METER, _STOP)),
    Rule("M016", metering.sample_not_empty, ERROR, CP, "OCPP 1.6 §7.33", (_METER, _STOP)),
    # C: configuration and certificate
    Rule("C001", configuration.write_keeps_certified, DRIFT, CS, "certificate rows 1-44", (_WRITTEN,)),
    Rule("C002", configuration.read_only_not_written, ERROR, CP, "OCPP 1.6 §9", (_WRITTEN,)),
    Rule("C003", configuration.invalid_value_refused, ERROR, CP, "OCPP 1.6 §5.3", (_WRITTEN,)),
    Rule(
        "C005",
        configuration.csms_writes_core_keys,
        DRIFT,
        CS,
        "certificate, functionalities",
        ((CALLED, "ChangeConfiguration"),),
    ),
    Rule("C006", configuration.reads_back_as_written, ERROR, CP, "OCPP 1.6 §5.3, TC_021", (_READ,)),
    Rule("C007", configuration.reads_as_certified, DRIFT, CP, "certificate rows 1-44", (_READ,)),
    Rule("C008", configuration.required_keys_present, ERROR, CP, "OCPP 1.6 §9.1, TC_019", (_READ,)),
    Rule("C009", configuration.readonly_is_right, ERROR, CP, "OCPP 1.6 §9.1, TC_019", (_READ,)),
    Rule("C010", configuration.each_key_answered_once, ERROR, CP, "OCPP 1.6 §5.8", (_READ,)),
    Rule(
        "C011",
        configuration.requests_few_keys,
        WARNING,
        CS,
        "OCPP 1.6 §5.8, §9.1.9",
        ((CALLED, "GetConfiguration"),),
    ),
    Rule("C013", configuration.values_have_their_type, WARNING, CP, "OCPP 1.6 §9", (_READ,)),
    Rule("C016", configuration.core_profile_only, DRIFT, CP, "certificate row 29", (_READ,)),
    Rule("C019", configuration.secrets_not_readable, WARNING, CP, "OCPP-J 1.6 errata 3.10", (_READ,)),
    # P: timing
    Rule("P001", timing.response_time, WARNING, CP, "certificate, response timeout", _ANY_ANSWER),
    Rule(
        "P003",
        timing.remote_start_time,
        WARNING,
        CP,
        "certificate, RemoteStartTransaction",
        ((ANSWERED, "RemoteStartTransaction"), (REFUSED, "RemoteStartTransaction")),
    ),
    Rule("P004", timing.csms_in_time, WARNING, CS, "ER 3.82", ((ORPHANED, ""),)),
    Rule(
        "P005",
        timing.milliseconds,
        DRIFT,
        CP,
        "certificate, milliseconds; OCPP 1.6 §3.15",
        _ANY_CALL,
        by=Side.STATION,
    ),
    Rule("P006", timing.stamps_are_iso, ERROR, SENDER, "OCPP 1.6 §3.14, §3.15", (*_ANY_CALL, (ANSWERED, ""))),
    Rule("P007", timing.stamps_plausible, WARNING, CP, "OCPP 1.6 §3.14", _ANY_CALL, by=Side.STATION),
    Rule("P008", timing.not_silent, WARNING, CP, "OCPP 1.6 §4.6, §9.1.10", _ANY_CALL, by=Side.STATION),
    # R: retries
    Rule("R003", retry.no_overtaking, ERROR, CP, "OCPP 1.6 §3.7", (_START, _STOP, _METER)),
    # N: outside the Core profile
    Rule(
        "N001", scope.does_not_accept, DRIFT, CP, "certificate; ER 3.39", ((ANSWERED, ""),), by=Side.STATION
    ),
    Rule("N002", scope.refuses_in_the_best_way, NOTE, CP, "ER 3.39", ((ANSWERED, ""),), by=Side.STATION),
    Rule(
        "N003",
        scope.known_but_not_supported,
        NOTE,
        CP,
        "OCPP-J 1.6 §4.2.3",
        ((REFUSED, ""),),
        by=Side.STATION,
    ),
    Rule(
        "N004",
        scope.refuses_properly,
        ERROR,
        CP,
        "OCPP-J 1.6 §4.2.3",
        ((REFUSED, ""), (TIMED_OUT, "")),
    ),
    Rule("N005", scope.sends_core_only, DRIFT, CP, "certificate", _ANY_CALL, by=Side.STATION),
    Rule("N006", scope.csms_uses_core_only, WARNING, CS, "certificate", _ANY_CALL, by=Side.CSMS),
    Rule("N007", scope.unknown_action_not_implemented, WARNING, SENDER, "OCPP-J 1.6 §4.2.3", _ANY_ANSWER),
    Rule(
        "N008",
        scope.data_transfer_channel,
        NOTE,
        CP,
        "seen in the field",
        ((CALLED, "DataTransfer"),),
        by=Side.STATION,
    ),
)

# One cause, one finding (G8): where the left rule speaks, the right ones are silent for the same message.
SPEAKS_FOR: dict[str, frozenset[str]] = {
    "J001": frozenset({"J021", "J010"}),
    "J002": frozenset({"J021", "J010"}),
    "J003": frozenset({"J021", "J010"}),
    "J016": frozenset({"J021", "J010"}),
    "M016": frozenset({"J021", "M003"}),
    "M006": frozenset({"J021"}),
    "P006": frozenset({"J021"}),
    "B004": frozenset({"B002", "J010", "N005"}),
    "B002": frozenset({"N005"}),
    "P004": frozenset({"J008"}),
    "T003": frozenset({"T001"}),
    "C003": frozenset({"C001", "C006"}),
    "C006": frozenset({"C007"}),
    "T015": frozenset({"T014"}),
    "S004": frozenset({"T007"}),
    "T007": frozenset({"M004"}),
    "S003": frozenset({"S001"}),
    "T011": frozenset({"T008"}),
    "T023": frozenset({"J010"}),
    "N004": frozenset({"J010"}),
}
