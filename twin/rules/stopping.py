"""Family T, third part: how a transaction ends."""

from collections.abc import Iterable

from twin.model import EventKind, Fault, Severity, Side
from twin.protocol import metering
from twin.protocol.fold import integer, word
from twin.protocol.fold.transactions import BOOT_REASONS
from twin.protocol.state import Transaction, Wait
from twin.protocol.timestamps import parse_stamp
from twin.rules.framing import unanswered_in_a_cut_log
from twin.rules.step import (
    CUT,
    DAMAGED,
    NO_BOOT,
    NO_ID,
    NO_TIMES,
    NO_TRANSACTION,
    NO_VALUE,
    Found,
    Step,
    Unknown,
)

_TOO_BIG = 1009
_ALIVE_US = 10_000_000  # what is sent this long after a loss of power was not sent before it
_LEAK_WH, _LEAK_US = 100, 60_000_000
_NO_TAG = Unknown("no answer about this idTag was seen")
_LOCAL = Unknown("the station may know this idTag, or its group, from a list or a cache of its own")
_NO_RESET = Unknown("no accepted Reset was seen")


def reason_fits(step: Step) -> Iterable[Found] | Unknown | None:
    """StopTransaction.reason fits the traffic.

    OCPP 1.6 §4.10, §6.49, §7.36. Pitfalls: an error only where the traffic contradicts it; causes can
    coincide; some stacks use DeAuthorized after a refused Authorize; a missing reason means Local; a
    transaction whose StartTransaction was still queued when Reset came had begun before it; a station that
    goes on speaking after PowerLoss may have a supply that outlasts it: a note.
    """
    if step.event.kind is EventKind.OVERDUE:
        return _never_gone(step)
    transaction = _open(step)
    if transaction is None:
        return NO_TRANSACTION
    reason, before = word(step.payload.get("reason")), step.before
    reset = before.reset
    why, severity = "", None
    if reason == "Remote" and transaction.remote_stop_seq is None:
        asked = before.requests.get(("RemoteStopTransaction", transaction.transaction_id))
        if asked is not None and not asked.status:
            return None  # its answer is on the way
        why = "no RemoteStopTransaction was accepted"
        if not before.known_from_boot and before.gaps:
            return NO_BOOT
    elif reason in ("HardReset", "SoftReset"):
        asked = before.requests.get(("Reset", None))
        if asked is not None and not asked.status and f"{asked.payload.get('type')}Reset" == reason:
            return None
        if reset is None or f"{reset.kind}Reset" != reason or reset.at_us < _begun_us(step, transaction):
            why = f"no Reset {reason.removesuffix('Reset')} was accepted"
    elif reason == "UnlockCommand":
        certificate = step.profile.certificate
        asked = before.requests.get(("UnlockConnector", transaction.connector_id))
        if asked is not None and asked.at_us >= transaction.arrived_us:
            return None  # the traffic explains it; T029 speaks of the answer
        if certificate is not None and certificate.fixed_cable:
            why = "a fixed cable has no lock"
    elif reason == "DeAuthorized":
        verdict = before.id_tags.get(transaction.id_tag.casefold())
        refused = verdict is not None and verdict.status != "Accepted"
        if transaction.status == "Accepted" and not refused:
            why, severity = "its StartTransaction was Accepted", Severity.NOTE
    elif reason == "EVDisconnected":
        key = step.in_force("StopTransactionOnEVSideDisconnect")
        if key is not None and key.observed and key.value.casefold() == "false":
            why = "StopTransactionOnEVSideDisconnect is false"
            certificate = step.profile.certificate
            if certificate is None or not certificate.fixed_cable:
                severity = Severity.NOTE  # 4.9: with a socket its own side may have been unplugged
    if not why:
        return None
    return [
        Found(
            detail=f"reason {reason}, but {why}",
            severity=severity,
            connector_id=transaction.connector_id,
            transaction_id=transaction.transaction_id,
            evidence=(transaction.start_seq,),
            key=reason[:20],
        )
    ]


