"""Family R, second part: what a station does while it is offline, and how it comes back."""

from collections.abc import Iterable
from itertools import pairwise

from twin.model import Kind, Severity
from twin.protocol import metering
from twin.protocol.fold import integer, word
from twin.protocol.state import Outage, StationState
from twin.protocol.timestamps import parse_stamp
from twin.rules.step import NO_OPENING, NO_STAMP, NO_TRANSACTION, NO_VALUE, Found, Step, Unknown

# Any of them TRUE lets a station start while it is offline (9.1.1, 9.1.2, 9.1.12).
OFFLINE_KEYS = ("LocalAuthorizeOffline", "AllowOfflineTxForUnknownId", "AuthorizationCacheEnabled")
_EDGE_US = 2_000_000  # of an outage: the two clocks differ
_FEW = 3
_NO_OUTAGE = Unknown("no outage was seen")


def no_start_while_offline(step: Step) -> Iterable[Found] | Unknown | None:
    """No transaction starts while the station is offline, where nothing allows it to authorize by itself.

    Certificate rows 1, 2 and 10; OCPP 1.6 §9.1.12. Pitfalls: drift where the keys are only certified; an
    idTag that was accepted before the connection was lost, with the plug coming later, is legitimate; the gap
    may exist on one side of a proxy only, so a Start that was sent live is none.
    """
    started_us = _own_us(step)
    if started_us is None:
        return NO_STAMP
    outage = _outage(step.before, started_us)
    if outage is None:
        return _NO_OUTAGE if not step.before.socket.outages else None
    return _offline_start(step, outage.from_us, (outage.seq,))


def offline_keys_kept(step: Step) -> Iterable[Found] | Unknown | None:
    """What was configured forbids an offline start, yet one is delivered.

    OCPP 1.6 §9.1.1, §9.1.2, §9.1.12; certificate rows 1, 2 and 10. Pitfalls: the same evidence as R007, which
    speaks where the outage was seen; here the Start is merely older than its connection.
    """
    before = step.before
    started_us = _own_us(step)
    if started_us is None:
        return NO_STAMP
    if not before.socket.whole or before.socket.opened_us is None:
        return NO_OPENING
    if started_us >= before.socket.opened_us - _EDGE_US - 60_000_000 or before.boot_seq is not None:
        return None
    return _offline_start(step, started_us, ())


def queue_complete(step: Step) -> Iterable[Found] | Unknown | None:
    """No sample is missing between the last one before an outage and the first one after it.

    ER 3.15, TC_036. Pitfalls: judged on the payload's own stamps; a transaction that ended has no more;
    one interval and a half is jitter; a station that booted between two samples had no power; where the
    interval was not observed, the certified one or the station's own rhythm stands in, and it is a warning.
    """
    before = step.before
    transaction_id = integer(step.payload.get("transactionId"))
    transaction = before.transactions.get(transaction_id) if transaction_id is not None else None
    if transaction is None:
        return NO_TRANSACTION
    known = step.seconds_in_force("MeterValueSampleInterval")
    rhythm_us = before.rhythm[0] if before.rhythm[1] >= _FEW else None
    if known is None and rhythm_us is None:
        return NO_VALUE
    last_us = transaction.sampled_us
    interval_us = known[0] * 1_000_000 if known is not None else rhythm_us or 0
    if not before.socket.outages or interval_us <= 0 or last_us is None:
        return None
    if step.event.action == "StopTransaction":
        stamp = parse_stamp(word(step.payload.get("timestamp")))
        stamps_us = [stamp.at_us] if stamp else []
    else:
        periodic = (s for s in step.meter_values if s.context == metering.DEFAULT_CONTEXT)
        stamps_us = sorted({s.stamp_us for s in periodic if s.stamp_us is not None})
    offset_us = before.clock.offset_us or 0
    for stamp_us in stamps_us:
        gap_us = stamp_us - last_us
        outage = next(
            (
                held
                for held in before.socket.outages
                if held.from_us + offset_us < stamp_us and held.until_us + offset_us > last_us
            ),
            None,
        )
        off = before.booted_between(last_us - offset_us, stamp_us - offset_us)  # it had no power
        if (
            outage is not None
            and not off
            and gap_us > interval_us * 3 // 2 + step.profile.tolerances.timer_us
        ):
            missing = round(gap_us / interval_us) - 1
            if missing < 1:
                return None
            return [
                Found(
                    detail=f"{missing} sample(s) missing over the outage before frame {outage.seq}",
                    severity=None if known is not None and known[1].observed else Severity.WARNING,
                    provenance=known[1].provenance if known is not None else "the station's own rhythm",
                    connector_id=transaction.connector_id,
                    transaction_id=transaction_id,
                    evidence=(transaction.sampled_seq, outage.seq),
                    key=str(outage.seq),
                )
            ]
        last_us = max(last_us, stamp_us)
    return None


