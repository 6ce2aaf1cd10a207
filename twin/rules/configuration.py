"""Family C: configuration keys, and the certificate's configuration rows."""

from collections.abc import Iterable, Iterator
from typing import Any

from twin.model import Fault, Severity
from twin.protocol.config_keys import KEYS, is_valid_value, lookup, same_value
from twin.protocol.fold import word
from twin.protocol.state import Source
from twin.rules.step import Found, Step

_TAKEN = ("Accepted", "RebootRequired")
# Reported by a rule of its own (C016), or the CSMS's own choice at boot (B010).
_SPOKEN_FOR = frozenset({"supportedfeatureprofiles"})


def write_keeps_certified(step: Step) -> Iterable[Found] | None:
    """ChangeConfiguration leaves the certified value.

    Certificate, configuration rows. Pitfalls: only an Accepted or RebootRequired write counts; spelling,
    order and blanks do not ("060" = 60, "true" = "TRUE"); an undeclared row is never drift.
    """
    key, value = word(step.asked.get("key")), step.asked.get("value")
    certificate = step.profile.certificate
    wanted = certificate.certified_text(key) if certificate else None
    if wanted is None or not isinstance(value, str) or step.payload.get("status") not in _TAKEN:
        return None
    if same_value(key, wanted, value):
        return None
    detail = f"{key} written to {value[:60]!r}, certified {wanted!r}"
    return [Found(detail=detail, provenance="certified", key=f"{key}={value}")]


def read_only_not_written(step: Step) -> Iterable[Found] | None:
    """A write to a read-only key is not Accepted.

    OCPP 1.6 chapter 9. Pitfalls: keys that are "R or RW" may go either way; of them the certificate's fixed
    cable makes UnlockConnectorOnEVSideDisconnect read-only (ER 3.83).
    """
    key = word(step.asked.get("key"))
    if _access(step, key) != "R" or step.payload.get("status") not in _TAKEN:
        return None
    return [Found(detail=f"{key} is read-only", key=key.casefold())]


def invalid_value_refused(step: Step) -> Iterable[Found] | None:
    """A write of an invalid value is not Accepted.

    OCPP 1.6 §5.3, §9.1.34. Pitfalls: keys that the specification does not know have no invalid values.
    """
    key, value = word(step.asked.get("key")), step.asked.get("value")
    if step.payload.get("status") not in _TAKEN or not isinstance(value, str) or is_valid_value(key, value):
        return None
    return [Found(detail=f"{key} accepted {value[:60]!r}", key=key)]


def csms_writes_core_keys(step: Step) -> Iterable[Found] | None:
    """The CSMS writes no keys of profiles that the station is not certified for.

    Certificate, functionalities. Pitfalls: vendor keys are unknown to the specification and pass.
    """
    row = lookup(word(step.payload.get("key")))
    if row is None or not step.profile.core_only or row.profile == "Core":
        return None
    return [Found(detail=f"{row.name} belongs to {row.profile}", key=row.name)]


def reads_back_as_written(step: Step) -> Iterable[Found] | None:
    """GetConfiguration returns the last Accepted write.

    OCPP 1.6 §5.3, TC_021. Pitfalls: RebootRequired takes effect at the next Boot; a Boot.interval rewrites
    HeartbeatInterval.
    """
    found = []
    for key, value, _ in _entries(step.payload):
        known = step.before.config.get(key.casefold())
        if known is None or known.source is not Source.WRITTEN or same_value(key, known.value, value):
            continue
        found.append(
            Found(
                detail=f"{key} reads {value[:60]!r} after an accepted write of {known.value[:60]!r}",
                evidence=(known.seq,),
                key=key.casefold(),
            )
        )
    return found


def reads_as_certified(step: Step) -> Iterable[Found] | None:
    """GetConfiguration returns the certified value.

    Certificate, configuration rows. Pitfalls: an accepted write (C001), a wrong read-back (C006) or a
    Boot.interval explains another value; undeclared rows are never drift.
    """
    certificate = step.profile.certificate
    if certificate is None:
        return None
    found = []
    for key, value, _ in _entries(step.payload):
        wanted = certificate.certified_text(key)
        known = step.before.config.get(key.casefold())
        explained = known is not None and known.source is not Source.READ
        if wanted is None or explained or key.casefold() in _SPOKEN_FOR or same_value(key, wanted, value):
            continue
        found.append(
            Found(
                detail=f"{key} reads {value[:60]!r}, certified {wanted!r}",
                provenance="certified",
                key=key.casefold(),
            )
        )
    return found


