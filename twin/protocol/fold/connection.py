"""Fold: the connection, its outages, control frames and gaps."""

from msgspec.structs import replace

from twin.model import Event, Kind, Side
from twin.protocol.fold import waits
from twin.protocol.state import Outage, Socket, StationState, Wait
from twin.protocol.timestamps import SECOND_US

_REMEMBERED_ATTEMPTS = 8
_REMEMBERED_OUTAGES = 16
_CROSSING_US = 1_000_000
EDGE_US = 5_000_000  # of an outage: the two clocks differ
_HEARTBEAT_S, _TIMEOUT_S = 300, 60  # where neither was observed nor certified: rather too long


def opened(state: StationState, event: Event) -> StationState:
    """A new WebSocket without Boot keeps transactions and configuration; connector status is unknown (G2)."""
    old, frame = state.socket, event.frame
    whole = frame is not None and not frame.facts.get("late", False)
    others = dict(old.others)
    if state.link_open_us is not None and state.link != event.link:
        others[state.link] = state.link_open_us
    others.pop(event.link, None)
    outages = old.outages
    if old.ended_us is not None and whole and not others:
        seq = frame.seq if frame else 0
        outage = Outage(old.ended_us, event.at_us, seq, old.ended_abruptly, old.ended_calling)
        outages = (*outages, outage)[-_REMEMBERED_OUTAGES:]
    socket = Socket(
        whole=whole,
        opened_us=event.at_us,
        opened_seq=frame.seq if frame else None,
        attempts=(*old.attempts, event.at_us)[-_REMEMBERED_ATTEMPTS:],
        refused=old.refused,
        others=others,
        outages=outages,
    )
    state = waits.link_ended(
        replace(
            state,
            link=event.link,
            link_open_us=event.at_us,
            socket=socket,
            last_exchange_us=None,
            calling_us=None,
            connectors={},
        )
    )
    if others and whole:
        allowed_s = (state.count_in_force("HeartbeatInterval") or _HEARTBEAT_S) + (
            state.count_in_force("MessageTimeout") or _TIMEOUT_S
        )
        state = waits.begin(state, Wait.OLD_LINK_ENDS, event, allowed_s * SECOND_US)
    return state


def closed(state: StationState, event: Event) -> StationState:
    """A Close frame changes nothing yet; the end of the socket, and a refused handshake, do."""
    kind = event.frame.kind if event.frame else None
    if kind is Kind.REFUSED:
        attempts = (*state.socket.attempts, event.at_us)[-_REMEMBERED_ATTEMPTS:]
        socket = replace(state.socket, attempts=attempts, refused=state.socket.refused + 1)
        return replace(state, socket=socket)
    if kind is not Kind.END:
        return state
    if event.link != state.link:
        others = {link: since for link, since in state.socket.others.items() if link != event.link}
        state = replace(state, socket=replace(state.socket, others=others))
        return state if others else waits.end(state, Wait.OLD_LINK_ENDS)
    abrupt = event.frame is not None and bool(event.frame.facts.get("abrupt"))
    calling = state.freed_us == event.at_us  # its CALL has just failed, for the link ended
    socket = replace(state.socket, ended_us=event.at_us, ended_abruptly=abrupt, ended_calling=calling)
    if event.at_us - state.boot_answered_us <= _CROSSING_US:  # the answer may never have arrived
        state = replace(state, boot_failed=True, retry_not_before_us=None)
    return waits.link_ended(replace(state, link_open_us=None, socket=socket, calling_us=None))


def gap(state: StationState, event: Event) -> StationState:
    """After a gap everything volatile is unknown; what the station said of itself stays (G2)."""
    return StationState(
        station=state.station,
        link=state.link,
        vendor=state.vendor,
        model=state.model,
        firmware=state.firmware,
        assumed=state.assumed,
        patience=state.patience,
        gaps=state.gaps + 1,
    )


def noted(state: StationState, event: Event) -> StationState:
    """A ping of the CSMS wants a pong of the station (RFC 6455 §5.5.3)."""
    kind = event.frame.kind if event.frame else None
    if kind is Kind.PING and event.sender is Side.CSMS:
        within_s = state.count_in_force("MessageTimeout") or _TIMEOUT_S
        return waits.begin(state, Wait.PONG, event, within_s * SECOND_US)
    if kind is Kind.PONG and event.sender is Side.STATION:
        return waits.end(state, Wait.PONG)
    return state


def refused(state: StationState, event: Event) -> StationState:
    """CALLERRORs on this connection are counted: some stations leave after a few (rule H014)."""
    if event.frame is None:
        return state
    errors = (*state.socket.errors, event.frame.seq)[-_REMEMBERED_ATTEMPTS:]
    errors_us = (*state.socket.errors_us, event.at_us)[-_REMEMBERED_ATTEMPTS:]
    return replace(state, socket=replace(state.socket, errors=errors, errors_us=errors_us))


def sent_live(state: StationState, seq: int) -> StationState:
    """A transaction message no older than its connection: the first on this one is kept (rule R003)."""
    if state.socket.live_seq is not None:
        return state
    return replace(state, socket=replace(state.socket, live_seq=seq))


def ran_on(state: StationState, seq: int, stamp_us: int, transaction_id: int) -> StationState:
    """A sample taken in the outage before, of a transaction from before it: the first is kept (rule H011)."""
    outage = state.socket.outages[-1] if state.socket.outages else None
    if outage is None or outage.until_us != state.socket.opened_us or state.socket.ran_on is not None:
        return state
    running = state.transactions.get(transaction_id)
    if running is None or running.arrived_us > outage.from_us:
        return state
    at_us = stamp_us - (state.clock.offset_us or state.clock.csms_us or 0)
    if not outage.from_us + EDGE_US < at_us < outage.until_us - EDGE_US:
        return state
    return replace(state, socket=replace(state.socket, ran_on=(seq, transaction_id)))


def from_queue(state: StationState, seq: int) -> StationState:
    """A message older than its connection was delivered: the first on this one is kept (rule R012)."""
    if state.socket.queue_seq is not None:
        return state
    return replace(state, socket=replace(state.socket, queue_seq=seq))