def history_not_replayed(step: Step) -> Iterable[Found] | Unknown | None:
    """After a reconnection the present status is sent; the changes in between are not.

    OCPP 1.6 §4.9 (SHOULD NOT). Pitfalls: old faults may be sent; one old stamp per connector is the present
    status with the time it began, and two are a note.
    """
    connector_id = integer(step.payload.get("connectorId"))
    known = step.before.connectors.get(connector_id) if connector_id is not None else None
    stamp = parse_stamp(word(step.payload.get("timestamp")))
    if known is None or stamp is None:
        return NO_STAMP if stamp is None else None
    late = step.before.queued(stamp.at_us)
    if late is None:
        return NO_OPENING
    status = word(step.payload.get("status"))
    if not late or not step.before.queued(known.stamp_us) or status in ("Faulted", known.status):
        return None
    return [
        Found(
            detail=f"connector {connector_id}: {known.status} and {status}, both older than the connection",
            severity=None if known.changed_us else Severity.NOTE,
            connector_id=connector_id,
            evidence=(known.seq,),
            key="more" if known.changed_us else "one",
        )
    ]


def backs_off(step: Step) -> Iterable[Found] | Unknown | None:
    """A station does not connect again and again within a second.

    JE 3.3. Pitfalls: one quick attempt is fine; four handshakes with less than a second between each are not.
    """
    attempts = step.after.socket.attempts
    frame = step.event.frame
    if frame is None or frame.kind not in (Kind.OPEN, Kind.REFUSED):
        return None
    if frame.facts.get("late"):
        return NO_OPENING
    newest = attempts[-_FEW - 1 :]
    if len(newest) <= _FEW:
        return None
    gaps_us = [later - earlier for earlier, later in pairwise(newest)]
    if max(gaps_us) >= step.profile.tolerances.reconnect_us:
        return None
    return [Found(detail=f"{len(newest)} connections within {(newest[-1] - newest[0]) / 1e6:.1f} s")]


def queue_begins_at_once(step: Step) -> Iterable[Found] | Unknown | None:
    """What waited while the station was offline begins to be delivered within a minute of the connection.

    OCPP 1.6 §3.7 ("as soon as possible"). Pitfalls: it waits for acceptance, for a retry (begun before the
    outage too), and for the answers to other CALLs.
    """
    before, after = step.before, step.after
    if not before.socket.whole:
        return NO_OPENING
    if after.socket.queue_seq is None or before.socket.queue_seq is not None:
        return None
    opened_us = before.socket.opened_us
    if opened_us is None or any(not failed.link_ended for failed in before.failing) or before.stuck:
        return None
    if before.held_up(opened_us, step.event.at_us):
        return None
    since_us = max(opened_us, before.accepted_us or 0)
    if step.event.at_us - since_us <= step.profile.tolerances.queue_us:
        return None
    seq = before.socket.opened_seq
    return [
        Found(
            detail=f"the queue begins {(step.event.at_us - since_us) / 1e6:.0f} s after the connection",
            evidence=(seq,) if seq is not None else (),
        )
    ]


def _offline_start(step: Step, since_us: int, evidence: tuple[int, ...]) -> list[Found] | Unknown | None:
    ways = [step.in_force(key) for key in OFFLINE_KEYS]
    on = [step.switched_on(key) for key in OFFLINE_KEYS]
    if True in on:
        return None
    if ways[0] is None or None in on[:2]:
        return NO_VALUE  # 9.1.12: without LocalAuthorizeOffline the cache allows nothing
    verdict = step.before.id_tags.get(word(step.payload.get("idTag")).casefold())
    if verdict is not None and verdict.status == "Accepted" and verdict.action == "Authorize":
        accepted_before = since_us - 600_000_000 <= verdict.at_us <= since_us
        if accepted_before:
            return None  # the plug came later
    observed = all(way is None or way.observed for way in ways)  # None: the station has no such key
    return [
        Found(
            detail="StartTransaction while offline, and nothing allows the station to authorize by itself",
            severity=None if observed else Severity.DRIFT,
            connector_id=integer(step.payload.get("connectorId")),
            evidence=evidence,
            provenance=f"LocalAuthorizeOffline {ways[0].provenance}",
            key=str(step.event.frame.seq if step.event.frame else ""),
        )
    ]


def _own_us(step: Step) -> int | None:
    """The payload's time by the recorder's clock."""
    stamp = parse_stamp(word(step.payload.get("timestamp")))
    if stamp is None:
        return None
    clock = step.before.clock
    offset_us = clock.offset_us if clock.offset_us is not None else clock.csms_us or 0
    return stamp.at_us - offset_us


def _outage(state: StationState, at_us: int) -> Outage | None:
    held = (o for o in state.socket.outages if o.from_us + _EDGE_US < at_us < o.until_us - _EDGE_US)
    return next(held, None)
