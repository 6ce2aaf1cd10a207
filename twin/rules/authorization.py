"""Family T, first part: who may start, and how a remote start goes."""

from collections.abc import Iterable

from twin.model import CallError, EventKind, Fault, Severity
from twin.protocol.connectors import IN_TRANSACTION
from twin.protocol.fold import integer, word
from twin.protocol.state import RemoteStart, Wait
from twin.protocol.timestamps import parse_stamp
from twin.rules.step import (
    NO_BOOT,
    NO_OPENING,
    NO_STAMP,
    NO_VALUE,
    QUEUED,
    UNREAD,
    Found,
    InForce,
    Step,
    Unknown,
)

_TRUE = "true"
_LOCAL_WAYS = ("LocalPreAuthorize", "AuthorizationCacheEnabled", "LocalAuthListEnabled")
_SOON_US = 10_000_000
_AT_ONCE_US = 10_000_000  # an Authorize this soon after a RemoteStart is that of the RemoteStart
_ASKED_US = 60_000_000  # a station that has just asked did not authorize by itself
_NO_TAG = Unknown("no idTag in the message")
_NO_ANSWER = Unknown("no answer to an Authorize of this idTag was seen")
_OFFLINE = Unknown("the idTag may have been presented in the outage before: offline it may be accepted")
_NOT_REMOTE = Unknown("no accepted RemoteStartTransaction of this idTag and connector was seen")


def authorized_before_start(step: Step) -> Iterable[Found] | Unknown | None:
    """An online local start is preceded by an accepted Authorize of its idTag.

    OCPP 1.6 §4.1, §9.1.13. Pitfalls: drift where the configuration is only certified; unknown before the
    first Boot of the capture; an offline start is R007, a refused tag T003, a remote start T002; any earlier
    Accepted counts.
    """
    tag = word(step.payload.get("idTag")).casefold()
    before = step.before
    if not tag or tag in before.id_tags or tag in before.remote_starts:
        return None if tag else _NO_TAG
    if not before.known_from_boot:
        return NO_BOOT
    if before.asked_tag[0] == tag and before.unread_us >= before.asked_tag[2]:
        return UNREAD
    started = parse_stamp(word(step.payload.get("timestamp")))
    if started is None:
        return NO_STAMP
    if before.queued(started.at_us) is not False:
        return QUEUED if before.socket.whole else NO_OPENING
    ways = [step.in_force(key) for key in _LOCAL_WAYS]
    if ways[0] is None:
        return NO_VALUE
    if _any_true(ways):
        return None
    return [
        Found(
            detail="StartTransaction without an accepted Authorize of its idTag",
            severity=None if ways[0].observed else Severity.DRIFT,
            connector_id=integer(step.payload.get("connectorId")),
            provenance=f"LocalPreAuthorize {ways[0].provenance}",
            key=str(step.event.frame.seq if step.event.frame else ""),
        )
    ]


def remote_start_is_authorized(step: Step) -> Iterable[Found] | Unknown | None:
    """A remote start is authorized first where AuthorizeRemoteTxRequests is TRUE, and starts where it should.

    OCPP 1.6 §5.11, §9.1.3. Pitfalls: drift where the key is only certified; a cached idTag or
    LocalPreAuthorize make Authorize needless, so whether they may must be known.
    """
    before = step.before
    tag = word(step.payload.get("idTag")).casefold()
    told = before.remote_starts.get(tag)
    if told is None:
        return _NOT_REMOTE
    if told.connector_id not in (None, integer(step.payload.get("connectorId"))):
        return _elsewhere(step, told) or _NOT_REMOTE
    key = step.in_force("AuthorizeRemoteTxRequests")
    if key is None:
        return NO_VALUE
    ways = [step.switched_on(way) for way in _LOCAL_WAYS]
    if key.value.casefold() != _TRUE or True in ways:
        return None
    if None in ways:
        return NO_VALUE
    stamp = parse_stamp(word(step.payload.get("timestamp")))
    if stamp is None or before.queued(stamp.at_us) is True:
        return NO_STAMP if stamp is None else QUEUED
    verdict = before.id_tags.get(tag)
    if verdict is not None and verdict.at_us >= told.at_us:
        return None
    return [
        Found(
            detail="StartTransaction after RemoteStartTransaction without Authorize",
            severity=None if key.observed else Severity.DRIFT,
            connector_id=integer(step.payload.get("connectorId")),
            evidence=(told.seq,),
            provenance=f"AuthorizeRemoteTxRequests {key.provenance}",
            key=str(told.seq),
        )
    ]


