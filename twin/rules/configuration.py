"""Family C, first part: configuration keys by the specification."""

from collections.abc import Iterable
from typing import Any

from twin.model import EventKind, Fault, Severity
from twin.protocol.config_keys import (
    REQUIRED_CORE_KEYS,
    is_valid_value,
    length_key,
    lookup,
    parse_value,
    same_value,
)
from twin.protocol.fold import word
from twin.protocol.state import Source
from twin.rules.certified import TAKEN, entries
from twin.rules.step import DAMAGED, NO_VALUE, Found, Step, Unknown

_LONGEST_KEY, _LONGEST_VALUE = 50, 500  # 7.29
_LEAST_TIMEOUT_S = 5  # JE 3.9
_REQUIRED = {name.casefold(): name for name in REQUIRED_CORE_KEYS}
_NO_LIST = Unknown("whether the station knows this key was not seen")
_NOT_STANDARD = Unknown("the key is not in the specification: nothing is known of its values")
_NOT_WRITTEN = Unknown("no write of these keys was seen")
_EMPTY = Unknown("the answer holds no key")


def read_only_not_written(step: Step) -> Iterable[Found] | Unknown | None:
    """A write to a read-only key is not Accepted.

    OCPP 1.6 chapter 9. Pitfalls: keys that are "R or RW" may go either way; of them the certificate's fixed
    cable makes UnlockConnectorOnEVSideDisconnect read-only (ER 3.83).
    """
    key = word(step.asked.get("key"))
    access = _access(step, key)
    if access is None:
        return _NOT_STANDARD
    if access != "R" or step.payload.get("status") not in TAKEN:
        return None
    return [Found(detail=f"{key} is read-only", key=key.casefold(), config_key=key)]


def invalid_value_refused(step: Step) -> Iterable[Found] | Unknown | None:
    """A write of an invalid value is not Accepted.

    OCPP 1.6 §5.3, §3.16.4, §9.1.34. Pitfalls: keys that the specification does not know have no invalid
    values; a list is too long only against a MaxLength that is known.
    """
    key, value = word(step.asked.get("key")), step.asked.get("value")
    if lookup(key) is None:
        return _NOT_STANDARD
    if step.payload.get("status") not in TAKEN or not isinstance(value, str):
        return None
    if not is_valid_value(key, value):
        return [Found(detail=f"{key} accepted {value[:60]!r}", key=key, config_key=key)]
    limit = length_key(key)
    most = step.seconds_in_force(limit.name) if limit else None
    items = [item for item in value.split(",") if item.strip()]
    if most is None or len(items) <= most[0] or key.casefold() == "connectorphaserotation":
        return None
    detail = f"{key} accepted {len(items)} items, at most {most[0]}"
    return [Found(detail=detail, key=key, config_key=key, provenance=most[1].provenance)]


def unknown_key_not_supported(step: Step) -> Iterable[Found] | Unknown | None:
    """A write to a key that the station does not know is answered NotSupported.

    OCPP 1.6 §5.3, TC_040_1. Pitfalls: names are case-insensitive; what a station knows is seen in
    GetConfiguration.conf only; a key that neither the specification nor the certificate has is drift.
    """
    key, status = word(step.asked.get("key")), word(step.payload.get("status"))
    if not key or not status:
        return _NO_LIST
    before, folded = step.before, key.casefold()
    row = lookup(key)
    if row is not None and row.secret:
        return None  # write-only: never listed
    listed = before.listed_keys
    known = folded in before.config or (listed is not None and folded in listed)
    complete = listed is not None and len(listed) >= len(
        REQUIRED_CORE_KEYS
    )  # else C008 speaks: no list of all keys
    unknown = folded in before.unknown_keys or (complete and listed is not None and folded not in listed)
    if known and status == "NotSupported":
        return [Found(detail=f"{key} is listed, its write answered NotSupported", key=folded, config_key=key)]
    if unknown and not known and status != "NotSupported":
        return [Found(detail=f"unknown key {key[:50]} answered {status}", key=folded, config_key=key)]
    if known or unknown:
        return None
    certificate = step.profile.certificate
    if certificate is None or row is not None or certificate.row(key) is not None:
        return _NO_LIST
    if status not in TAKEN:
        return None
    detail = f"{key[:50]} {status}: neither the specification nor the certificate has it"
    return [Found(detail=detail, severity=Severity.DRIFT, key=folded, config_key=key)]


