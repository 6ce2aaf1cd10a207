"""What a reader needs to believe a divergence: the messages before it, both states, the clause."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from twin.engine.recording import recording_of
from twin.engine.replay.outcome import Diff, Divergence, groups_of
from twin.model import Frame, Kind
from twin.protocol.fold import fold
from twin.protocol.state import Registration, StationState

MOST_GROUPS = 10  # on the first page
_BEFORE = 3  # messages before the one that differs

# OCPP 1.6 edition 2, by who starts the exchange: chapter 4 (station) and 5 (CSMS).
_CLAUSES = {
    "Authorize": "4.1", "BootNotification": "4.2", "DataTransfer": "4.3",
    "DiagnosticsStatusNotification": "4.4", "FirmwareStatusNotification": "4.5", "Heartbeat": "4.6",
    "MeterValues": "4.7", "StartTransaction": "4.8", "StatusNotification": "4.9", "StopTransaction": "4.10",
    "CancelReservation": "5.1", "ChangeAvailability": "5.2", "ChangeConfiguration": "5.3",
    "ClearCache": "5.4",
    "ClearChargingProfile": "5.5", "GetCompositeSchedule": "5.7", "GetConfiguration": "5.8",
    "GetDiagnostics": "5.9", "GetLocalListVersion": "5.10", "RemoteStartTransaction": "5.11",
    "RemoteStopTransaction": "5.12", "ReserveNow": "5.13", "Reset": "5.14", "SendLocalList": "5.15",
    "SetChargingProfile": "5.16", "TriggerMessage": "5.17", "UnlockConnector": "5.18",
    "UpdateFirmware": "5.19",
}  # fmt: skip


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The first divergence of a group, on both sides. ``…_frames`` are lines, the last one is where it is."""

    recorded_frames: tuple[str, ...]
    replayed_frames: tuple[str, ...]
    recorded_state: tuple[str, ...]
    replayed_state: tuple[str, ...]
    clause: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One replayed session as a report tells it. ``evidence`` belongs to the first groups, in order.

    ``streams`` names the recording's transactions as divergences do. ``facts`` are counters and lists by
    name, ``late_ms`` percentiles. ``error`` says why there was no replay.
    """

    capture: str
    station: str
    live_station: str
    passed: bool
    diff: Diff = Diff(0, ())
    evidence: tuple[Evidence, ...] = ()
    facts: dict[str, Any] = {}
    late_ms: dict[str, float] | None = None
    transactions: tuple[dict[str, Any], ...] = ()
    streams: tuple[str, ...] = ()
    played_s: float = 0.0
    error: str = ""


def went_through(facts: Mapping[str, Any]) -> bool:
    """Whether a replay went as it should, whatever the comparison says."""
    return facts.get("played_to_the_end", True) and not any(
        facts.get(name) for name in ("id_conflicts", "required_stimuli")
    )


def evidence_of(diff: Diff, recorded: Sequence[Frame], replayed: Sequence[Frame]) -> tuple[Evidence, ...]:
    """Evidence for the first divergence of each of the first groups."""
    firsts = [group[0] for group in groups_of(diff.divergences)[:MOST_GROUPS]]
    left = _States(recorded, [one.recorded_seq for one in firsts])
    right = _States(replayed, [one.replayed_seq for one in firsts])
    return tuple(
        Evidence(
            recorded_frames=left.before(one.recorded_seq),
            replayed_frames=right.before(one.replayed_seq),
            recorded_state=left.told(one.recorded_seq),
            replayed_state=right.told(one.replayed_seq),
            clause=clause_of(one),
        )
        for one in firsts
    )


def clause_of(divergence: Divergence) -> str:
    """Where the specification speaks of what differs."""
    if divergence.of_connections:
        return "OCPP-J 1.6 §3, RFC 6455 §7"
    changes = {change.path: change for change in divergence.changes}
    if (answer := changes.get("answer")) is not None:
        if "none" in (answer.recorded, answer.replayed):
            return "OCPP-J 1.6 §4.1.1"
        if "CALLERROR" in answer.recorded or "CALLERROR" in answer.replayed:
            return "OCPP-J 1.6 §4.2.3"
    clause = _CLAUSES.get(divergence.action)
    return f"OCPP 1.6 §{clause}" if clause else "OCPP-J 1.6 §4.2"


class _States:
    """One capture's messages and states around some of its frames; folded once."""

    def __init__(self, frames: Sequence[Frame], seqs: Iterable[int | None]) -> None:
        self._frames = [frame for frame in frames if frame.kind not in (Kind.STATS, Kind.PING, Kind.PONG)]
        self._place = {frame.seq: number for number, frame in enumerate(self._frames)}
        self._told: dict[int, tuple[str, ...]] = {}
        wanted = {seq for seq in seqs if seq is not None}
        if not wanted:
            return
        state = StationState()
        for event in recording_of(frames).events:
            if event.frame is not None and event.frame.seq in wanted:
                self._told.setdefault(event.frame.seq, state_lines(state))
            state = fold(state, event)

    def before(self, seq: int | None) -> tuple[str, ...]:
        place = self._place.get(seq or 0)
        if place is None:
            return ()
        return tuple(str(frame) for frame in self._frames[max(0, place - _BEFORE) : place + 1])

    def told(self, seq: int | None) -> tuple[str, ...]:
        return self._told.get(seq or 0, ())


def state_lines(state: StationState) -> tuple[str, ...]:
    """What is known of the station, in few words."""
    lines = []
    if state.registration is not Registration.UNKNOWN:
        lines.append(f"registration {state.registration.value}")
    lines += [f"connector {number} {held.status}" for number, held in sorted(state.connectors.items())]
    for number, transaction in state.transactions.items():
        register = "" if transaction.register_wh is None else f", register {transaction.register_wh:f} Wh"
        lines.append(f"transaction {number} on connector {transaction.connector_id}{register}")
    return tuple(lines)