def _elsewhere(step: Step, told: RemoteStart) -> list[Found] | None:
    """The start that was asked for, on another connector: nobody presented the idTag in between."""
    tag, _, asked_us = step.before.asked_tag
    mine = tag == word(step.payload.get("idTag")).casefold()
    waiting = (Wait.START_AFTER_REMOTE, told.connector_id) in step.before.awaited
    if not waiting or (mine and not 0 <= asked_us - told.at_us <= _AT_ONCE_US):
        return None  # presented at the station, before it was asked for or well after
    return [
        Found(
            detail=f"RemoteStartTransaction of connector {told.connector_id} starts connector "
            f"{integer(step.payload.get('connectorId'))}",
            severity=Severity.WARNING,
            connector_id=integer(step.payload.get("connectorId")),
            evidence=(told.seq,),
            key=f"elsewhere {told.seq}",
        )
    ]


def not_started_when_refused(step: Step) -> Iterable[Found] | Unknown | None:
    """No StartTransaction with an idTag whose last answer was not Accepted.

    OCPP 1.6 §4.1 (SHALL). Pitfalls: ConcurrentTx belongs to the running transaction of that tag; a later
    Accepted lifts the refusal, and so does a later RemoteStartTransaction unless AuthorizeRemoteTxRequests is
    seen to be TRUE; local ways to authorize explain it unless it has just asked; an offline start knew of no
    refusal, nor did one for which the idTag was presented offline and the plug came later.
    """
    before, tag = step.before, word(step.payload.get("idTag")).casefold()
    verdict = before.id_tags.get(tag)
    if verdict is None:
        return _NO_ANSWER
    if verdict.status in ("Accepted", "ConcurrentTx"):
        return None
    stamp = parse_stamp(word(step.payload.get("timestamp")))
    if stamp is not None and before.queued(stamp.at_us):
        return QUEUED
    if _offline_since(step, verdict.at_us):
        return _OFFLINE
    told, key = before.remote_starts.get(tag), step.in_force("AuthorizeRemoteTxRequests")
    asks = key is not None and key.observed and key.value.casefold() == _TRUE
    remote = told is not None and told.at_us > verdict.at_us and not asks  # 9.1.3: started as it was told
    asked = verdict.action == "Authorize" and step.event.at_us - verdict.at_us <= _ASKED_US
    if remote or (not asked and _any_true([step.in_force(way) for way in _LOCAL_WAYS])):
        return None
    return [
        Found(
            detail=f"StartTransaction with an idTag answered {verdict.status[:40]}",
            connector_id=integer(step.payload.get("connectorId")),
            evidence=(verdict.seq,),
        )
    ]


def _offline_since(step: Step, refused_us: int) -> bool:
    """Whether an outage after the refusal ended within ConnectionTimeOut, and no key seen forbids to accept.

    9.1.2, 9.1.12: unknown idTags are taken offline by AllowOfflineTxForUnknownId, known ones by
    LocalAuthorizeOffline.
    """
    known = step.seconds_in_force("ConnectionTimeOut")
    since_us = step.event.at_us - (known[0] * 1_000_000 if known else _ASKED_US) - _AT_ONCE_US
    keys = [step.in_force(key) for key in ("LocalAuthorizeOffline", "AllowOfflineTxForUnknownId")]
    forbidden = all(key is not None and key.observed and key.value.casefold() != _TRUE for key in keys)
    newest = step.before.socket.outages[-1:]
    return not forbidden and any(held.until_us > max(since_us, refused_us) for held in newest)


