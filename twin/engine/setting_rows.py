"""The configuration rows of the sheet: certified value, observed value, where it was seen, verdict."""

from collections.abc import Iterator

import msgspec

from twin.certificate import Certificate, ConfigurationRow
from twin.certificate.profile import Profile
from twin.engine.latencies import Place
from twin.engine.observed import Observation
from twin.engine.settings_seen import KeySeen, Sighting, Source
from twin.engine.verdicts import Verdict
from twin.protocol.config_keys import lookup, same_value, to_wire

_WRITES = frozenset({Source.WRITTEN, Source.AFTER_REBOOT})
_MOST_OTHERS = 200  # keys outside the certificate
_INFERRED = "inferred from the traffic"


class SettingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration key. ``certified`` is the cell verbatim, ``observed`` the wire's text or ""."""

    number: int
    key: str
    certified: str
    observed: str
    source: str
    place: Place | None
    verdict: Verdict
    note: str = ""
    meaning: str = ""
    reference: str = ""


def setting_rows(certificate: Certificate | None, seen: Observation) -> tuple[SettingRow, ...]:
    """Every row of the certificate in its order; without one, every key that was seen."""
    if certificate is None:
        held = sorted(seen.settings.values(), key=lambda known: known.key.casefold())[:_MOST_OTHERS]
        return tuple(
            _row_without(number, known, Verdict.NO_CERTIFICATE) for number, known in enumerate(held, start=1)
        )
    return tuple(_row(row, seen) for row in certificate.configuration)


def other_rows(certificate: Certificate | None, seen: Observation) -> tuple[SettingRow, ...]:
    """Keys that the station has and the certificate does not list: nothing is declared of them."""
    if certificate is None:
        return ()
    held = [
        known
        for folded, known in sorted(seen.settings.items())
        if certificate.row(folded) is None and known.in_force and known.in_force.value is not None
    ]
    return tuple(_row_without(0, known, Verdict.UNDECLARED) for known in held[:_MOST_OTHERS])


def _row_without(number: int, known: KeySeen, verdict: Verdict) -> SettingRow:
    look = known.in_force or known.held[-1]
    row = lookup(known.key)
    return SettingRow(
        number=number,
        key=known.key[:100],
        certified="",
        observed=look.value if look.value is not None else "(no such key)",
        source=look.source,
        place=look.place,
        verdict=verdict,
        note=_history(known),
        reference=row.reference if row else "not in the specification",
    )


def _row(row: ConfigurationRow, seen: Observation) -> SettingRow:
    known = seen.settings.get(row.key.casefold())
    look = known.in_force if known else None
    if known is None and seen.listed is not None:
        known = KeySeen(row.key, [seen.listed])
        look = seen.listed
    if known is None or look is None:
        observed, source, place, verdict, note = _unread(row, seen)
        if known is not None:  # a refused write says only that the value stays
            refused = known.held[-1]
            note = f"{note}; {refused.source}: {refused.value!r}".removeprefix("; ")
            source, place = source or refused.source, place or refused.place
    else:
        observed = look.value if look.value is not None else "(no such key)"
        source, place = look.source, look.place
        verdict, note = _judged(row, look, seen.profile)
        note = "; ".join(filter(None, (note, _history(known))))
    return SettingRow(
        number=row.number,
        key=row.key,
        certified=row.text,
        observed=observed,
        source=source,
        place=place,
        verdict=verdict,
        note=note,
        meaning=row.meaning,
        reference=row.reference,
    )


def _judged(row: ConfigurationRow, look: Sighting, profile: Profile) -> tuple[Verdict, str]:
    if row.value is None:
        there = "the station has the key, of which nothing is declared"
        return Verdict.UNDECLARED, there if look.value is not None else ""
    if look.value is None:
        off = row.value is False and (not row.required or row.profile != "Core")
        if off:
            return Verdict.AS_CERTIFIED, "a station without the key does the same as with false"
        return Verdict.DIFFERS, "certified, and the station does not know the key"
    if same_value(row.key, to_wire(row.value), look.value):
        return Verdict.AS_CERTIFIED, "the value; nothing of its effect shows" if row.key in _UNSHOWN else ""
    if look.source in _WRITES:
        return (Verdict.LAB if profile.lab else Verdict.DIFFERS), "written by the CSMS"
    if look.source is Source.BOOT:
        return Verdict.DIFFERS, "chosen by the CSMS"
    return Verdict.DIFFERS, ""


def _history(known: KeySeen) -> str:
    """Other values, if there were any."""
    last = known.in_force
    others = [look for look in known.held if last is not None and look.value != last.value]
    earlier = {(look.value, look.source): look for look in reversed(others)}  # the first of each
    told = [
        f"{'no such key' if look.value is None else look.value}, {look.source}, {look.place}"
        for look in reversed(earlier.values())
    ]
    return f"also seen: {'; '.join(told)}" if told else ""


# Keys whose effect no traffic shows: only the value can be read.
_UNSHOWN = frozenset({"ResetRetries"})

type _Unread = tuple[str, str, Place | None, Verdict, str]


def _unread(row: ConfigurationRow, seen: Observation) -> _Unread:
    """What the traffic lets one conclude of a value that nobody read."""
    if row.value is None:
        return "", "", None, Verdict.UNDECLARED, ""
    if row.key in _UNSHOWN:
        return "", "", None, Verdict.NOT_OBSERVABLE, "the value was not read, and its effect does not show"
    return next(_inferred(row, seen), ("", "", None, Verdict.NOT_SEEN, ""))


def _inferred(row: ConfigurationRow, seen: Observation) -> Iterator[_Unread]:
    if words := seen.measurands.get(row.key):
        agrees = isinstance(row.value, tuple) and set(row.value) == set(words)
        place = max(words.values())
        yield ", ".join(sorted(words)), _INFERRED, place, _verdict(agrees), "the measurands that were sent"
    spacing = seen.spacing.get(row.key)
    median_us = spacing.quantile(0.5) if spacing else None
    if spacing is not None and median_us is not None and isinstance(row.value, int):
        certified_us = row.value * 1_000_000
        agrees = abs(median_us - certified_us) <= seen.profile.tolerances.timer_slack_us(certified_us)
        told = f"{median_us / 1e6:g} s apart"
        note = f"median of {spacing.count} spaces between time stamps"
        yield told, _INFERRED, spacing.longest_at, _verdict(agrees), note
    if row.key == "NumberOfConnectors" and (highest := max(seen.connector_ids, default=0)) > 0:
        place = seen.connector_ids[highest]
        verdict = Verdict.NOT_SEEN
        if isinstance(row.value, int) and highest >= row.value:
            verdict = _verdict(highest == row.value)
        yield f"1 to {highest}", _INFERRED, place, verdict, "the highest connectorId that was heard of"
    if row.key == "WebSocketPingInterval" and seen.controls and row.value == 0:
        yield f"{seen.pings} pings", _INFERRED, None, _verdict(seen.pings == 0), "pings sent by the station"
    authorized = seen.took.get("RemoteStartTransaction → Authorize")
    if row.key == "AuthorizeRemoteTxRequests" and authorized is not None and row.value is True:
        note = "an Authorize followed a RemoteStartTransaction"
        yield f"{authorized.count} times", _INFERRED, authorized.longest_at, Verdict.CONSISTENT, note


def _verdict(agrees: bool) -> Verdict:
    return Verdict.CONSISTENT if agrees else Verdict.INCONSISTENT