def stop_tag_fits(step: Step) -> Iterable[Found] | Unknown | None:
    """The idTag of StopTransaction is the starting one, or one of its group.

    OCPP 1.6 §4.10, §6.49, TC_068, TC_069. Pitfalls: optional at a remote stop and an EV-side one; the group
    is known only from the parentIdTag of the answers, where the station has no list and no cache.
    """
    transaction = _open(step)
    if transaction is None:
        return NO_TRANSACTION
    tag = word(step.payload.get("idTag")).casefold()
    if not tag or tag == transaction.id_tag.casefold():
        return None
    verdict = step.before.id_tags.get(tag)
    if verdict is None and not step.before.known_from_boot:
        return _NO_TAG
    grouped = verdict is not None and verdict.parent_tag and transaction.parent_tag
    if not grouped and _may_know_tags(step):
        return _LOCAL
    if verdict is not None and verdict.status == "Accepted":
        parents = {verdict.parent_tag.casefold(), transaction.parent_tag.casefold()}
        starting = step.before.id_tags.get(transaction.id_tag.casefold())
        if starting is not None and starting.parent_tag:
            parents = {verdict.parent_tag.casefold(), starting.parent_tag.casefold()}
        if len(parents) == 1 and "" not in parents:
            return None
        if tag == transaction.parent_tag.casefold():
            return None
    how = "accepted, of another group" if verdict and verdict.status == "Accepted" else "not accepted"
    return [
        Found(
            detail=f"stopped by another idTag, {how}",
            severity=Severity.ERROR,
            connector_id=transaction.connector_id,
            transaction_id=transaction.transaction_id,
            evidence=(transaction.start_seq, *((verdict.seq,) if verdict else ())),
        )
    ]


def remote_stop_of_known_id(step: Step) -> Iterable[Found] | Unknown | None:
    """RemoteStopTransaction of an open transaction is Accepted and stops it, of another one Rejected.

    OCPP 1.6 §5.12, TC_012, TC_028. Pitfalls: an id is known only if its StartTransaction.conf was seen, and
    unknown only once another one's was; a minute is granted for the StopTransaction.
    """
    if step.event.kind is EventKind.OVERDUE and step.event.action == Wait.STOP_AFTER_REFUSAL:
        return _refused_and_open(step)
    if step.event.kind is EventKind.OVERDUE:
        return _never_stopped(step, "RemoteStopTransaction accepted")
    if step.event.action == "StopTransaction":
        return _refused_and_obeyed(step)
    transaction_id = integer(step.asked.get("transactionId"))
    status = step.payload.get("status")
    if transaction_id is None:
        return NO_ID
    if transaction_id in step.before.transactions and status == "Rejected":
        return None  # it may be stopping just now: the wait tells
    ended = step.before.ended.get(transaction_id)
    if ended is not None and step.event.asked and ended.stop_arrived_us >= step.event.asked.frame.at_us:
        return None  # it stopped while this was on the way
    if ended is not None and status == "Accepted":
        return [Found(detail=f"ended transaction {transaction_id} Accepted", transaction_id=transaction_id)]
    if transaction_id in step.before.transactions or transaction_id in step.before.ended:
        return None
    if not step.before.known_from_boot or step.before.starting:
        return NO_BOOT
    if not step.before.transactions_known:
        return NO_TRANSACTION
    if status == "Accepted":
        return [Found(detail=f"unknown transaction {transaction_id} Accepted", transaction_id=transaction_id)]
    return None


def refused_start_is_held(step: Step) -> Iterable[Found] | Unknown | None:
    """With StopTransactionOnInvalidId FALSE a refused start is suspended and draws no energy.

    OCPP 1.6 §3.5.4, ER 3.17. Pitfalls: an error only where FALSE was observed; an unplug ends it; some energy
    is left over, and MaxEnergyOnInvalidId may allow more.
    """
    key = step.in_force("StopTransactionOnInvalidId")
    if step.event.kind is EventKind.OVERDUE:
        if key is None:
            return NO_VALUE
        awaited = step.event.awaited
        if awaited is None or key.value.casefold() == "true":
            return None
        if awaited.transaction_id not in step.before.transactions:
            return None
        return [
            Found(
                detail=f"refused start of transaction {awaited.transaction_id}, and no SuspendedEVSE",
                severity=Severity.WARNING,
                fault=Fault.STATION,
                connector_id=awaited.connector_id,
                transaction_id=awaited.transaction_id,
                provenance=f"StopTransactionOnInvalidId {key.provenance}",
                key="status",
            )
        ]
    transaction = _open(step)
    if transaction is None:
        return NO_TRANSACTION
    if transaction.status in ("", "Accepted"):
        return None
    if key is None:
        return NO_VALUE
    if key.value.casefold() == "true":
        return None
    if step.event.action == "StopTransaction":
        if step.payload.get("reason") != "DeAuthorized":
            return None
        return [
            Found(
                detail="StopTransaction(DeAuthorized) although StopTransactionOnInvalidId is false",
                severity=Severity.ERROR if key.observed else Severity.DRIFT,
                connector_id=transaction.connector_id,
                transaction_id=transaction.transaction_id,
                evidence=(transaction.start_seq,),
                provenance=key.provenance,
                key="stop",
            )
        ]
    return _leaks(step, transaction)


