"""What a station owes between messages: waits it was told, what it stores and when, what it keeps."""

import itertools
import json
from typing import Any

import msgspec

from tests.engine.stations import (
    SECOND_US,
    START_US,
    Act,
    calls,
    csms,
    findings,
    plug,
    station,
    stimulus,
    tag,
    talk,
    unplug,
)
from twin.engine.csms import Script
from twin.engine.machine import Send
from twin.engine.station import PROFILES, Behaviour, Persist, Station
from twin.model import Severity
from twin.protocol.timestamps import parse_stamp

ONE = Behaviour(connectors=1)


class ByHand:
    """A durable station whose other end is the test: it says what it hears, the test answers."""

    def __init__(self, behaviour: Behaviour = ONE, held: dict[str, bytes] | None = None) -> None:
        self.kept: dict[str, bytes] = dict(held or {})
        ids = itertools.count(1)
        self.station = Station(
            behaviour,
            random=lambda: 0.5,
            new_message_id=lambda: f"s{next(ids)}",
            restored=self.kept,
            durable=True,
        )
        self.now_us = START_US
        self.log: list[Any] = []
        self.station.start(self.now_us)

    def later(self, seconds: float) -> None:
        until_us = self.now_us + int(seconds * SECOND_US)
        while (due_us := self.station.next_timer()) is not None and due_us <= until_us:
            self.now_us = max(self.now_us, due_us)
            self.station.handle_timer(self.now_us)
            self.take()
        self.now_us = until_us

    def take(self) -> list[Any]:
        commands: list[Any] = list(self.station.take())
        for command in commands:
            if isinstance(command, Persist):
                self.kept.pop(command.key, None)
                if command.value is not None:
                    self.kept[command.key] = command.value
        self.log += commands
        return commands

    def connect(self) -> list[Any]:
        self.station.connected(self.now_us)
        return self.take()

    def drop(self) -> None:
        self.station.disconnected(self.now_us)
        self.take()

    def say(self, *elements: Any) -> list[Any]:
        self.station.receive(json.dumps(elements), self.now_us)
        return self.take()

    def accept_all(self, but: str = "") -> None:
        """Answer every CALL until there is none, or one of the action ``but``."""
        now = "2026-11-22T00:00:00.000Z"
        tags = {"idTagInfo": {"status": "Accepted"}}
        answers = {"BootNotification": {"status": "Accepted", "interval": 300, "currentTime": now}}
        answers |= {"Authorize": tags, "StartTransaction": tags | {"transactionId": 7}}
        while waiting := list(self.station.uplink.in_flight):
            text = next(c.text for c in reversed(self.log) if isinstance(c, Send) and waiting[0] in c.text)
            action = json.loads(text)[2]
            if action == but:
                return
            self.say(3, waiting[0], answers.get(action, {}))

    def boots(self) -> int:
        return sum(isinstance(c, Send) and "BootNotification" in c.text for c in self.log)


def test_a_lost_link_does_not_shorten_the_wait_of_a_rejected_station() -> None:
    """4.2: nothing is sent until the interval it was told is over, on whichever link."""
    for status in ("Rejected", "Pending"):
        one = ByHand()
        one.later(5)
        one.connect()
        answer = {"status": status, "interval": 3_600, "currentTime": "2026-11-22T00:00:00.000Z"}
        one.say(3, "s1", answer)
        one.drop()
        one.later(60)
        one.connect()
        one.later(3_000)
        assert one.boots() == 1
        one.later(560)
        assert one.boots() == 2


def test_a_setting_is_stored_before_it_is_accepted() -> None:
    one = ByHand()
    one.later(5)
    one.connect()
    one.accept_all()
    written = {"key": "StopTxnSampledData", "value": ""}
    one.say(2, "c1", "ChangeConfiguration", written)
    one.later(1)
    places = {
        type(command).__name__: place
        for place, command in enumerate(one.log)
        if (isinstance(command, Persist) and command.key == "key/stoptxnsampleddata")
        or (isinstance(command, Send) and '"c1"' in command.text)
    }
    assert places["Persist"] < places["Send"]
    again = ByHand(held=one.kept)
    assert again.station.configuration.text("StopTxnSampledData") == ""


def test_a_scheduled_change_outlives_a_power_cut() -> None:
    """5.2: Scheduled was answered, so it comes when the transaction is over."""
    one = ByHand()
    one.later(5)
    one.connect()
    one.accept_all()
    one.station.act(plug(1), one.now_us)
    one.station.act(tag("TAG0001"), one.now_us)
    one.take()
    one.accept_all()
    one.say(2, "c1", "ChangeAvailability", {"connectorId": 1, "type": "Inoperative"})
    one.later(1)
    assert one.kept["scheduled/1"] == b"0"
    again = ByHand(held=one.kept)
    assert again.station.points[1].operative
    again.later(5)
    again.connect()
    again.accept_all()
    assert not again.station.points[1].operative
    assert again.kept["operative/1"] == b"0"
    assert "scheduled/1" not in again.kept
    assert again.station.points[1].status(again.now_us) == "Unavailable"


def test_a_csms_that_closes_at_once_is_called_less_and_less_often() -> None:
    one = ByHand()
    one.later(5)
    waits = []
    for _ in range(5):
        one.connect()
        one.drop()
        due_us = one.station.next_timer()
        assert due_us is not None
        waits.append((due_us - one.now_us) / SECOND_US)
        one.later(waits[-1])
    assert [round(wait) for wait in waits] == [1, 2, 4, 8, 17]


