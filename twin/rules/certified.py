"""Family C, second part: the configuration against the certificate's rows."""

from collections.abc import Iterable, Iterator
from typing import Any

from twin.certificate.profile import Profile
from twin.protocol.config_keys import lookup, same_value
from twin.protocol.fold import word
from twin.protocol.state import Source, StationState
from twin.rules.step import NO_CERTIFICATE, Found, Step, Unknown

TAKEN = ("Accepted", "RebootRequired")
# Reported by a rule of its own (C016).
_SPOKEN_FOR = frozenset({"supportedfeatureprofiles"})
_LAB = Unknown("lab context: a test tool writes its own configuration")


def write_keeps_certified(step: Step) -> Iterable[Found] | Unknown | None:
    """ChangeConfiguration leaves the certified value.

    Certificate, configuration rows. Pitfalls: only an Accepted or RebootRequired write counts; spelling,
    order and blanks do not ("060" = 60, "true" = "TRUE"); an undeclared row is never drift; in the lab
    context only a value that is not restored is told, at the end.
    """
    certificate = step.profile.certificate
    if certificate is None:
        return NO_CERTIFICATE
    key, value = word(step.asked.get("key")), step.asked.get("value")
    wanted = certificate.certified_text(key)
    if wanted is None or not isinstance(value, str) or step.payload.get("status") not in TAKEN:
        return None
    if same_value(key, wanted, value):
        return None
    if step.profile.lab:
        return _LAB
    return [_written(key, value, wanted)]


def never_restored(state: StationState, profile: Profile) -> list[Found]:
    """In the lab context: what a test wrote and nobody put back by the end of the capture (rule C001)."""
    certificate = profile.certificate
    if certificate is None or not profile.lab:
        return []
    found = []
    for known in state.config.values():
        wanted = certificate.certified_text(known.key)
        written = known.source is Source.WRITTEN and wanted is not None
        if written and wanted is not None and not same_value(known.key, wanted, known.value):
            one = _written(known.key, known.value, wanted)
            found.append(Found(detail=f"{one.detail}, never restored", evidence=(known.seq,), key=one.key))
    return found


def csms_writes_core_keys(step: Step) -> Iterable[Found] | Unknown | None:
    """The CSMS writes no keys of profiles that the station is not certified for.

    Certificate, functionalities. Pitfalls: vendor keys are unknown to the specification and pass.
    """
    if step.profile.certificate is None:
        return NO_CERTIFICATE
    row = lookup(word(step.payload.get("key")))
    if row is None or not step.profile.excludes(row.profile):
        return None
    return [Found(detail=f"{row.name} belongs to {row.profile}", key=row.name)]


def reads_as_certified(step: Step) -> Iterable[Found] | Unknown | None:
    """GetConfiguration returns the certified value.

    Certificate, configuration rows. Pitfalls: an accepted write (C001), a wrong read-back (C006) or a
    Boot.interval explains another value; undeclared rows are never drift; muted in the lab context while a
    written value differs.
    """
    certificate = step.profile.certificate
    if certificate is None:
        return NO_CERTIFICATE
    found = []
    for key, value, _ in entries(step.payload):
        wanted = certificate.certified_text(key)
        known = step.before.config.get(key.casefold())
        explained = known is not None and known.source is not Source.READ
        if wanted is None or explained or key.casefold() in _SPOKEN_FOR or same_value(key, wanted, value):
            continue
        if step.profile.lab and known is not None:
            continue
        found.append(
            Found(
                detail=f"{key} reads {value[:60]!r}, certified {wanted!r}",
                provenance="certified",
                key=key.casefold(),
                config_key=key,
            )
        )
    return found


def core_profile_only(step: Step) -> Iterable[Found] | Unknown | None:
    """SupportedFeatureProfiles is what was certified (Core): anything else is another product.

    Certificate, row 29. Pitfalls: order and blanks do not matter.
    """
    certificate = step.profile.certificate
    if certificate is None:
        return NO_CERTIFICATE
    certified = certificate.feature_profiles
    for key, value, _ in entries(step.payload):
        if key.casefold() != "supportedfeatureprofiles":
            continue
        profiles = {token.strip() for token in value.split(",") if token.strip()}
        if profiles != certified:
            detail = f"SupportedFeatureProfiles {value[:120]!r}, certified {','.join(sorted(certified))!r}"
            return [Found(detail=detail, provenance="certified")]
    return None


def entries(payload: dict[str, Any], *, valued: bool = True) -> Iterator[tuple[str, str, Any]]:
    """(key, value, readonly) of configurationKey; with ``valued`` only those that have a value."""
    held = payload.get("configurationKey")
    for entry in held if isinstance(held, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("key"), str):
            value = entry.get("value")
            if isinstance(value, str) or not valued:
                yield entry["key"], word(value), entry.get("readonly")


def _written(key: str, value: str, wanted: str) -> Found:
    detail = f"{key} written to {value[:60]!r}, certified {wanted!r}"
    return Found(detail=detail, provenance="certified", key=f"{key}={value}", config_key=key)