def transaction_messages_answered(step: Step) -> Iterable[Found] | Unknown | None:
    """The CSMS answers StartTransaction, StopTransaction and MeterValues even if their content is odd.

    OCPP 1.6 §4.7, §4.8, §4.10. Pitfalls: without an answer the station repeats and then drops the data.
    """
    event = step.event
    if event.asked is not None and event.asked.malformed:
        return None
    if event.asked is not None and event.asked.frame.facts.get("interpolated"):
        return NO_TIMES
    if unanswered_in_a_cut_log(step):
        return CUT
    if event.why != "expired" or event.sender is not Side.STATION or event.asked is None:
        return None
    return [
        Found(
            detail=f"{event.action} unanswered for {(event.at_us - event.asked.frame.at_us) / 1e6:g} s",
            fault=Fault.CSMS,
        )
    ]


def stop_stays_deliverable(step: Step) -> Iterable[Found] | Unknown | None:
    """The StopTransaction frame stays deliverable.

    ER 3.89. Pitfalls: the certificate declares no limit for transactionData; receivers have one, so a warning
    at 256 KiB; an error where the connection closes with 1009 while it is unanswered.
    """
    frame = step.event.frame
    if step.event.kind is EventKind.CLOSED:
        if frame is None or frame.facts.get("code") != _TOO_BIG or not step.before.last_stop:
            return None
        newest = max(step.before.last_stop.values(), key=lambda tx: tx.stop_arrived_us)
        if step.before.calling_us is None or newest.stop_arrived_us < step.before.calling_us:
            return None
        detail = "closed with 1009 (message too big) while StopTransaction was unanswered"
        return [
            Found(
                detail=detail,
                severity=Severity.ERROR,
                connector_id=newest.connector_id,
                transaction_id=newest.transaction_id,
                evidence=tuple(seq for seq in (newest.stop_seq,) if seq is not None),
                key="1009",
            )
        ]
    if frame is not None and frame.facts.get("truncated"):
        return DAMAGED
    size = len(frame.text.encode(errors="replace")) if frame and frame.text else 0
    if size < step.profile.tolerances.stop_frame_bytes:
        return None
    transaction_id = integer(step.payload.get("transactionId"))
    return [Found(detail=f"StopTransaction of {size:,} bytes", transaction_id=transaction_id)]


def transaction_data(step: Step) -> Iterable[Found] | Unknown | None:
    """transactionData is the union of the two StopTxn lists, with Begin and End, or absent.

    OCPP 1.6 §3.16.5, ER 3.14, 3.89. Pitfalls: Begin and End are RECOMMENDED, samples in between may be
    dropped; drift where the lists are only certified; after a loss of power the End may be missing.
    """
    sampled, aligned = step.in_force("StopTxnSampledData"), step.in_force("StopTxnAlignedData")
    if sampled is None or aligned is None:
        return NO_VALUE
    data = metering.as_list(step.payload.get("transactionData"))
    observed = sampled.observed and aligned.observed
    listed = bool(sampled.value.strip()), bool(aligned.value.strip())
    transaction_id = integer(step.payload.get("transactionId"))
    if data and not any(listed):
        detail = "transactionData although both StopTxn lists are empty"
        severity: Severity | None = Severity.ERROR if observed else Severity.DRIFT
    elif not data and listed[0]:
        detail = "no transactionData although StopTxnSampledData is not empty"
        severity = Severity.WARNING if observed else Severity.DRIFT
    elif data and listed[0] and word(step.payload.get("reason")) not in BOOT_REASONS:
        contexts = {sample.context for sample in metering.samples(data)}
        missing = [name for name in ("Transaction.Begin", "Transaction.End") if name not in contexts]
        if not missing:
            return None
        detail = f"transactionData without {' and '.join(missing)}"
        severity = Severity.WARNING if observed else Severity.DRIFT
    else:
        return None
    return [
        Found(
            detail=detail,
            severity=severity,
            transaction_id=transaction_id,
            provenance=sampled.provenance,
            key=detail,
        )
    ]