def required_keys_present(step: Step) -> Iterable[Found] | None:
    """An answer with all keys holds every required Core key, and none is ever unknown.

    OCPP 1.6 chapter 9, TC_019. Pitfalls: StopTransactionOnEVSideDisconnect is optional since ER 3.79.
    """
    required = {row.name for row in KEYS if row.profile == "Core" and row.required}
    unknown = {word(key).casefold() for key in _list(step.payload.get("unknownKey"))}
    missing = {name for name in required if name.casefold() in unknown}
    if not _list(step.asked.get("key")):
        present = {key.casefold() for key, _, _ in _entries(step.payload, valued=False)}
        missing |= {name for name in required if name.casefold() not in present}
    return [Found(detail=f"{', '.join(sorted(missing))} missing", key="missing")] if missing else None


def readonly_is_right(step: Step) -> Iterable[Found] | None:
    """The ``readonly`` flag of a key is the specification's.

    OCPP 1.6 chapter 9, TC_019. Pitfalls: some keys may be either (ER 3.79); for a fixed cable
    UnlockConnectorOnEVSideDisconnect must be read-only (ER 3.83).
    """
    found = []
    for key, _, readonly in _entries(step.payload, valued=False):
        access = _access(step, key)
        if access in ("R", "RW") and isinstance(readonly, bool) and readonly is not (access == "R"):
            found.append(Found(detail=f"{key} has readonly {str(readonly).lower()}", key=key.casefold()))
    return found


def each_key_answered_once(step: Step) -> Iterable[Found] | None:
    """Each requested key appears exactly once, in configurationKey or in unknownKey.

    OCPP 1.6 §5.8. Pitfalls: more than GetConfigurationMaxKeys requested keys are C011's.
    """
    requested = [word(key).casefold() for key in _list(step.asked.get("key"))]
    if not requested or len(requested) > 20 or len(set(requested)) < len(requested):
        return None
    answered = [key.casefold() for key, _, _ in _entries(step.payload, valued=False)]
    answered += [word(key).casefold() for key in _list(step.payload.get("unknownKey"))]
    wrong = sorted({key for key in requested if answered.count(key) != 1})
    return (
        [Found(detail=f"{', '.join(wrong)[:200]} not answered exactly once", key="once")] if wrong else None
    )


def requests_few_keys(step: Step) -> Iterable[Found] | None:
    """The CSMS asks for at most GetConfigurationMaxKeys keys in one request.

    OCPP 1.6 §5.8, §9.1.9. Pitfalls: the limit is on requested keys; an empty list returns all.
    """
    limit = step.seconds_in_force("GetConfigurationMaxKeys")
    asked = len(_list(step.payload.get("key")))
    if limit is None or asked <= limit[0]:
        return None
    return [Found(detail=f"{asked} keys requested, at most {limit[0]}", provenance=limit[1].provenance)]


def values_have_their_type(step: Step) -> Iterable[Found] | None:
    """Each configuration value has the type of its key.

    OCPP 1.6 chapter 9. Pitfalls: an empty list is legal, "TRUE" and blanks after commas are fine.
    """
    return [
        Found(detail=f"{key} reads {value[:60]!r}", key=key.casefold())
        for key, value, _ in _entries(step.payload)
        if not is_valid_value(key, value)
    ]


def core_profile_only(step: Step) -> Iterable[Found] | None:
    """SupportedFeatureProfiles is Core, as certified: anything else is another product.

    Certificate, row 29. Pitfalls: order and blanks do not matter.
    """
    if not step.profile.core_only:
        return None
    for key, value, _ in _entries(step.payload):
        if key.casefold() != "supportedfeatureprofiles":
            continue
        profiles = {token.strip() for token in value.split(",") if token.strip()}
        if profiles != {"Core"}:
            detail = f"SupportedFeatureProfiles {value[:120]!r}, certified 'Core'"
            return [Found(detail=detail, provenance="certified")]
    return None


def secrets_not_readable(step: Step) -> Iterable[Found] | None:
    """AuthorizationKey is not readable.

    JE 3.10: write-only. Pitfalls: three independent stacks list the key.
    """
    for key, _, _ in _entries(step.payload):
        row = lookup(key)
        if row is not None and row.secret:
            return [Found(detail=f"{row.name} is readable", severity=Severity.WARNING, fault=Fault.STATION)]
    return None


def _entries(payload: dict[str, Any], *, valued: bool = True) -> Iterator[tuple[str, str, Any]]:
    """(key, value, readonly) of configurationKey; with ``valued`` only those that have a value."""
    for entry in _list(payload.get("configurationKey")):
        if isinstance(entry, dict) and isinstance(entry.get("key"), str):
            value = entry.get("value")
            if isinstance(value, str) or not valued:
                yield entry["key"], word(value), entry.get("readonly")


def _access(step: Step, key: str) -> str | None:
    """What the CSMS may do with a key: by the certificate where there is one, else by the standard."""
    if step.profile.certificate is not None:
        return step.profile.certificate.access(key)
    row = lookup(key)
    return row.access if row else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