def test_a_retry_that_was_due_tomorrow_by_a_wrong_clock_is_due_at_the_next_connection() -> None:
    held = {
        "queue/1": msgspec.json.encode(
            {"seq": 1, "local_id": 0, "kind": "meter", "payload": {}, "attempts": 1, "next_us": START_US * 2}
        )
    }
    one = ByHand(held=held)
    one.later(5)
    one.connect()
    one.accept_all()
    assert any(isinstance(c, Send) and "MeterValues" in c.text for c in one.log)


def test_what_the_cache_holds_ends_with_its_expiry_date() -> None:
    """3.5.1: an entry that has expired is asked about."""
    info = {"status": "Accepted", "expiryDate": "2026-11-22T00:05:00Z"}
    answers: dict[tuple[str, str], list[str | None]] = {
        ("Authorize", "TAG0001"): [json.dumps([3, "x", {"idTagInfo": info}])] * 3
    }
    behaviour = msgspec.structs.replace(PROFILES["cache-offline"], connectors=2)
    pre = stimulus(40, "ChangeConfiguration", {"key": "LocalPreAuthorize", "value": "true"})
    acts: list[tuple[float, Act]] = [(60, tag("TAG0001")), (130, tag("TAG0001")), (400, tag("TAG0001"))]
    script = Script(interval_s=30, answers=answers, stimuli=[pre])
    frames = talk(station(behaviour, acts), csms(script), for_s=500)
    assert len(calls(frames, "Authorize")) == 2


def test_live_and_stop_data_of_a_slot_are_one_reading() -> None:
    behaviour = Behaviour(connectors=1, aligned_stamp="slot start")
    acts: list[tuple[float, Act]] = [(70, plug(1)), (75, tag("TAG0001")), (400, unplug(1))]
    frames = talk(station(behaviour, acts), csms(), for_s=420)
    live = {
        entry["timestamp"]: entry["sampledValue"]
        for one in calls(frames, "MeterValues")
        for entry in one["meterValue"]
        if entry["sampledValue"][0]["context"] == "Sample.Clock"
    }
    (stop,) = calls(frames, "StopTransaction")
    kept = {
        entry["timestamp"]: entry["sampledValue"]
        for entry in stop["transactionData"]
        if entry["sampledValue"][0]["context"] == "Sample.Clock"
    }
    assert kept == live
    assert len(kept) >= 4
    (start,) = calls(frames, "StartTransaction")
    began = parse_stamp(start["timestamp"])
    assert began is not None
    assert all((stamp := parse_stamp(text)) and stamp.at_us >= began.at_us for text in kept)


def test_writing_other_settings_holds_up_no_heartbeat() -> None:
    writes = [
        stimulus(40 + 20 * n, "ChangeConfiguration", {"key": "ConnectionTimeOut", "value": str(60 + n)})
        for n in range(15)
    ]
    frames = talk(station(ONE), csms(Script(interval_s=30, stimuli=writes)), for_s=360)
    assert len(calls(frames, "Heartbeat")) >= 10
    loud = [f for f in findings(frames) if f.severity in (Severity.ERROR, Severity.WARNING)]
    assert [f.detail for f in loud if f.rule == "P008"] == []


def test_a_number_that_is_none_stops_nothing() -> None:
    behaviour = Behaviour(connectors=1, quirks=frozenset({"accepts-invalid"}))
    write = stimulus(40, "ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "abc"})
    acts: list[tuple[float, Act]] = [(70, plug(1)), (75, tag("TAG0001")), (200, unplug(1))]
    frames = talk(station(behaviour, acts), csms(Script(interval_s=30, stimuli=[write])), for_s=260)
    assert len(calls(frames, "StopTransaction")) == 1


def test_a_lost_link_is_an_attempt_only_where_that_is_chosen() -> None:
    """3.7.1 is silent on it; three attempts are configured."""
    for counts, delivered in ((False, 1), (True, 0)):
        one = ByHand(Behaviour(connectors=1, link_loss_counts=counts))
        one.later(5)
        one.connect()
        one.accept_all()
        one.station.act(plug(1), one.now_us)
        one.station.act(tag("TAG0001"), one.now_us)
        one.take()
        one.accept_all(but="StartTransaction")
        for _ in range(2):
            one.drop()
            one.later(90)
            one.connect()
            one.accept_all(but="StartTransaction")
        start = next(c.text for c in reversed(one.log) if isinstance(c, Send) and "StartTr" in c.text)
        one.say(4, json.loads(start)[1], "InternalError", "", {})
        one.later(1)
        assert [queued.kind for queued in one.station.uplink.queue].count("start") == delivered


def test_the_tag_that_runs_it_is_asked_about_only_where_that_is_chosen() -> None:
    acts: list[tuple[float, Act]] = [(60, plug(1)), (65, tag("TAG0001")), (200, tag("TAG0001"))]
    for asks, number in ((False, 1), (True, 2)):
        frames = talk(station(Behaviour(connectors=1, stop_authorize=asks), acts), csms(), for_s=230)
        assert len(calls(frames, "Authorize")) == number
        assert len(calls(frames, "StopTransaction")) == 1


def test_authorize_remote_requests_may_be_read_only() -> None:
    for access, status in (("RW", "Accepted"), ("R", "Rejected")):
        one = ByHand(Behaviour(connectors=1, remote_key=access))  # type: ignore[arg-type]  # one of two words
        one.later(5)
        one.connect()
        one.accept_all()
        one.say(2, "c1", "ChangeConfiguration", {"key": "AuthorizeRemoteTxRequests", "value": "false"})
        one.later(1)
        assert any(isinstance(c, Send) and f'"c1",{{"status":"{status}"}}' in c.text for c in one.log)