def reset_stops_and_boots(step: Step) -> Iterable[Found] | Unknown | None:
    """An accepted Reset stops every open transaction, and the station boots.

    OCPP 1.6 §5.14, TC_015, TC_016: Soft before the boot, Hard before or after it. Pitfalls: Rejected is
    allowed; a boot may take minutes, so five are granted; what waits behind a message that failed, for the
    link ended or it was refused, comes after it (3.7).
    """
    before = step.before
    if step.event.kind is EventKind.OVERDUE:
        if step.event.action == "BootNotification after Reset":
            awaited = step.event.awaited
            reset = before.reset
            if awaited is None or reset is None or before.link_open_us is None:
                return None
            waited_s = (step.event.at_us - awaited.since_us) / 1e6
            detail = f"no BootNotification within {waited_s:.0f} s of Reset {reset.kind}"
            return [Found(detail=detail, fault=Fault.STATION, evidence=(reset.seq,), key=str(reset.seq))]
        # while it is away nothing can come; the wait begins anew when it is accepted
        return None if before.link_open_us is None else _never_stopped(step, "Reset accepted")
    reset = before.reset
    if reset is None or (before.last_boot_us is not None and reset.at_us < before.last_boot_us):
        return _NO_RESET
    left = [number for number in reset.transactions if number in before.transactions]
    if reset.kind != "Soft" or not left or before.queue_waits or _cut_off(step, reset.at_us):
        return None
    return [
        Found(
            detail=f"booted after Reset Soft with transaction {left[0]} still open",
            connector_id=before.transactions[left[0]].connector_id,
            transaction_id=left[0],
            evidence=(reset.seq,),
        )
    ]


def ev_disconnect_stops(step: Step) -> Iterable[Found] | Unknown | None:
    """With StopTransactionOnEVSideDisconnect TRUE an EV-side disconnect stops the transaction.

    OCPP 1.6 §4.9, §4.10, §9.1.23; certificate row 23. Pitfalls: drift where the key is only certified;
    SuspendedEV without the info means that the EV paused; the Stop may queue behind an unanswered CALL, or
    offline.
    """
    key = step.in_force("StopTransactionOnEVSideDisconnect")
    if key is None:
        return NO_VALUE
    if step.event.kind is not EventKind.OVERDUE or key.value.casefold() != "true":
        return None
    awaited, before = step.event.awaited, step.before
    if awaited is None or awaited.transaction_id not in before.transactions or before.queue_waits:
        return None
    connector = before.connectors.get(awaited.connector_id or 0)
    status = connector.status if connector else "unplugged"
    return [
        Found(
            detail=f"connector {awaited.connector_id} {status}, and no StopTransaction within "
            f"{(step.event.at_us - awaited.since_us) / 1e6:.0f} s",
            severity=None if key.observed else Severity.DRIFT,
            fault=Fault.STATION,
            connector_id=awaited.connector_id,
            transaction_id=awaited.transaction_id,
            evidence=(awaited.seq,),
            provenance=key.provenance,
        )
    ]


def _cut_off(step: Step, reset_us: int) -> bool:
    """Whether the link was lost while another CALL was unanswered: no Stop could be sent before."""
    outage = step.before.socket.outages[-1] if step.before.socket.outages else None
    return outage is not None and outage.from_us >= reset_us and outage.calling


def _begun_us(step: Step, transaction: Transaction) -> int:
    """When it began by the recorder's clock: by its own stamp where StartTransaction came late."""
    clock = step.before.clock
    offset_us = clock.offset_us if clock.offset_us is not None else clock.csms_us or 0
    started_us = transaction.started_us
    return (
        transaction.arrived_us if started_us is None else min(started_us - offset_us, transaction.arrived_us)
    )


