"""Family T, fourth part: what the CSMS asks for beside transactions: availability, unlocking, cache, data."""

from collections.abc import Iterable

from twin.model import EventKind, Severity, Side
from twin.protocol.config_keys import REQUIRED_CORE_KEYS
from twin.protocol.fold import integer, word
from twin.rules.step import NO_BOOT, NO_CERTIFICATE, NO_CONNECTOR, NO_VENDOR, Found, Step, Unknown

_NO_CACHE_KEY = Unknown("whether the station has a cache was not seen")
_NOT_SCHEDULED = Unknown("no scheduled ChangeAvailability was seen")


def availability_waits(step: Step) -> Iterable[Found] | Unknown | None:
    """ChangeAvailability is Scheduled while a transaction runs, and takes effect right after it.

    OCPP 1.6 §5.2, C8, D8, E8, F8. Pitfalls: Available for a moment in between is a warning; in Preparing the
    text is silent.
    """
    before = step.before
    if step.event.kind is EventKind.CALLED:
        connector_id = integer(step.payload.get("connectorId"))
        told = before.availability.get(connector_id) if connector_id else None
        if told is None or not told.scheduled or told.operative:
            return _NOT_SCHEDULED
        known = before.connectors.get(connector_id or 0)
        stopped = before.last_stop.get(connector_id or 0)
        if step.payload.get("status") != "Available" or known is None or stopped is None:
            return None
        if stopped.stop_arrived_us < told.at_us or known.status == "Unavailable":
            return None
        return [
            Found(
                detail=f"connector {connector_id} Available although Unavailable was scheduled",
                severity=Severity.WARNING,
                connector_id=connector_id,
                evidence=(told.seq,),
                key=str(told.seq),
            )
        ]
    connector_id = integer(step.asked.get("connectorId"))
    if connector_id is None:
        return NO_CONNECTOR
    if not connector_id:
        return None
    status, kind = word(step.payload.get("status")), step.asked.get("type")
    transaction = before.transaction_on(connector_id)
    if transaction is None:
        connector = before.connectors.get(connector_id)
        if connector is None:
            return NO_BOOT
        same = (connector.status == "Unavailable") is (kind == "Inoperative")
        if same and status == "Rejected" and connector.status in ("Available", "Unavailable"):
            detail = f"connector {connector_id} is {connector.status} already, and {kind} is Rejected"
            return [Found(detail=detail, severity=Severity.WARNING, connector_id=connector_id, key="same")]
        return None
    asked_us = step.event.asked.frame.at_us if step.event.asked else 0
    if kind != "Inoperative" or status != "Accepted" or transaction.arrived_us > asked_us:
        return None
    return [
        Found(
            detail=f"connector {connector_id} Inoperative Accepted while transaction "
            f"{transaction.transaction_id} is open",
            connector_id=connector_id,
            transaction_id=transaction.transaction_id,
            evidence=(transaction.start_seq,),
        )
    ]


def unlock_not_supported(step: Step) -> Iterable[Found] | Unknown | None:
    """UnlockConnector of a station with fixed cable is answered NotSupported.

    OCPP 1.6 §7.46, ER 3.85, certificate (fixed cable). Pitfalls: an unknown connector is an error, a known
    one only differs from the certificate.
    """
    certificate = step.profile.certificate
    status = word(step.payload.get("status"))
    if certificate is None:
        return NO_CERTIFICATE
    if not certificate.fixed_cable or not status or status == "NotSupported":
        return None
    connector_id = integer(step.asked.get("connectorId"))
    connectors = certificate.certified("NumberOfConnectors")
    unknown = connector_id is not None and isinstance(connectors, int) and not 1 <= connector_id <= connectors
    return [
        Found(
            detail=f"UnlockConnector({connector_id}) answered {status}",
            severity=Severity.ERROR if unknown else None,
            connector_id=connector_id,
            provenance="certified: fixed cable",
        )
    ]


def clear_cache_without_cache(step: Step) -> Iterable[Found] | Unknown | None:
    """ClearCache is Rejected by a station without a cache.

    ER 3.23 (SHALL). Pitfalls: an error only where AuthorizationCacheEnabled was seen to be unknown to the
    station; the certificate leaves "implemented but disabled" open.
    """
    key = "authorizationcacheenabled"
    before = step.before
    listed = before.listed_keys
    if listed is not None and len(listed) < len(REQUIRED_CORE_KEYS):
        listed = None  # C008 speaks: it was not the whole list
    if key not in before.unknown_keys and (listed is None or key in listed):
        return None if listed is not None or key in before.config else _NO_CACHE_KEY
    if step.payload.get("status") != "Accepted":
        return None
    return [Found(detail="ClearCache Accepted, and the station knows no AuthorizationCacheEnabled")]


def data_transfer_refused(step: Step) -> Iterable[Found] | Unknown | None:
    """DataTransfer of an unknown vendor is refused, and UnknownVendorId carries no data.

    OCPP 1.6 §4.3, TC_062. Pitfalls: a vendor id that the maker knows would be Accepted: only one that does
    not name the certified vendor is told, of a station's answer.
    """
    status, vendor = step.payload.get("status"), step.asked.get("vendorId")
    if not isinstance(vendor, str):
        return NO_VENDOR
    if status == "UnknownVendorId" and step.payload.get("data"):
        return [Found(detail="data with UnknownVendorId", key="data")]
    certificate = step.profile.certificate
    if certificate is None or status != "Accepted" or step.event.sender is not Side.STATION:
        return None
    words = certificate.identification.vendor_contains
    if any(name.casefold() in vendor.casefold() for name in words):
        return None
    return [Found(detail=f"DataTransfer of vendor {vendor[:40]!r} Accepted", key=vendor[:40])]
