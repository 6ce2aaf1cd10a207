"""What the traffic shows of each station, collected step by step in bounded memory, for the sheet."""

from collections.abc import Callable
from typing import Any

import msgspec

from twin.certificate.profile import SPEC, Profile
from twin.engine.latencies import Latencies, Place
from twin.engine.parts import MOST_TRANSACTIONS, Curve, Part
from twin.engine.settings_seen import KeySeen, Sighting, Source, sightings
from twin.engine.triggered import Promises
from twin.model import EventKind, Kind, Side
from twin.protocol import metering
from twin.protocol.fold import integer, word
from twin.protocol.timestamps import parse_stamp
from twin.rules import Step

_MOST_STATIONS = 1_000
_MOST_ACTIONS = 128
_MOST_KEYS = 4096
_MOST_CONNECTORS = 256
_MOST_IDENTITIES = 16
_UNTIMED = frozenset({"GetDiagnostics", "UpdateFirmware", "RemoteStartTransaction"})
# A confirmation with one of these says no. GetLocalListVersion and GetDiagnostics have no status.
_REFUSING = frozenset(
    {
        "Rejected", "NotSupported", "NotImplemented", "UnlockFailed", "Failed", "VersionMismatch", "Faulted",
        "Occupied", "Unavailable", "Unknown", "UnknownMessageId", "UnknownVendorId",
    }
)  # fmt: skip


class Use(msgspec.Struct):
    """How often an action was asked for by one side, and what the other said to it."""

    asked: int = 0
    accepted: int = 0
    refused: int = 0
    silent: int = 0
    first: Place | None = None
    accepted_at: Place | None = None
    answers: dict[str, Place] = msgspec.field(default_factory=dict)  # status or error code, first seen


class Identity(msgspec.Struct, frozen=True):
    """What BootNotification.req says of the station."""

    vendor: str = ""
    model: str = ""
    firmware: str = ""
    serial: str = ""


class Observation(msgspec.Struct):
    """Everything the sheet says of one station. ``took`` is by row of the picture, ``parts`` by capture.

    ``traffic`` holds by configuration key what the traffic lets one conclude of its value: measurands as
    words, intervals as :class:`Latencies`. Never truth, only consistent or not.
    """

    station: str
    profile: Profile = SPEC
    identities: dict[Identity, Place] = msgspec.field(default_factory=dict)
    uses: dict[tuple[Side, str], Use] = msgspec.field(default_factory=dict)
    settings: dict[str, KeySeen] = msgspec.field(default_factory=dict)
    listed: Sighting | None = None  # the newest GetConfiguration that asked for every key
    response: Latencies = msgspec.field(default_factory=Latencies)
    remote_start: Latencies = msgspec.field(default_factory=Latencies)
    triggered: Latencies = msgspec.field(default_factory=Latencies)
    took: dict[str, Latencies] = msgspec.field(default_factory=dict)
    stamps: int = 0
    fractional: int = 0
    fraction_at: Place | None = None
    connections: int = 0
    gaps: int = 0
    controls: int = 0
    pings: int = 0
    connector_ids: dict[int, Place] = msgspec.field(default_factory=dict)
    measurands: dict[str, dict[str, Place]] = msgspec.field(default_factory=dict)
    spacing: dict[str, Latencies] = msgspec.field(default_factory=dict)
    parts: dict[int, Part] = msgspec.field(default_factory=dict)

    @property
    def messages(self) -> int:
        return sum(part.messages for part in self.parts.values())

    @property
    def identity(self) -> Identity | None:
        """The newest identity, ``None`` where no BootNotification was seen."""
        return next(reversed(self.identities), None)

    def use(self, sender: Side, action: str) -> Use:
        """How ``sender`` used the action; all zero where it did not."""
        return self.uses.get((sender, action)) or Use()


