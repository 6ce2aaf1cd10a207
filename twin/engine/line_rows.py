"""The rows of the sheet about identity, hardware and settings."""

from collections.abc import Iterator

import msgspec

from twin.certificate import Certificate, Line
from twin.engine.latencies import Place
from twin.engine.observed import Identity, Observation, Use
from twin.engine.verdicts import Verdict
from twin.model import Side


class LineRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of identity, hardware or settings."""

    name: str
    certified: str
    observed: str
    place: Place | None
    verdict: Verdict
    note: str = ""


def identity_rows(certificate: Certificate | None, seen: Observation) -> Iterator[LineRow]:
    identity = seen.identity
    said, place = identity or Identity(), seen.identities[identity] if identity else None
    words = certificate.identification if certificate else None
    unknown = Verdict.NO_CERTIFICATE if certificate is None else Verdict.UNDECLARED
    for name, certified, observed, accepted in (
        (
            "Vendor",
            certificate.test.vendor if certificate else "",
            said.vendor,
            words and words.vendor_contains,
        ),
        ("Model", certificate.designation if certificate else "", said.model, words and words.model_contains),
        ("Software version", certificate.software_version if certificate else "", said.firmware, None),
        ("Serial number", "", said.serial, None),
    ):
        verdict, note = unknown, ""
        if not observed:
            verdict = Verdict.NOT_SEEN if certified or certificate is None else unknown
        elif certified:
            same = observed == certified
            if accepted:
                same = any(word.casefold() in observed.casefold() for word in accepted)
            verdict = Verdict.AS_CERTIFIED if same else Verdict.DIFFERS
            if not same and name == "Software version":
                note = "firmwareVersion need not be the version on the certificate; outside it otherwise"
        yield LineRow(
            name=name,
            certified=certified,
            observed=observed,
            place=place if observed else None,
            verdict=verdict,
            note=note,
        )
    if len(seen.identities) > 1:
        others = [" ".join(filter(None, (i.vendor, i.model, i.firmware))) for i in list(seen.identities)[:-1]]
        yield LineRow(
            name="Earlier in this traffic",
            certified="",
            observed="; ".join(others),
            place=next(iter(seen.identities.values())),
            verdict=Verdict.UNDECLARED,
            note="the station named itself otherwise",
        )


def line_rows(certificate: Certificate | None, seen: Observation) -> Iterator[LineRow]:
    if certificate is None:
        yield _milliseconds(Line(name="Milliseconds in time stamps", text="", meaning=""), seen)
        return
    for line in (*certificate.hardware, *certificate.setting, *certificate.non_ocpp):
        match line.id:
            case "milliseconds":
                yield _milliseconds(line, seen)
            case "fixed_cable":
                yield _fixed_cable(line, seen.use(Side.CSMS, "UnlockConnector"))
            case "connectors":
                yield _connectors(line, seen)
            case _:
                verdict = Verdict.UNDECLARED if line.value is None else Verdict.NOT_OBSERVABLE
                name = "Settings outside OCPP" if line.name == "<>" else line.name
                yield LineRow(name=name, certified=line.text, observed="", place=None, verdict=verdict)


def _milliseconds(line: Line, seen: Observation) -> LineRow:
    observed = f"{seen.fractional:,} of {seen.stamps:,} time stamps have a fraction" if seen.stamps else ""
    if line.value is None:
        verdict = Verdict.UNDECLARED if line.text else Verdict.NO_CERTIFICATE
    elif seen.stamps < seen.profile.tolerances.millisecond_stamps and not seen.fractional:
        verdict = Verdict.NOT_SEEN
    else:
        verdict = Verdict.AS_CERTIFIED if (seen.fractional > 0) is line.value else Verdict.DIFFERS
    return LineRow(
        name=line.name, certified=line.text, observed=observed, place=seen.fraction_at, verdict=verdict
    )


def _fixed_cable(line: Line, unlock: Use) -> LineRow:
    status = next(
        (word for word in ("Unlocked", "UnlockFailed", "NotSupported") if word in unlock.answers), ""
    )
    verdict = Verdict.NOT_SEEN
    if status and line.value is True:
        verdict = Verdict.CONSISTENT if status == "NotSupported" else Verdict.INCONSISTENT
    return LineRow(
        name=line.name,
        certified=line.text,
        observed=f"UnlockConnector answered {status}" if status else "",
        place=unlock.answers.get(status),
        verdict=verdict,
        note="a fixed cable is never unlocked: NotSupported is due" if status else "",
    )


def _connectors(line: Line, seen: Observation) -> LineRow:
    ids = [number for number in seen.connector_ids if number > 0]
    several = len(ids) > 1
    return LineRow(
        name=line.name,
        certified=line.text,
        observed=f"{len(ids)} heard of" if ids else "",
        place=seen.connector_ids[max(ids)] if ids else None,
        verdict=Verdict.AS_CERTIFIED if several and line.value == "Multiple" else Verdict.NOT_SEEN,
    )
