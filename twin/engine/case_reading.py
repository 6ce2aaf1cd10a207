"""What a message is to a test case: the step that is looked for or not, and as it must be or not."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from twin.certificate.case_words import (
    CONNECTOR,
    KEY,
    TAG,
    TRANSACTION,
    VALUE,
    Bound,
    Case,
    Key,
    Must,
    Needs,
    Setting,
    Span,
    State,
    Where,
)
from twin.protocol.config_keys import is_valid_value, lookup, same_value
from twin.protocol.fold import integer
from twin.protocol.state import StationState, Transaction
from twin.rules import Step

type Names = Mapping[str, Any]

IN_USE = frozenset({"Charging", "SuspendedEV", "SuspendedEVSE"})
_UNKNOWN_KEY = "testing"  # the one key that no station has
_CASELESS = frozenset({"idTag", "key", "idTagInfo/parentIdTag"})  # CiStrings (OCPP 1.6 §7)
_LONGEST_SPAN_S = 10**9
_WAITS_US = 300_000_000  # how long somebody may take from the reader to the plug


class Said(Enum):
    """What one message is to a step."""

    RIGHT = "right"
    OTHER = "other"  # another message, or one to wait over
    WRONG = "wrong"
    DOUBTFUL = "doubtful"


type Opinion = tuple[Said, str]
RIGHT: Opinion = (Said.RIGHT, "")
OTHER: Opinion = (Said.OTHER, "")


def value_at(payload: Any, path: str) -> Any:
    """The field at a slash-separated path; ``None`` where there is none. A list comes as a tuple."""
    for part in path.split("/"):
        payload = payload.get(part) if isinstance(payload, dict) else None
    return tuple(payload) if isinstance(payload, list) else payload


def same(path: str, a: Any, b: Any) -> bool:
    """Whether two fields say the same; a bool is no number, and a CiString has no case."""
    if isinstance(a, bool) or isinstance(b, bool):
        return bool(a is b)
    if path in _CASELESS:
        return bool(_caseless(a) == _caseless(b))
    return bool(a == b)


def _caseless(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_caseless(item) for item in value)
    return value.casefold() if isinstance(value, str) else value


def pick(where: tuple[Where, ...], payload: Any, names: Names) -> dict[str, Any] | None:
    """What the message binds if it is the one that ``where`` describes, else ``None``."""
    bound: dict[str, Any] = {}
    for field in where:
        value = value_at(payload, field.path)
        if field.name:
            known = bound.get(field.name, names.get(field.name))
            if value is None or isinstance(value, (dict, tuple, bool, float)):
                return None
            if known is None and not field.differs:
                bound[field.name] = value
            elif same(field.path, known, value) is field.differs:
                return None
        elif not field.values:
            if (value is None) is field.differs:
                return None
        elif any(same(field.path, value, other) for other in field.values) is field.differs:
            return None
    return bound


def weigh(must: Must, payload: Any, subject: str) -> Opinion:
    """Whether a field is as it must be."""
    value = value_at(payload, must.path)
    if any(same(must.path, value, allowed) for allowed in must.allowed):
        return RIGHT
    if any(same(must.path, value, passing) for passing in must.passing):
        return OTHER
    shown = "nothing" if value is None else value if isinstance(value, str | int) else "something else"
    wanted = " or ".join("nothing" if word is None else str(word) for word in must.allowed)
    told = f"{subject} said {must.path} {str(shown)[:60]} where the case has {wanted}"
    if must.wrong is None or any(same(must.path, value, wrong) for wrong in must.wrong):
        return Said.WRONG, told
    return Said.DOUBTFUL, f"{told}, which may have a cause that no wire shows"


def seconds(span: Span, step: Step, names: Names) -> int | None:
    """A span of time in seconds; ``None`` where it is not known or is no time at all."""
    if isinstance(span, int):
        return span
    if isinstance(span, Bound):
        value = integer(names.get(span.name))
    else:
        in_force = step.seconds_in_force(span.name)
        value = in_force[0] if in_force else None
    return value if value is not None and 0 <= value <= _LONGEST_SPAN_S else None


# --- what must be so before a case begins -------------------------------------------------------------------


def observed(key: str, state: StationState) -> str | None:
    """The value of a key that the traffic has shown."""
    known = state.config.get(key.casefold())
    return known.value if known else None


def is_set(setting: Setting, state: StationState, names: Names) -> bool | None:
    """Whether a key is configured so; ``None`` where that was not observed."""
    value = observed(setting.key, state)
    if value is None:
        return True if setting.if_implemented else None
    if setting.differs_from:
        other = names.get(setting.differs_from)
        return not (isinstance(other, str) and same_value(setting.key, value, other))
    return setting.value is None or same_value(setting.key, value, setting.value)


def has(need: Needs, step: Step) -> bool | None:
    """Whether the product has what the case needs; ``None`` where only its maker could tell.

    What the pattern of the case shows by itself is taken as given.
    """
    certificate = step.profile.certificate
    match need:
        case Needs.FIXED_CABLE:
            return certificate.fixed_cable if certificate else None
        case Needs.SOCKET:
            return not certificate.fixed_cable if certificate else None
        case Needs.LOCK_FAILURE:
            return False if certificate and certificate.fixed_cable else None
        case Needs.CACHE:
            return True if observed("AuthorizationCacheEnabled", step.before) is not None else None
    return True


def running(state: StationState, transaction: Transaction) -> bool | None:
    """Whether a transaction that was begun is still going on, by what its connector last said."""
    connector = state.connectors.get(transaction.connector_id)
    return None if connector is None else connector.status in IN_USE


def transaction_in_use(state: StationState) -> Transaction | None:
    """The newest transaction that may be going on."""
    found = [tx for tx in state.transactions.values() if running(state, tx) is not False]
    return found[-1] if found else None


def number_of_connectors(step: Step, *, by_certificate: bool = False) -> int | None:
    """How many connectors the station said it has; the certified number is the most there can be."""
    text = observed("NumberOfConnectors", step.before)
    if text is None and by_certificate and step.profile.certificate:
        text = step.profile.certificate.certified_text("NumberOfConnectors")
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 4:
        return None
    return int(text)


def holds(wanted: State, step: Step, names: Names) -> bool | None:
    """Whether the station is in the state; ``None`` where the traffic does not tell (G1)."""
    state = step.before
    connector_id, transaction_id = integer(names.get(CONNECTOR)), integer(names.get(TRANSACTION))
    connector = state.connectors.get(connector_id) if connector_id is not None else None
    on_connector = state.transaction_on(connector_id) if connector_id is not None else None
    match wanted:
        case State.IDLE | State.PLUGGED:
            if connector is None:
                return None
            status = "Available" if wanted is State.IDLE else "Preparing"
            return connector.status == status and on_connector is None
        case State.CHARGING:
            transaction = (
                state.transactions.get(transaction_id) if transaction_id is not None else on_connector
            )
            if transaction is not None:
                return running(state, transaction) is not False
            return False if transaction_id is None or state.known_from_boot else None
        case State.NO_TRANSACTION:
            if on_connector is not None:
                return False
            return None if connector is None else connector.status not in IN_USE
        case State.NO_TRANSACTIONS:
            if state.transactions or state.starting:
                return False
            return True if state.known_from_boot else None
        case State.SOME_TRANSACTION:
            transaction = transaction_in_use(state)
            return False if transaction is None else running(state, transaction)
        case State.OTHER_TRANSACTION:
            named = integer(names.get("named"))
            known = named in state.transactions or named in state.ended
            return not known and state.known_from_boot and transaction_in_use(state) is not None
        case State.NO_RESET:
            return not state.reset_since_boot
        case State.NOBODY_WAITS:
            since_us = connector.at_us - _WAITS_US if connector else state.link_open_us or 0
            return not any(verdict.at_us >= since_us for verdict in state.id_tags.values())
        case State.TAG_ACCEPTED:
            verdict = state.id_tags.get(str(names.get(TAG, "")).casefold())
            return None if verdict is None else verdict.status == "Accepted"
    return _holds_of_keys(wanted, step, names)


def _holds_of_keys(wanted: State, step: Step, names: Names) -> bool | None:
    state = step.before
    if wanted is State.NO_SUCH_CONNECTOR:
        most = number_of_connectors(step, by_certificate=True)
        connector_id = integer(names.get(CONNECTOR))
        if most is None or connector_id is None:
            return False  # that it is unknown is what tells this case from another
        return connector_id > most and connector_id not in state.connectors
    key, value = names.get(KEY, step.payload.get("key")), names.get(VALUE)
    if not isinstance(key, str):
        return False
    if wanted is State.NO_SUCH_KEY:
        if lookup(key) or observed(key, state) is not None:
            return False
        return True if key.casefold() == _UNKNOWN_KEY else None
    if not isinstance(value, str):
        return False
    return is_valid_value(key, value) is (wanted is State.LEGAL_VALUE)


def reservations(case: Case, step: Step, names: Names) -> list[str] | None:
    """What is not known of the begin of a case, in words; ``None`` where this is known not to be the case."""
    doubts = []
    for wanted in case.state:
        known = holds(wanted, step, names)
        if known is False:
            return None
        if known is None:
            doubts.append(f"it is not known whether {wanted.value}")
    for need in case.needs:
        has_it = has(need, step)
        if has_it is False:
            return None
        if has_it is None:
            doubts.append(f"it is not known whether the product has {need.value}")
    for setting in case.before:
        so = is_set(setting, step.before, names)
        if so is False:
            return None
        if so is None:
            doubts.append(f"{setting.key} was not observed")
    return doubts


def unmet(case: Case, step: Step, names: Names) -> str:
    """The configuration that keeps a case from being judged, in words; "" if there is none."""
    for setting in case.before:
        if is_set(setting, step.before, names) is False:
            value = str(observed(setting.key, step.before))[:40]
            wanted = setting.value if setting.value is not None else "another value"
            return f"{setting.key} was {value} where the case has {wanted}"
    return ""


__all__ = ["IN_USE", "OTHER", "RIGHT", "Key", "Names", "Opinion", "Said", "has", "holds", "is_set",
           "number_of_connectors", "observed", "pick", "reservations", "running", "same", "seconds",
           "transaction_in_use", "unmet", "value_at", "weigh"]  # fmt: skip