def _may_know_tags(step: Step) -> bool:
    """Whether a list or a cache may have told it of an idTag: online by 9.1.13, offline by 9.1.12."""
    stamp = parse_stamp(word(step.payload.get("timestamp")))
    offline = stamp is not None and step.before.queued(stamp.at_us)
    key = "LocalAuthorizeOffline" if offline else "LocalPreAuthorize"
    held = ("AuthorizationCacheEnabled", "LocalAuthListEnabled")
    return step.switched_on(key) is not False and any(step.switched_on(way) is not False for way in held)


def _never_gone(step: Step) -> list[Found] | None:
    awaited = step.event.awaited
    ended = step.before.ended.get(awaited.transaction_id or 0) if awaited is not None else None
    spoke_us = step.before.last_exchange_us
    if awaited is None or ended is None or spoke_us is None or spoke_us - awaited.since_us < _ALIVE_US:
        return None
    return [
        Found(
            detail=f"reason {ended.reason}, but the station went on without BootNotification",
            severity=Severity.NOTE,
            fault=Fault.STATION,
            connector_id=ended.connector_id,
            transaction_id=ended.transaction_id,
            evidence=(awaited.seq,),
            key=ended.reason,
        )
    ]


def _refused_and_open(step: Step) -> list[Found] | None:
    """Rejected, and the transaction is open still: no Stop of it was on the way."""
    awaited = step.event.awaited
    if awaited is None or awaited.transaction_id not in step.before.transactions or step.before.failing:
        return None
    return [
        Found(
            detail=f"open transaction {awaited.transaction_id} Rejected",
            fault=Fault.STATION,
            connector_id=awaited.connector_id,
            transaction_id=awaited.transaction_id,
            evidence=(awaited.seq,),
        )
    ]


def _refused_and_obeyed(step: Step) -> list[Found] | Unknown | None:
    """Rejected, and then stopped as it was asked."""
    transaction = _open(step)
    if transaction is None:
        return NO_TRANSACTION
    held = step.before.awaited.get((Wait.STOP_AFTER_REFUSAL, transaction.transaction_id))
    if held is None or step.payload.get("reason") != "Remote":
        return None
    return [
        Found(
            detail=f"open transaction {transaction.transaction_id} Rejected, and stopped with reason Remote",
            connector_id=transaction.connector_id,
            transaction_id=transaction.transaction_id,
            evidence=(held.seq,),
        )
    ]


def _never_stopped(step: Step, what: str) -> list[Found] | None:
    awaited = step.event.awaited
    if awaited is None or awaited.transaction_id not in step.before.transactions or step.before.queue_waits:
        return None
    waited_s = (step.event.at_us - awaited.since_us) / 1e6
    return [
        Found(
            detail=f"{what}, and no StopTransaction of {awaited.transaction_id} within {waited_s:.0f} s",
            fault=Fault.STATION,
            connector_id=awaited.connector_id,
            transaction_id=awaited.transaction_id,
            evidence=(awaited.seq,),
        )
    ]


def _leaks(step: Step, transaction: Transaction) -> list[Found] | None:
    """Energy that goes on flowing a minute after the refusal."""
    if transaction.answered_us is None or transaction.register_wh is None:
        return None
    if step.event.at_us - transaction.answered_us < _LEAK_US or transaction.samples < 1:
        return None
    newest = [r[0] for s in step.meter_values if (r := metering.energy_wh(s)) is not None]
    if not newest or newest[-1] - transaction.register_wh < _LEAK_WH:
        return None
    return [
        Found(
            detail=f"refused start, {newest[-1] - transaction.register_wh:f} Wh more since the last sample",
            severity=Severity.WARNING,
            connector_id=transaction.connector_id,
            transaction_id=transaction.transaction_id,
            evidence=(transaction.start_seq,),
            key="energy",
        )
    ]


def _open(step: Step) -> Transaction | None:
    transaction_id = integer(step.payload.get("transactionId"))
    return None if transaction_id is None else step.before.transactions.get(transaction_id)