class Observer:
    """Takes the steps of one capture after another: ``begin(0)``, ``see`` each, ``begin(1)`` …, ``end``.

    ``left_out`` counts the steps of stations beyond the first thousand.
    """

    def __init__(self) -> None:
        self.stations: dict[str, Observation] = {}
        self.left_out = 0
        self._capture = 0
        self._promises: dict[str, Promises] = {}

    def begin(self, capture: int) -> None:
        """What was waited for in the capture before does not come in this one."""
        self.end()
        self._capture = capture

    def end(self) -> None:
        """What is known lasts to the last frame of its capture and no longer."""
        self._promises.clear()
        for seen in self.stations.values():
            for part in seen.parts.values():
                part.close_all(part.last_us)

    def see(self, step: Step) -> None:
        event = step.event
        name = event.station or event.link
        if not name:
            return
        seen = self.stations.get(name)
        if seen is None:
            if len(self.stations) >= _MOST_STATIONS:
                self.left_out += 1
                return
            seen = self.stations[name] = Observation(name)
        if step.profile.certificate is not None or seen.profile.certificate is None:
            seen.profile = step.profile
        part = seen.parts.get(self._capture)
        if part is None:
            part = seen.parts[self._capture] = Part(event.at_us, event.at_us)
        part.last_us = max(part.last_us, event.at_us)
        frame = event.frame
        if frame is None:
            self._timed_out(seen, step)
            return
        place = Place(self._capture, frame.seq)
        if frame.kind is Kind.TEXT:
            part.messages += 1
        for kind in (event.kind, (event.kind, event.action)):
            for look in _LOOKS.get(kind, ()):
                look(seen, part, step, place)
        if (done := self._promises.setdefault(name, Promises()).see(step)) is not None:
            row, took_us = done
            seen.triggered.add(took_us, place)
            _took(seen, row, took_us, place)

    def _timed_out(self, seen: Observation, step: Step) -> None:
        asked = step.event.asked
        if step.event.kind is EventKind.TIMED_OUT and asked is not None:
            use = seen.uses.get((asked.sender, step.event.action))
            if use is not None:
                use.silent += 1


# --- links --------------------------------------------------------------------------------------------------


def _opened(seen: Observation, part: Part, step: Step, place: Place) -> None:
    seen.connections += 1


def _closed(seen: Observation, part: Part, step: Step, place: Place) -> None:
    if step.event.frame is not None and step.event.frame.kind is Kind.END:
        part.close_all(step.event.at_us)


def _gap(seen: Observation, part: Part, step: Step, place: Place) -> None:
    seen.gaps += 1
    part.close_all(step.event.at_us)


def _noted(seen: Observation, part: Part, step: Step, place: Place) -> None:
    kind = step.event.frame.kind if step.event.frame is not None else None
    if kind in (Kind.PING, Kind.PONG):
        seen.controls += 1
        seen.pings += kind is Kind.PING and step.event.sender is Side.STATION


# --- messages -----------------------------------------------------------------------------------------------


def _called(seen: Observation, part: Part, step: Step, place: Place) -> None:
    event = step.event
    if event.sender is None:
        return
    use = seen.uses.get((event.sender, event.action))
    if use is None:
        if len(seen.uses) >= _MOST_ACTIONS:
            return
        use = seen.uses[event.sender, event.action] = Use(first=place)
    use.asked += 1
    if event.sender is Side.STATION:
        for _, text in step.stamps:
            stamp = parse_stamp(text)
            seen.stamps += 1
            if stamp is not None and stamp.fraction_digits:
                seen.fractional += 1
                seen.fraction_at = seen.fraction_at or place


def _answered(seen: Observation, part: Part, step: Step, place: Place) -> None:
    event = step.event
    if event.asked is None or event.sender is None:
        return
    use = seen.uses.get((event.asked.sender, event.action))
    if use is not None:
        code = getattr(event.message, "code", None)
        said = word(code if event.kind is EventKind.REFUSED else step.payload.get("status"))[:40]
        if said and len(use.answers) < 16:
            use.answers.setdefault(said, place)
        if event.kind is EventKind.ANSWERED and _accepts(event.action, step.payload):
            use.accepted += 1
            use.accepted_at = use.accepted_at or place
        else:
            use.refused += 1
    if event.took_us is None:
        return
    if event.sender is Side.STATION and event.action not in _UNTIMED:
        seen.response.add(event.took_us, place)
    elif event.sender is Side.STATION and event.action == "RemoteStartTransaction":
        seen.remote_start.add(event.took_us, place)
    side = "station" if event.sender is Side.STATION else "CSMS"
    _took(seen, f"{event.action[:50]} ({side})", event.took_us, place)


def _took(seen: Observation, row: str, took_us: int, place: Place) -> None:
    if row in seen.took or len(seen.took) < _MOST_ACTIONS:
        seen.took.setdefault(row, Latencies()).add(took_us, place)


