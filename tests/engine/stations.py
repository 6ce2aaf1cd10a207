"""A station and a CSMS on a virtual clock: the scenarios that the tests of the station share."""

import itertools
import json
import random
from collections.abc import Iterable
from typing import Any

from twin.engine.analyzer import Analyzer
from twin.engine.csms import Csms, Script, Stimulus
from twin.engine.station import Act, Behaviour, Car, Station
from twin.engine.virtual import converse
from twin.model import Finding, Frame

SECOND_US = 1_000_000
START_US = 1_795_305_600 * SECOND_US  # 2026-11-22T00:00:00Z


def stimulus(at_s: float, action: str, payload: dict[str, Any], *, start: int | None = None) -> Stimulus:
    """A CALL of the CSMS at ``at_s``; ``start`` is the ordinal of the transaction it means."""
    text = json.dumps([2, "x", action, payload], separators=(",", ":"))
    return Stimulus(text, action, 0, start, START_US + int(at_s * SECOND_US))


def station(
    behaviour: Behaviour | None = None, acts: Iterable[tuple[float, Act]] = (), seed: int = 1, **more: Any
) -> Station:
    ids = itertools.count(1)
    timed = [(START_US + int(at_s * SECOND_US), act) for at_s, act in acts]
    made = Station(
        behaviour,
        random=random.Random(seed).random,  # noqa: S311  # a seeded station, no secret
        new_message_id=lambda: f"s{next(ids)}",
        acts=timed,
        **more,
    )
    made.start(START_US)
    return made


def csms(script: Script | None = None) -> Csms:
    ids, transactions = itertools.count(1), itertools.count(101)
    return Csms(
        script or Script(interval_s=30),
        new_message_id=lambda: f"c{next(ids)}",
        new_transaction_id=lambda: next(transactions),
    )


def talk(one: Station, other: Csms, *, for_s: float, hop_us: int = 40_000) -> list[Frame]:
    return converse(
        one,
        other,
        station_id="OTMK-0001",
        start_us=START_US,
        until_us=START_US + int(for_s * SECOND_US),
        connected=False,
        hop_us=hop_us,
    )


def findings(frames: Iterable[Frame]) -> list[Finding]:
    analyzer = Analyzer()
    found = [finding for frame in frames for finding in analyzer.receive(frame)]
    return [*found, *analyzer.finish()]


def calls(frames: Iterable[Frame], action: str) -> list[dict[str, Any]]:
    """The payloads of every CALL of this action, in order."""
    said = [json.loads(frame.text) for frame in frames if frame.text]
    return [message[3] for message in said if message[0] == 2 and message[2] == action]


def plug(connector_id: int, **car: Any) -> Act:
    return Act(do="plug", connector_id=connector_id, car=Car(**car))


def unplug(connector_id: int) -> Act:
    return Act(do="unplug", connector_id=connector_id)


def tag(name: str) -> Act:
    return Act(do="tag", tag=name)


# Everything a station does in a day, in two hours: what each quirk needs to show itself is in it.
BUSY_S = 7_200.0
BUSY_ACTS: tuple[tuple[float, Act], ...] = (
    (70, plug(1)),
    (75, tag("TAG0001")),
    (80, plug(2)),
    (85, tag("TAG0002")),
    (700, tag("TAG0001")),  # stops where it started
    (760, unplug(1)),
    (900, unplug(2)),  # at the EV's side
    (1_000, plug(1)),
    (1_005, tag("TAG0003")),
    (1_330, Act(do="link down")),
    (1_350, plug(4)),
    (1_400, tag("TAG0003")),  # stops offline
    (1_430, Act(do="link up")),
    (1_600, unplug(1)),
    (1_610, unplug(4)),
    (1_700, plug(1)),
    (1_705, tag("TAG0005")),
    (3_000, plug(3)),
    (3_200, plug(5)),
    (3_205, tag("TAG0006")),
    (4_500, tag("TAG0006")),
    (4_600, unplug(5)),
    (4_700, plug(6)),
    (4_720, tag("TAG0007")),
    (5_600, unplug(6)),
)
CERTIFIED_MEASURANDS = "Energy.Active.Import.Register,Current.Import,Voltage"
_INSIDE_CORE = {"key": "MeterValueSampleInterval"}
PROFILE: dict[str, Any] = {
    "connectorId": 1,
    "csChargingProfiles": {
        "chargingProfileId": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Relative",
        "chargingSchedule": {
            "chargingRateUnit": "A",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16}],
        },
    },
}
BUSY_STIMULI: tuple[Stimulus, ...] = (
    stimulus(120, "GetConfiguration", {}),
    stimulus(130, "UnlockConnector", {"connectorId": 1}),
    stimulus(
        140,
        "ChangeConfiguration",
        {
            "key": "MeterValuesSampledData",
            "value": "Energy.Active.Import.Register,Current.Import,Voltage,SoC",
        },
    ),
    stimulus(150, "ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "-1"}),
    stimulus(160, "ChangeConfiguration", {"key": "Testing", "value": "true"}),
    stimulus(170, "ChangeConfiguration", {"key": "ResetRetries", "value": "2"}),
    stimulus(180, "GetConfiguration", {"key": ["ResetRetries"]}),
    stimulus(190, "ChangeConfiguration", {"key": "ResetRetries", "value": "3"}),
    stimulus(200, "DataTransfer", {"vendorId": "org.example"}),
    stimulus(
        210,
        "SetChargingProfile",
        PROFILE,
    ),
    stimulus(2_200, "Reset", {"type": "Soft"}),
    stimulus(3_010, "RemoteStartTransaction", {"connectorId": 3, "idTag": "TAG0009"}),
    stimulus(3_600, "ChangeAvailability", {"connectorId": 7, "type": "Inoperative"}),
    stimulus(3_650, "ChangeAvailability", {"connectorId": 7, "type": "Operative"}),
    stimulus(5_800, "ChangeAvailability", {"connectorId": 8, "type": "Inoperative"}),
    stimulus(6_000, "Reset", {"type": "Hard"}),
)


def busy(behaviour: Behaviour | None = None, seed: int = 1) -> list[Frame]:
    """Two hours of everything, against a CSMS that refuses one StopTransaction for a while."""
    refusal = '[4,"x","InternalError","",{}]'
    answers = {("StopTransaction", "TAG0006"): [refusal, refusal]}
    script = Script(interval_s=30, answers=answers, stimuli=list(BUSY_STIMULI))
    return talk(station(behaviour, BUSY_ACTS, seed), csms(script), for_s=BUSY_S)
