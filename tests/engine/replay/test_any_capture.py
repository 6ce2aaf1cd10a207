"""Whatever a capture holds, replayed against itself it is equal: late answers, lost ends, refusals, junk."""

import json
from random import Random
from typing import Any

import pytest

from tests.engine.replay.replays import compared, replayed
from twin.engine.replay.timing import timing_of
from twin.model import Frame, Kind, Side

SEEDS = range(400)
PAUSES_US = (0, 1_000, 10_000, 1_000_000, 31_000_000, 90_000_000)
JUNK = ("garbage", '[3,"zz",{}]', '[2,"q"]')
STATION, CSMS = Side


class Capture:
    """One made by chance. An id is given once and used later: else nobody could tell two apart."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)  # noqa: S311  # not for secrets
        self.frames: list[Frame] = []
        self.at_us = 1_790_000_000_000_000
        self.given: list[int] = []
        for number in range(self.chance.randint(1, 3)):
            self.link(f"L{number}")
            for attempt in range(self.chance.choice((0, 0, 0, 1, 2)) if self.ended else 0):
                self.add(
                    Kind.REFUSED, f"R{number}-{attempt}", facts={"status": self.chance.choice((401, 503))}
                )
                self.at_us += 3_000_000
        if self.ended and self.chance.random() < 0.2:  # one more that says nothing
            self.add(Kind.OPEN, "silent")

    def add(self, kind: Kind, link: str, sender: Side | None = None, **more: Any) -> None:
        made = {"seq": len(self.frames) + 1, "at_us": self.at_us, "station": "CP1"}
        self.frames.append(Frame(kind=kind, link=link, sender=sender, **made, **more))

    def link(self, name: str) -> None:
        chance = self.chance
        waiting: dict[Side, list[tuple[str, str]]] = {STATION: [], CSMS: []}
        if chance.random() < 0.8:
            self.add(Kind.OPEN, name)
        for _ in range(chance.randint(2, 12)):
            self.at_us += chance.choice(PAUSES_US)
            sender = chance.choice((STATION, CSMS))
            what = chance.random()
            if what < 0.45 and waiting[sender.other]:
                text = self.answer(*waiting[sender.other].pop(chance.randrange(len(waiting[sender.other]))))
            elif what < 0.95:
                message_id = f"{sender}-{len(self.frames)}"
                action, payload = self.call(sender)
                waiting[sender].append((message_id, action))
                text = json.dumps([2, message_id, action, payload])
            else:
                text = chance.choice(JUNK)
            self.add(Kind.TEXT, name, sender, text=text)
        self.ended = chance.random() < 0.6
        if self.ended:
            self.at_us += 1_000
            if chance.random() < 0.6:
                code = chance.choice((1000, 1001, 1008))
                self.add(Kind.CLOSE, name, chance.choice((STATION, CSMS)), facts={"code": code})
            self.add(Kind.END, name)
        self.at_us += chance.choice((1_000, 5_000_000))

    def call(self, sender: Side) -> tuple[str, dict[str, Any]]:
        chance = self.chance
        connector = chance.randint(1, 2)
        calls: list[tuple[str, dict[str, Any]]]
        if sender is STATION:
            calls = [
                ("BootNotification", {"chargePointVendor": "v"}),
                ("Heartbeat", {}),
                (
                    "StatusNotification",
                    {"connectorId": connector, "status": chance.choice(("Available", "Charging"))},
                ),
                (
                    "StartTransaction",
                    {"connectorId": connector, "idTag": chance.choice("AB"), "meterStart": 1},
                ),
                ("DataTransfer", {"vendorId": "v", "data": str(chance.randint(0, 2))}),
            ]
            if self.given:
                one = chance.choice(self.given)
                calls += [
                    ("MeterValues", {"connectorId": connector, "transactionId": one, "meterValue": []}),
                    ("StopTransaction", {"transactionId": one, "meterStop": chance.randint(1, 3)}),
                ]
        else:
            reservation = {"reservationId": len(self.frames)}
            calls = [
                ("RemoteStartTransaction", {"idTag": chance.choice("AB")}),
                ("GetConfiguration", {}),
                ("Reset", {"type": "Soft"}),
                ("TriggerMessage", {"requestedMessage": "Heartbeat"}),
                ("ReserveNow", {**reservation, "idTag": "A"}),
                ("CancelReservation", reservation),
            ]
            if self.given:
                calls.append(("RemoteStopTransaction", {"transactionId": chance.choice(self.given)}))
        return chance.choice(calls)

    def answer(self, message_id: str, action: str) -> str:
        if self.chance.random() < 0.1:
            return json.dumps([4, message_id, "GenericError", "x", {}])
        payload: dict[str, Any] = {"status": self.chance.choice(("Accepted", "Rejected"))}
        if action == "StartTransaction":
            self.given.append(len(self.frames))
            payload = {"transactionId": self.given[-1], "idTagInfo": {"status": "Accepted"}}
        return json.dumps([3, message_id, payload])


@pytest.mark.parametrize("timing", ["causal", "original"])
def test_any_capture_equals_itself(timing: str) -> None:
    wrong = []
    for seed in SEEDS:
        frames = Capture(seed).frames
        player, again = replayed(frames, timing_of(timing))
        found = compared(frames, again, timed=timing == "original")
        if not (found.equal and player.finished and not player.left and not player.conflicts):
            wrong.append((seed, len(frames), [(d.kind, d.action, d.recorded_seq) for d in found.divergences]))
    assert wrong == []
