"""Generated conversations of a certified station, line by line, so that one thing can be altered."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from msgspec.structs import replace

from tests.engine.stations import (
    SECOND_US,
    Act,
    csms,
    plug,
    station,
    stimulus,
    tag,
    talk,
    unplug,
)
from twin.engine.csms import Script
from twin.model import Frame, Kind, Side

STATION, CSMS = Side.STATION, Side.CSMS
REFUSAL = '[4,"x","InternalError","",{}]'
BOOT_PENDING = '[3,"x",{"status":"Pending","currentTime":"2026-11-22T00:00:03.000Z","interval":60}]'
BOOT_REJECTED = '[3,"x",{"status":"Rejected","currentTime":"2026-11-22T00:00:03.000Z","interval":60}]'


@dataclass
class Line:
    """One frame; ``message`` is its OCPP-J array, ``text`` overrides it where that cannot say it."""

    at_us: int
    link: str
    kind: Kind = Kind.TEXT
    sender: Side | None = None
    message: list[Any] | None = None
    text: str | None = None
    data: bytes | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Talk:
    """A conversation as lines; every operation that alters gives a new one."""

    lines: list[Line]

    def frames(self) -> list[Frame]:
        ordered = sorted(self.lines, key=lambda line: line.at_us)
        return [_frame(number, line) for number, line in enumerate(ordered, start=1)]

    def calls(self, action: str, sender: Side = STATION, **wanted: Any) -> list[int]:
        """The places of the CALLs of this action whose payload has these values."""
        return [
            place
            for place, line in enumerate(self.lines)
            if line.message
            and line.message[0] == 2
            and line.sender is sender
            and line.message[2] == action
            and all(line.message[3].get(name) == value for name, value in wanted.items())
        ]

    def answer(self, call: int) -> int | None:
        """The place of the answer to the CALL at ``call``."""
        asked = self.lines[call]
        assert asked.message is not None
        for place in range(call + 1, len(self.lines)):
            line = self.lines[place]
            if line.message and line.message[0] in (3, 4) and line.message[1] == asked.message[1]:
                return place if line.sender is not asked.sender else None
        return None

    def payload(self, place: int) -> dict[str, Any]:
        message = self.lines[place].message
        assert message is not None
        return message[3] if message[0] == 2 else message[2]  # type: ignore[no-any-return]  # JSON

    def edit(self, place: int, change: Callable[[Line], Any]) -> "Talk":
        """``change`` alters a copy of one line."""
        lines = list(self.lines)
        lines[place] = copy.deepcopy(lines[place])
        change(lines[place])
        return Talk(lines)

    def put(self, place: int, **values: Any) -> "Talk":
        """The payload at ``place`` with these values; ``None`` removes a field."""

        def change(line: Line) -> None:
            assert line.message is not None
            payload = line.message[3] if line.message[0] == 2 else line.message[2]
            for name, value in values.items():
                if value is None:
                    payload.pop(name, None)
                else:
                    payload[name] = value

        return self.edit(place, change)

    def drop(self, *places: int | None) -> "Talk":
        return Talk([line for place, line in enumerate(self.lines) if place not in places])

    def without(self, *calls: int) -> "Talk":
        """Without these CALLs and their answers."""
        return self.drop(*calls, *(self.answer(call) for call in calls))

    def insert(self, after: int, *lines: Line) -> "Talk":
        return Talk([*self.lines[: after + 1], *lines, *self.lines[after + 1 :]])

    def say(
        self,
        after: int,
        sender: Side,
        action: str,
        payload: Any,
        answer: Any = None,
        *,
        later_s: float = 0.01,
    ) -> "Talk":
        """A CALL and its answer (a payload, an errorCode, none) right after the line at ``after``."""
        base = self.lines[after]
        at_us = base.at_us + int(later_s * SECOND_US)
        name = f"i{after}-{len(self.lines)}"
        lines = [Line(at_us, base.link, sender=sender, message=[2, name, action, payload])]
        if answer is not None:
            told = [4, name, answer, "", {}] if isinstance(answer, str) else [3, name, answer]
            lines.append(Line(at_us + 5_000, base.link, sender=sender.other, message=told))
        return self.insert(after, *lines)

    def move(self, place: int, by_s: float) -> "Talk":
        return self.edit(place, lambda line: setattr(line, "at_us", line.at_us + int(by_s * SECOND_US)))

    def quiet(self, wanted: Callable[[Line], bool] = lambda line: True) -> Iterator[int]:
        """The places of answers after which the station waits for nothing, a second before the next."""
        open_: set[str] = set()
        for place, line in enumerate(self.lines[:-1]):
            if line.message is None:
                continue
            if line.message[0] == 2:
                open_.add(line.message[1])
            else:
                open_.discard(line.message[1])
                if not open_ and self.lines[place + 1].at_us - line.at_us > SECOND_US and wanted(line):
                    yield place


def read(frames: list[Frame]) -> Talk:
    lines = []
    for frame in frames:
        message = json.loads(frame.text) if frame.text else None
        lines.append(
            Line(
                frame.at_us,
                frame.link,
                frame.kind,
                frame.sender,
                message,
                None,
                frame.data,
                dict(frame.facts),
            )
        )
    return Talk(lines)


def _frame(number: int, line: Line) -> Frame:
    text = line.text
    if text is None and line.message is not None:
        text = json.dumps(line.message, separators=(",", ":"), ensure_ascii=False)
    return Frame(
        seq=number,
        at_us=line.at_us,
        mono_ns=line.at_us * 1000,
        link=line.link,
        station="OTMK-0001",
        kind=line.kind,
        sender=line.sender,
        text=text,
        data=line.data,
        facts=line.facts,
    )


ALL_KEYS = stimulus(40, "GetConfiguration", {})
SOME_KEYS = stimulus(45, "GetConfiguration", {"key": ["ResetRetries", "ConnectionTimeOut", "Testing"]})


def _played(acts: list[tuple[float, Act]], script: Script, for_s: float, seed: int) -> list[Frame]:
    """Times as written for seed 1; otherwise all people and the CSMS come so many seconds later."""
    late_s = 7.3 * (seed - 1)
    late_us = int(late_s * SECOND_US)
    later = [(at_s + late_s, act) for at_s, act in acts]
    script.stimuli = [replace(one, at_us=one.at_us + late_us) for one in script.stimuli]
    hop_us = 40_000 + 17_000 * (seed - 1)
    return talk(station(acts=later, seed=seed), csms(script), for_s=for_s + late_s, hop_us=hop_us)


def _local(seed: int) -> list[Frame]:
    """Two cars, tagged, stopped by their tags and unplugged; then the first again."""
    acts: list[tuple[float, Act]] = [
        (100, plug(1)),
        (103, tag("TAG0001")),
        (130, plug(2, power_w=7_000)),
        (134, tag("TAG0002")),
        (760, tag("TAG0001")),
        (790, unplug(1)),
        (905, tag("TAG0002")),
        (940, unplug(2)),
        (1_000, plug(1)),
        (1_004, tag("TAG0003")),
        (1_330, tag("TAG0003")),
        (1_350, unplug(1)),
    ]
    return _played(acts, Script(interval_s=30, stimuli=[ALL_KEYS, SOME_KEYS]), 1_500, seed)


def _remote(seed: int) -> list[Frame]:
    """Started and stopped by the CSMS, one start in vain; availability, unlock, cache, data."""
    acts: list[tuple[float, Act]] = [(110, plug(3)), (700, unplug(3)), (1_600, plug(5)), (1_990, unplug(5))]
    stimuli = [
        ALL_KEYS,
        stimulus(120, "RemoteStartTransaction", {"connectorId": 3, "idTag": "TAG0009"}),
        stimulus(300, "UnlockConnector", {"connectorId": 3}),
        stimulus(320, "DataTransfer", {"vendorId": "org.example", "data": "x"}),
        stimulus(330, "ClearCache", {}),
        stimulus(640, "RemoteStopTransaction", {"transactionId": 0}, start=0),
        stimulus(800, "ChangeAvailability", {"connectorId": 7, "type": "Inoperative"}),
        stimulus(860, "ChangeAvailability", {"connectorId": 7, "type": "Operative"}),
        stimulus(900, "RemoteStartTransaction", {"connectorId": 4, "idTag": "TAG0008"}),
        stimulus(1_100, "ChangeConfiguration", {"key": "ResetRetries", "value": "3"}),
        stimulus(1_110, "GetConfiguration", {"key": ["ResetRetries"]}),
        stimulus(1_120, "ChangeConfiguration", {"key": "Testing", "value": "1"}),
        stimulus(1_130, "ChangeConfiguration", {"key": "NumberOfConnectors", "value": "4"}),
        stimulus(1_610, "RemoteStartTransaction", {"connectorId": 5, "idTag": "TAG0007"}),
        stimulus(1_930, "RemoteStopTransaction", {"transactionId": 0}, start=1),
    ]
    return _played(acts, Script(interval_s=30, stimuli=stimuli), 2_100, seed)


def _resets(seed: int) -> list[Frame]:
    """Both resets with a transaction each, one connector Unavailable all the while."""
    acts: list[tuple[float, Act]] = [
        (100, plug(1)),
        (103, tag("TAG0001")),
        (600, unplug(1)),
        (700, plug(2)),
        (703, tag("TAG0002")),
        (1_200, unplug(2)),
    ]
    stimuli = [
        ALL_KEYS,
        stimulus(200, "ChangeAvailability", {"connectorId": 9, "type": "Inoperative"}),
        stimulus(450, "Reset", {"type": "Soft"}),
        stimulus(1_000, "Reset", {"type": "Hard"}),
    ]
    return _played(acts, Script(interval_s=30, stimuli=stimuli), 1_500, seed)


def _outage(seed: int) -> list[Frame]:
    """Two transactions through an outage of five minutes, one stopped in it."""
    acts: list[tuple[float, Act]] = [
        (100, plug(1)),
        (103, tag("TAG0001")),
        (130, plug(2)),
        (134, tag("TAG0002")),
        (550, Act(do="link down")),
        (700, tag("TAG0002")),
        (850, Act(do="link up")),
        (1_300, tag("TAG0001")),
        (1_340, unplug(1)),
        (1_345, unplug(2)),
    ]
    return _played(acts, Script(interval_s=30, stimuli=[ALL_KEYS]), 1_500, seed)


def _refusals(seed: int) -> list[Frame]:
    """A CSMS that refuses one StopTransaction twice and one Authorize."""
    acts: list[tuple[float, Act]] = [
        (100, plug(1)),
        (103, tag("TAG0001")),
        (420, tag("TAG0001")),
        (430, unplug(1)),
        (900, plug(2)),
        (905, tag("NOBODY")),
        (930, unplug(2)),
    ]
    invalid = '[3,"x",{"idTagInfo":{"status":"Invalid"}}]'
    answers: dict[tuple[str, str], list[str | None]] = {
        ("StopTransaction", "TAG0001"): [REFUSAL, REFUSAL],
        ("Authorize", "NOBODY"): [invalid],
    }
    script = Script(interval_s=30, stimuli=[ALL_KEYS], answers=answers)
    return _played(acts, script, 1_100, seed)


def _waiting(first: str, seed: int) -> list[Frame]:
    """A CSMS that does not accept at once."""
    answers: dict[tuple[str, str], list[str | None]] = {("BootNotification", ""): [first]}
    stimuli = [stimulus(30, "GetConfiguration", {"key": ["ResetRetries"]})] if first == BOOT_PENDING else []
    return _played([], Script(interval_s=30, answers=answers, stimuli=stimuli), 200, seed)


def _cable(seed: int) -> list[Frame]:
    """An EV-side disconnect, and a fault with its recovery."""
    acts: list[tuple[float, Act]] = [
        (100, plug(1)),
        (103, tag("TAG0001")),
        (480, unplug(1)),
        (600, plug(3)),
        (640, Act(do="fault", connector_id=3, error_code="GroundFailure")),
        (700, Act(do="clear", connector_id=3)),
        (730, unplug(3)),
    ]
    return _played(acts, Script(interval_s=30, stimuli=[ALL_KEYS]), 800, seed)


SCENARIOS: dict[str, Callable[[int], list[Frame]]] = {
    "local": _local,
    "remote": _remote,
    "resets": _resets,
    "outage": _outage,
    "refusals": _refusals,
    "pending": lambda seed: _waiting(BOOT_PENDING, seed),
    "rejected": lambda seed: _waiting(BOOT_REJECTED, seed),
    "cable": _cable,
}


@cache
def scenario(name: str, seed: int = 1) -> Talk:
    """The same story; another ``seed`` has other latencies, and all of it begins later."""
    return read(SCENARIOS[name](seed))