def remote_start_leads_on(step: Step) -> Iterable[Found] | Unknown | None:
    """An accepted RemoteStartTransaction leads to StartTransaction, or back to Available, in time.

    OCPP 1.6 §5.11, §9.1.6. Pitfalls: a refused Authorize explains it; a connector that never left Available
    was not taken.
    """
    before = step.before
    if step.event.kind is not EventKind.OVERDUE:
        return NO_VALUE if before.text_in_force("ConnectionTimeOut") is None else None
    awaited = step.event.awaited
    if awaited is None:
        return None
    connector = before.connectors.get(awaited.connector_id) if awaited.connector_id is not None else None
    if connector is None or connector.status in ("Available", "Unavailable", "Faulted"):
        return None
    return [
        Found(
            detail=f"RemoteStart accepted, connector {awaited.connector_id} still {connector.status} "
            f"after {(step.event.at_us - awaited.since_us) / 1e6:.0f} s",
            fault=Fault.STATION,
            connector_id=awaited.connector_id,
            evidence=(awaited.seq, connector.seq),
            key=str(awaited.seq),
        )
    ]


def remote_start_refused(step: Step) -> Iterable[Found] | Unknown | None:
    """RemoteStartTransaction of connector 0, of one that does not exist or is occupied is Rejected.

    OCPP 1.6 §5.11, §6.33, TC_026, TC_027. Pitfalls: without a connectorId it may go either way; a transaction
    that has just ended has its StopTransaction on the way, so ten seconds are granted.
    """
    if step.event.kind is EventKind.OVERDUE:
        return _accepted_and_occupied(step)
    if step.payload.get("status") != "Accepted":
        return None
    connector_id = integer(step.asked.get("connectorId"))
    if connector_id is None:
        return Unknown("no connectorId was asked for")
    before = step.before
    known = step.seconds_in_force("NumberOfConnectors")
    if connector_id <= 0:
        why = "there is no such connector to charge on"
    elif known is not None and connector_id > known[0]:
        why = f"there are {known[0]} connectors"
    elif known is None and not before.known_from_boot:
        return NO_BOOT
    else:
        return None
    return [
        Found(
            detail=f"RemoteStartTransaction of connector {connector_id} Accepted: {why}",
            connector_id=connector_id,
        )
    ]


def _accepted_and_occupied(step: Step) -> list[Found] | None:
    """The transaction that was open when it was Accepted is open still."""
    awaited, before = step.event.awaited, step.before
    transaction = before.transactions.get(awaited.transaction_id or 0) if awaited is not None else None
    if awaited is None or transaction is None or before.queue_waits:
        return None
    return [
        Found(
            detail=f"RemoteStartTransaction of connector {transaction.connector_id} Accepted: transaction "
            f"{transaction.transaction_id} is open",
            fault=Fault.STATION,
            connector_id=transaction.connector_id,
            evidence=(awaited.seq, transaction.start_seq),
        )
    ]


def charging_profile_ignored(step: Step) -> Iterable[Found] | Unknown | None:
    """A chargingProfile in RemoteStartTransaction is ignored without smart charging.

    OCPP 1.6 §5.11 (SHOULD). Pitfalls: another reason to refuse explains it, so only a free connector is
    judged.
    """
    if "chargingProfile" not in step.asked:
        return None
    refused = isinstance(step.event.message, CallError) or step.payload.get("status") == "Rejected"
    if not refused or (step.profile.certificate is not None and not step.profile.excludes("SmartCharging")):
        return None
    connector_id = integer(step.asked.get("connectorId"))
    connector = step.before.connectors.get(connector_id) if connector_id else None
    if connector is None:
        return Unknown("whether the connector was free was not seen")
    if connector.status not in ("Available", "Preparing") or step.profile.certificate is None:
        return None
    return [
        Found(
            detail=f"RemoteStartTransaction with a chargingProfile refused, connector {connector_id} is free",
            connector_id=connector_id,
            evidence=(connector.seq,),
        )
    ]