def reads_back_as_written(step: Step) -> Iterable[Found] | Unknown | None:
    """GetConfiguration returns the last Accepted write.

    OCPP 1.6 §5.3, TC_021. Pitfalls: RebootRequired takes effect at the next Boot; a Boot.interval rewrites
    HeartbeatInterval; AuthorizationKey is write-only (JE 3.10); of a vendor's key the type is not known, so
    that case does not count.
    """
    found, compared = [], False
    for key, value, _ in entries(step.payload):
        known = step.before.config.get(key.casefold())
        if known is None or known.source is not Source.WRITTEN or _secret(key):
            continue  # JE 3.10: write-only
        compared = True
        caseless = lookup(key) is None and known.value.casefold() == value.casefold()
        if caseless or same_value(key, known.value, value):
            continue
        found.append(
            Found(
                detail=f"{key} reads {value[:60]!r} after an accepted write of {known.value[:60]!r}",
                evidence=(known.seq,),
                key=key.casefold(),
                config_key=key,
            )
        )
    return found if compared else _NOT_WRITTEN


def required_keys_present(step: Step) -> Iterable[Found] | Unknown | None:
    """An answer with all keys holds every required Core key, and none is ever unknown.

    OCPP 1.6 chapter 9, TC_019. Pitfalls: StopTransactionOnEVSideDisconnect is optional since ER 3.79.
    """
    if _damaged(step):
        return DAMAGED
    unknown = {word(key).casefold() for key in _list(step.payload.get("unknownKey"))}
    missing = {name for folded, name in _REQUIRED.items() if folded in unknown}
    if not _list(step.asked.get("key")):
        present = {key.casefold() for key, _, _ in entries(step.payload, valued=False)}
        missing |= {name for folded, name in _REQUIRED.items() if folded not in present}
    return [Found(detail=f"{', '.join(sorted(missing))} missing", key="missing")] if missing else None


def readonly_is_right(step: Step) -> Iterable[Found] | Unknown | None:
    """The ``readonly`` flag of a key is the specification's.

    OCPP 1.6 chapter 9, TC_019. Pitfalls: some keys may be either (ER 3.79); for a fixed cable
    UnlockConnectorOnEVSideDisconnect must be read-only (ER 3.83).
    """
    found, judged = [], False
    for key, _, readonly in entries(step.payload, valued=False):
        access = _access(step, key)
        judged = judged or access is not None
        if access in ("R", "RW") and isinstance(readonly, bool) and readonly is not (access == "R"):
            found.append(Found(detail=f"{key} has readonly {str(readonly).lower()}", key=key.casefold()))
    return found if judged else _NOT_STANDARD


def each_key_answered_once(step: Step) -> Iterable[Found] | Unknown | None:
    """Each requested key appears exactly once, in configurationKey or in unknownKey.

    OCPP 1.6 §5.8, §9.1.9. Pitfalls: more than GetConfigurationMaxKeys requested keys are C011's; where it is
    not known, only a single one is judged.
    """
    if _damaged(step):
        return DAMAGED
    requested = [word(key).casefold() for key in _list(step.asked.get("key"))]
    limit = step.seconds_in_force("GetConfigurationMaxKeys")
    if limit is None and len(requested) > 1:
        return NO_VALUE
    if not requested or len(set(requested)) < len(requested) or (limit and len(requested) > limit[0]):
        return None
    answered = [key.casefold() for key, _, _ in entries(step.payload, valued=False)]
    answered += [word(key).casefold() for key in _list(step.payload.get("unknownKey"))]
    wrong = sorted({key for key in requested if answered.count(key) != 1})
    if not wrong:
        return None
    return [Found(detail=f"{', '.join(wrong)[:200]} not answered exactly once", key="once")]


def requests_few_keys(step: Step) -> Iterable[Found] | Unknown | None:
    """The CSMS asks for at most GetConfigurationMaxKeys keys in one request.

    OCPP 1.6 §5.8, §9.1.9. Pitfalls: the limit is on requested keys; an empty list returns all.
    """
    limit = step.seconds_in_force("GetConfigurationMaxKeys")
    if limit is None:
        return NO_VALUE
    asked = len(_list(step.payload.get("key")))
    if asked <= limit[0]:
        return None
    return [Found(detail=f"{asked} keys requested, at most {limit[0]}", provenance=limit[1].provenance)]


def all_keys_are_all(step: Step) -> Iterable[Found] | Unknown | None:
    """An answer with all keys holds all of them, although they are more than GetConfigurationMaxKeys.

    OCPP 1.6 §5.8. Pitfalls: the limit is on requested keys; an answer is suspicious only where it holds
    exactly as many keys as the limit, and a required or certified one is missing.
    """
    if _list(step.asked.get("key")):
        return None
    keys = {key.casefold(): value for key, value, _ in entries(step.payload, valued=False)}
    limit = keys.get("getconfigurationmaxkeys", "")
    known = step.seconds_in_force("GetConfigurationMaxKeys")
    most = int(limit) if limit.isascii() and limit.isdecimal() and len(limit) < 9 else known and known[0]
    if not most:
        return NO_VALUE
    missing = [name for folded, name in _REQUIRED.items() if folded not in keys]
    missing += [folded for folded in step.before.assumed if folded not in keys and not _secret(folded)]
    if len(keys) != most or not missing:
        return None
    return [Found(detail=f"exactly {most} keys, the limit on requested keys, without {missing[0]}")]


