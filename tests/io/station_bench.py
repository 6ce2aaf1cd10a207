"""A real station against our CSMS on a clock that the test moves, and the page's view of it."""

import itertools
import json
import random
from collections import deque
from typing import Any

from tests.engine.stations import START_US
from twin.engine.analyzer import Analyzer
from twin.engine.csms import Csms, Script
from twin.engine.machine import Close, Connect, Send
from twin.engine.station import Act, Behaviour, Station
from twin.io.station_page import StationPage
from twin.model import Frame, Kind, Side

HOP_US = 20_000


class Bench:
    """The ``StationView`` of a station that talks at once; ``later`` moves the clock."""

    def __init__(self, token: str, connectors: int = 20) -> None:
        message_ids, call_ids, transactions = itertools.count(1), itertools.count(1), itertools.count(101)
        self.station = Station(
            Behaviour(connectors=connectors, boot_ms=0, backoff_s=(1, 1), finishing_ms=500),
            random=random.Random(1).random,  # noqa: S311  # a seeded station, no secret
            new_message_id=lambda: f"s{next(message_ids)}",
        )
        self.csms = Csms(
            Script(interval_s=300),
            new_message_id=lambda: f"c{next(call_ids)}",
            new_transaction_id=lambda: next(transactions),
        )
        self.page = StationPage(self, token=token)
        self.now_us = START_US
        self.acts: list[Act] = []
        self._analyzer = Analyzer()
        self._seq = itertools.count(1)
        self._asked: dict[str, tuple[str, int]] = {}
        self._texts: deque[tuple[Side, str]] = deque()
        self._meter_from: dict[int, tuple[int | None, int]] = {}
        self.station.start(self.now_us)
        self.later(1)

    # --- StationView ----------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        station = self.station
        return {
            "station": "OTMK-0001",
            "csms": "ws://127.0.0.1:9000/ocpp/OTMK-0001",
            "online": station.online,
            "registration": str(station.registration),
            "powered": station.powered,
            "network": station.network,
            "queue": len(station.uplink.queue),
            "connectors": [station.connector(number, self.now_us) for number in station.points],
        }

    def act(self, act: Act) -> None:
        self.acts.append(act)
        self.station.act(act, self.now_us)
        self._talk()
        self.page.changed()

    # --- the clock and the wire -----------------------------------------------------------------------------

    def later(self, seconds: float) -> None:
        """So much later: every timer has fired at its time, every message is answered."""
        until_us = self.now_us + int(seconds * 1e6)
        self._talk()
        while (due_us := self._next()) is not None and due_us <= until_us:
            self.now_us = max(self.now_us, due_us)
            self.station.handle_timer(self.now_us)
            self.csms.handle_timer(self.now_us)
            self._talk()
        self.now_us = max(self.now_us, until_us)
        self.page.changed()

    def _next(self) -> int | None:
        dues = [machine.next_timer() for machine in (self.station, self.csms)]
        return min((due_us for due_us in dues if due_us is not None), default=None)

    def _talk(self) -> None:
        self._collect()
        while self._texts:
            to, text = self._texts.popleft()
            self.now_us += HOP_US
            (self.station if to is Side.STATION else self.csms).receive(text, self.now_us)
            self._collect()

    def _collect(self) -> None:
        for command in self.csms.take():
            if isinstance(command, Send) and self.station.up:
                self._pass(Side.CSMS, command.text)
        for command in self.station.take():
            match command:
                case Connect():
                    self._frame(Kind.OPEN, None, None)
                    self.csms.connected(self.now_us)
                    self.station.connected(self.now_us)
                    return self._collect()
                case Send():
                    self._pass(Side.STATION, command.text)
                case Close():
                    self._texts.clear()
                    self._frame(Kind.END, None, None)
                    self.csms.disconnected(self.now_us)
                    if self.station.up:
                        self.station.disconnected(self.now_us)
        return None

    def _pass(self, sender: Side, text: str) -> None:
        found = self._frame(Kind.TEXT, sender, text)
        message = json.loads(text)
        kind = {2: "call", 3: "result", 4: "error"}[message[0]]
        action, since_us = (message[2], None) if kind == "call" else self._asked.pop(message[1])
        if kind == "call":
            self._asked[message[1]] = (action, self.now_us)
        entry = {
            "seq": found[0],
            "at_us": self.now_us,
            "sender": sender.value,
            "kind": kind,
            "action": action,
            "message_id": message[1],
            "text": text,
            "round_trip_ms": None if since_us is None else (self.now_us - since_us) / 1000,
            "findings": found[1],
        }
        self.page.message(entry)
        self._texts.append((sender.other, text))

    def _frame(self, kind: Kind, sender: Side | None, text: str | None) -> tuple[int, list[dict[str, str]]]:
        frame = Frame(
            seq=next(self._seq),
            at_us=self.now_us,
            mono_ns=self.now_us * 1000,
            link="v1",
            station="OTMK-0001",
            kind=kind,
            sender=sender,
            text=text,
        )
        findings = [
            {"rule": finding.rule, "severity": finding.severity.value, "message": finding.detail}
            for finding in self._analyzer.receive(frame)
        ]
        return frame.seq, findings
