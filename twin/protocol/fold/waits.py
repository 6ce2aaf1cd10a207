"""What a state waits for: begun and ended by the fold functions, fired by whoever keeps the time."""

from collections.abc import Iterator

from msgspec.structs import replace

from twin.model import Awaited, Event, EventKind, Side
from twin.protocol.fold.payloads import newest
from twin.protocol.state import Registration, StationState, Wait
from twin.protocol.timestamps import SECOND_US

DAY_US = 24 * 3600 * SECOND_US
_MOST = 512
_UNREGISTERED = frozenset({Registration.SENT, Registration.PENDING, Registration.REJECTED})  # 4.2
_UNBLOCKED = frozenset({Wait.PONG, Wait.OLD_LINK_ENDS})
# What outlives a connection, and what outlives a boot.
_LASTING = frozenset({Wait.OLD_LINK_ENDS, Wait.STOP_AFTER_RESET, Wait.BOOT_AFTER_RESET})
_PAST_BOOT = frozenset({Wait.OLD_LINK_ENDS, Wait.STOP_AFTER_RESET, Wait.RESEND, Wait.PONG})


def begin(
    state: StationState,
    wait: Wait,
    event: Event,
    within_us: int,
    *,
    key: int | None = None,
    connector_id: int | None = None,
    transaction_id: int | None = None,
) -> StationState:
    """Wait from ``event`` on; a wait for the same ``key`` that runs already is left alone."""
    place = (wait, key)
    if place in state.awaited:
        return state
    frame = event.frame or (event.asked.frame if event.asked else None)
    if frame is None or frame.facts.get("interpolated"):
        return state  # a log without times says nothing about time-outs
    awaited = Awaited(
        what=wait,
        due_us=event.at_us + within_us,
        since_us=event.at_us,
        seq=frame.seq,
        connector_id=connector_id,
        transaction_id=transaction_id,
        blocked_us=_blocked_us(state, event.at_us),
        key=key,
    )
    return replace(state, awaited=newest({**state.awaited, place: awaited}, _MOST))


def end(state: StationState, wait: Wait, key: int | None = None) -> StationState:
    """It came, or nobody waits for it any longer."""
    place = (wait, key)
    if place not in state.awaited:
        return state
    return replace(state, awaited={other: held for other, held in state.awaited.items() if other != place})


def link_ended(state: StationState) -> StationState:
    """Whatever could only come over the connection that is gone is no longer waited for (G2)."""
    return _keep(state, _LASTING)


def booted(state: StationState) -> StationState:
    """Whatever the state before the boot promised is no longer waited for (G2)."""
    return _keep(state, _PAST_BOOT)


def next_due_us(state: StationState) -> int | None:
    """The earliest moment at which something is overdue, as far as it can be said now.

    Time that the station spent waiting for answers to its own CALLs is added; while it waits for one, nothing
    that needs another CALL of it falls due.
    """
    return min((due_us for _, due_us in _due(state)), default=None)


def overdue(state: StationState, now_us: int) -> Awaited | None:
    """The first thing that is overdue at ``now_us``, with the time at which it became so."""
    late = [(held, due_us) for held, due_us in _due(state) if due_us <= now_us]
    if not late:
        return None
    held, due_us = min(late, key=lambda one: one[1])
    return replace(held, due_us=due_us)


def exchanged(state: StationState, event: Event, calling: bool) -> tuple[int | None, int]:
    """(``calling_us``, ``blocked_us``) after a CALL of the station (``calling``) or its answer."""
    if calling:
        return (state.calling_us if state.calling_us is not None else event.at_us), state.blocked_us
    if state.calling_us is None or event.asked is None or event.asked.sender is not Side.STATION:
        return state.calling_us, state.blocked_us
    return None, state.blocked_us + event.at_us - state.calling_us


def freed_us(state: StationState, event: Event) -> int:
    """When the station was last free after a failure or a long wait; what follows at once had waited."""
    asked = event.asked
    if event.kind is EventKind.CALLED or asked is None or asked.sender is not Side.STATION:
        return state.freed_us
    sent_us = asked.frame.at_us
    held_up = event.kind is not EventKind.ANSWERED or event.at_us - sent_us > 2 * SECOND_US
    return event.at_us if held_up or sent_us - state.freed_us < SECOND_US else state.freed_us


def heard(state: StationState, event: Event) -> StationState:
    """An exchange: from here on the station may be silent for the heartbeat interval, and no longer (4.6)."""
    frame = event.frame or (event.asked.frame if event.asked else None)
    if frame is None or (frame.mono_ns is None and not state.socket.whole):
        return state  # an imported log may be cut
    return begin(state, Wait.SILENT, event, 0)


def _silent_us(state: StationState) -> int | None:
    """When the station has been silent for too long: every exchange puts it off."""
    known = state.config.get("heartbeatinterval")
    interval_s = state.count_in_force("HeartbeatInterval") if known is not None else None
    last_us = state.last_exchange_us
    if not interval_s or last_us is None or state.registration in _UNREGISTERED:
        return None
    interval_us, slack = interval_s * SECOND_US, state.patience
    return last_us + interval_us + max(slack.timer_us, int(interval_us * slack.timer_share)) + 1


def _due(state: StationState) -> Iterator[tuple[Awaited, int]]:
    for place, held in state.awaited.items():
        if place[0] is Wait.SILENT:
            if state.calling_us is None and (silent_us := _silent_us(state)) is not None:
                since_us = state.last_exchange_us or 0
                yield replace(held, since_us=since_us, seq=state.last_exchange_seq), silent_us
        elif place[0] in _UNBLOCKED:
            yield held, held.due_us
        elif state.calling_us is None:
            yield held, held.due_us + max(state.blocked_us - held.blocked_us, 0)


def _blocked_us(state: StationState, now_us: int) -> int:
    return state.blocked_us + (now_us - state.calling_us if state.calling_us is not None else 0)


def _keep(state: StationState, lasting: frozenset[Wait]) -> StationState:
    held = {place: awaited for place, awaited in state.awaited.items() if place[0] in lasting}
    return state if len(held) == len(state.awaited) else replace(state, awaited=held)