def _accepts(action: str, payload: dict[str, Any]) -> bool:
    if action == "GetLocalListVersion":
        return (integer(payload.get("listVersion")) or 0) >= 0 and "listVersion" in payload
    if action == "GetDiagnostics":
        return "fileName" in payload
    return payload.get("status") not in _REFUSING


def _booted(seen: Observation, part: Part, step: Step, place: Place) -> None:
    serials = (step.payload.get("chargePointSerialNumber"), step.payload.get("chargeBoxSerialNumber"))
    serial = next(filter(None, map(word, serials)), "")
    identity = Identity(step.after.vendor, step.after.model, step.after.firmware, serial)
    if identity in seen.identities or len(seen.identities) < _MOST_IDENTITIES:
        seen.identities[identity] = seen.identities.pop(identity, place)


def _status(seen: Observation, part: Part, step: Step, place: Place) -> None:
    connector_id = integer(step.payload.get("connectorId"))
    if connector_id is None:
        return
    part.told(connector_id, word(step.payload.get("status"))[:40], step.event.at_us, place.seq)
    if len(seen.connector_ids) < _MOST_CONNECTORS:
        seen.connector_ids.setdefault(connector_id, place)


def _metered(seen: Observation, part: Part, step: Step, place: Place) -> None:
    stopped = step.event.action == "StopTransaction"
    for sample in step.samples:
        keys = _METERED.get(sample.context)
        if keys is not None:
            seen.measurands.setdefault(keys[stopped], {}).setdefault(sample.measurand[:50], place)
    transaction_id = integer(step.payload.get("transactionId"))
    if stopped or transaction_id is None:
        return
    for sample in step.meter_values:
        if (register := metering.energy_wh(sample)) is not None:
            curve = part.energy.get(transaction_id)
            if curve is None:
                if len(part.energy) >= MOST_TRANSACTIONS:
                    part.dropped += 1
                    return
                curve = part.energy[transaction_id] = Curve()
            curve.add(step.event.at_us, register[0])


def _spaced(seen: Observation, part: Part, step: Step, place: Place) -> None:
    connector_id = integer(step.payload.get("connectorId"))
    if connector_id is None:
        return
    for context, key in (
        ("Sample.Periodic", "MeterValueSampleInterval"),
        ("Sample.Clock", "ClockAlignedDataInterval"),
    ):
        before = step.before.sampling.get((connector_id, context))
        after = step.after.sampling.get((connector_id, context))
        if before is None or after is None or after.stamp_us <= before.stamp_us:
            continue
        if before.transaction_id == after.transaction_id:
            seen.spacing.setdefault(key, Latencies()).add(after.stamp_us - before.stamp_us, place)


def _configured(seen: Observation, part: Part, step: Step, place: Place) -> None:
    if step.event.action == "GetConfiguration" and not step.asked.get("key"):
        seen.listed = Sighting(Source.ABSENT, None, place, step.event.at_us)
    for key, sighting in sightings(step, place):
        folded = key.casefold()
        known = seen.settings.get(folded)
        if known is None:
            if len(seen.settings) >= _MOST_KEYS:
                return
            known = seen.settings[folded] = KeySeen(key)
        known.add(sighting)


# context → key that decides over MeterValues, key that decides over StopTransaction
_METERED = {
    "Sample.Periodic": ("MeterValuesSampledData", "StopTxnSampledData"),
    "Sample.Clock": ("MeterValuesAlignedData", "StopTxnAlignedData"),
}
_LOOKS: dict[object, tuple[Callable[[Observation, Part, Step, Place], None], ...]] = {
    EventKind.OPENED: (_opened,),
    EventKind.CLOSED: (_closed,),
    EventKind.RESET: (_gap,),
    EventKind.NOTED: (_noted,),
    EventKind.CALLED: (_called,),
    EventKind.ANSWERED: (_answered,),
    EventKind.REFUSED: (_answered,),
    (EventKind.CALLED, "BootNotification"): (_booted,),
    (EventKind.CALLED, "StatusNotification"): (_status,),
    (EventKind.CALLED, "MeterValues"): (_metered, _spaced),
    (EventKind.CALLED, "StopTransaction"): (_metered,),
    (EventKind.ANSWERED, "GetConfiguration"): (_configured,),
    (EventKind.ANSWERED, "ChangeConfiguration"): (_configured,),
    (EventKind.ANSWERED, "BootNotification"): (_configured,),
}