def values_have_their_type(step: Step) -> Iterable[Found] | Unknown | None:
    """Each configuration value has the type of its key.

    OCPP 1.6 chapter 9. Pitfalls: an empty list is legal, "TRUE" and blanks after commas are fine.
    """
    held = [(key, value) for key, value, _ in entries(step.payload)]
    if not held:
        return _EMPTY
    return [
        Found(detail=f"{key} reads {value[:60]!r}", key=key.casefold(), config_key=key)
        for key, value in held
        if not is_valid_value(key, value)
    ]


def lists_fit_their_length(step: Step) -> Iterable[Found] | Unknown | None:
    """A list has at most as many items as its MaxLength.

    OCPP 1.6 chapter 9. Pitfalls: ConnectorPhaseRotation against its 0 is a known contradiction of the
    certificate, hence a note.
    """
    texts = {key.casefold(): value for key, value, _ in entries(step.payload)}
    found, judged = [], False
    for folded, value in texts.items():
        limit, row = length_key(folded), lookup(folded)
        if limit is None or row is None:
            continue
        most = texts.get(limit.name.casefold()) or step.before.text_in_force(limit.name)
        if most is None or not most.isascii() or not most.isdecimal() or len(most) > 9:
            continue
        judged = True
        items = parse_value(row, value)
        if isinstance(items, tuple) and len(items) > int(most):
            soft = folded == "connectorphaserotation" and most == "0"
            found.append(
                Found(
                    detail=f"{row.name} has {len(items)} items, at most {most}",
                    severity=Severity.NOTE if soft else None,
                    key=folded,
                    config_key=row.name,
                )
            )
    return found if judged else NO_VALUE


def not_too_long(step: Step) -> Iterable[Found] | Unknown | None:
    """A key has at most 50 characters, a value at most 500.

    OCPP 1.6 §7.29. Pitfalls: an over-long unknownKey echoes what the CSMS asked for.
    """
    if _damaged(step):
        return DAMAGED
    payload = step.payload
    pairs = [(key, value) for key, value, _ in entries(payload, valued=False)]
    if step.event.kind is EventKind.CALLED:
        pairs += [(word(key), "") for key in _list(payload.get("key"))]
        if step.event.action == "ChangeConfiguration":
            pairs.append((word(payload.get("key")), word(payload.get("value"))))
    for key, value in pairs:
        if len(key) > _LONGEST_KEY:
            return [Found(detail=f"key of {len(key)} characters, at most {_LONGEST_KEY}", key="key")]
        if len(value) > _LONGEST_VALUE:
            detail = f"{key} has a value of {len(value)} characters, at most {_LONGEST_VALUE}"
            return [Found(detail=detail, key=key.casefold())]
    return None


def values_fit_together(step: Step) -> Iterable[Found] | Unknown | None:
    """MessageTimeout is at least 5 s, and WebSocketPingInterval below the time of all attempts.

    JE 3.9 (RECOMMENDED). Pitfalls: a ping interval of 0 switches the pings off.
    """
    timeout_s = step.after.count_in_force("MessageTimeout")
    ping_s = step.after.count_in_force("WebSocketPingInterval")
    if timeout_s is None and ping_s is None:
        return NO_VALUE
    found = []
    if timeout_s is not None and 0 <= timeout_s < _LEAST_TIMEOUT_S:
        found.append(Found(detail=f"MessageTimeout {timeout_s} s, at least 5 recommended", key="timeout"))
    attempts = step.after.count_in_force("TransactionMessageAttempts")
    retry_s = step.after.count_in_force("TransactionMessageRetryInterval")
    if ping_s and attempts and retry_s and ping_s >= attempts * retry_s:
        detail = f"WebSocketPingInterval {ping_s} s, below {attempts * retry_s} s recommended"
        found.append(Found(detail=detail, key="ping"))
    return found


def secrets_not_readable(step: Step) -> Iterable[Found] | Unknown | None:
    """AuthorizationKey is not readable.

    JE 3.10: write-only. Pitfalls: three independent stacks list the key, without a value or with an empty
    one, which shows no secret: a note.
    """
    held = [(key, value) for key, value, _ in entries(step.payload, valued=False)]
    if not held:
        return _EMPTY
    for key, value in held:
        if _secret(key):
            how = "readable" if value else "listed, without a value"
            severity = Severity.WARNING if value else Severity.NOTE
            return [Found(detail=f"{key} is {how}", severity=severity, fault=Fault.STATION, key=how)]
    return None


def _secret(key: str) -> bool:
    row = lookup(key)
    return row is not None and row.secret


def _damaged(step: Step) -> bool:
    return step.event.frame is not None and bool(step.event.frame.facts.get("truncated"))


def _access(step: Step, key: str) -> str | None:
    """What the CSMS may do with a key: by the certificate where there is one, else by the standard."""
    if step.profile.certificate is not None:
        return step.profile.certificate.access(key)
    row = lookup(key)
    return row.access if row else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