def no_authorize_to_stop(step: Step) -> Iterable[Found] | Unknown | None:
    """No Authorize is sent for the idTag that runs the transaction, to stop it.

    OCPP 1.6 §4.1 (SHALL), §3.4 (MUST NOT). Pitfalls: one reader serves many connectors, and the same tag may
    be meant to start another one: only a Stop with this tag within ten seconds is told, an error where no
    other is free.
    """
    transaction_id = integer(step.payload.get("transactionId"))
    transaction = step.before.transactions.get(transaction_id) if transaction_id is not None else None
    if transaction is None:
        return Unknown("the transaction's StartTransaction or its answer was not seen")
    tag = word(step.payload.get("idTag")).casefold()
    asked_tag, seq, at_us = step.before.asked_tag
    if not tag or tag != transaction.id_tag.casefold() or asked_tag != tag:
        return None
    if at_us <= (transaction.answered_us or 0) or step.event.at_us - at_us > _SOON_US:
        return None
    if word(step.payload.get("reason")) not in ("", "Local"):
        return None
    others = {n: c for n, c in step.before.connectors.items() if n not in (0, transaction.connector_id)}
    busy = bool(others) and all(c.status in IN_TRANSACTION for c in others.values())
    return [
        Found(
            detail="Authorize of the idTag that runs the transaction, then StopTransaction",
            severity=Severity.ERROR if busy else None,
            connector_id=transaction.connector_id,
            transaction_id=transaction_id,
            evidence=(seq, transaction.start_seq),
        )
    ]


def verdicts_where_they_belong(step: Step) -> Iterable[Found] | Unknown | None:
    """ConcurrentTx answers a StartTransaction only; its confirmation always has a transactionId.

    OCPP 1.6 §4.8, §7.2. Pitfalls: none.
    """
    info = step.payload.get("idTagInfo")
    status = info.get("status") if isinstance(info, dict) else None
    if status is None:
        return Unknown("no idTagInfo in the answer")
    if step.event.action == "StartTransaction":
        if status == "Accepted" or "transactionId" in step.payload:
            return None
        return [Found(detail=f"StartTransaction.conf {str(status)[:20]} without a transactionId", key="id")]
    if status != "ConcurrentTx":
        return None
    return [Found(detail=f"{step.event.action}.conf says ConcurrentTx", key=step.event.action)]


def not_started_unanswered(step: Step) -> Iterable[Found] | Unknown | None:
    """No transaction starts while the connection is up and Authorize got no answer or an error.

    OCPP 1.6 §4.1; certificate: no local authorization. Pitfalls: an answer that came late is one; local ways
    to authorize explain it; an offline start is R007.
    """
    tag = word(step.payload.get("idTag")).casefold()
    failed = step.before.unanswered_tags.get(tag)
    if failed is None:
        return None if tag in step.before.id_tags else _NO_ANSWER
    if failed.why == "link ended":
        return None
    ways = [step.in_force(key) for key in _LOCAL_WAYS]
    if ways[0] is None:
        return NO_VALUE
    stamp = parse_stamp(word(step.payload.get("timestamp")))
    if _any_true(ways) or stamp is None or step.before.queued(stamp.at_us) is not False:
        return None
    if step.event.at_us - failed.at_us > 120_000_000 or tag in step.before.remote_starts:
        return None
    how = "refused" if failed.why == "refused" else "unanswered"
    return [
        Found(
            detail=f"StartTransaction although Authorize was {how}",
            connector_id=integer(step.payload.get("connectorId")),
            evidence=(failed.seq,),
            provenance=f"LocalPreAuthorize {ways[0].provenance}",
        )
    ]


def _any_true(ways: list[InForce | None]) -> bool:
    return any(way is not None and way.value.casefold() == _TRUE for way in ways)
