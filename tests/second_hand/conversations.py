"""Scripted conversations between an OTM-K and its CSMS, as lists of exchanges that can be found and altered.

A :class:`Builder` lets time pass and speaks for both sides; what comes due meanwhile (heartbeats, samples,
clock-aligned samples, retries) is said at its time, one CALL at a time. The stamps in the payloads lie about
0.1 s before the frames. Everything is decided by the seed.
"""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from twin.certificate import load
from twin.model import Frame, Kind, Side
from twin.protocol.timestamps import format_us

CP, CS = Side.STATION, Side.CSMS
START_US = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z
BOOT = {
    "chargePointVendor": "MANAGEON",
    "chargePointModel": "OctoFLEX (OTM-K)",
    "chargePointSerialNumber": "OTMK-000042",
    "firmwareVersion": "1.0.1",
}
OPEN = {
    "path": "/ocpp/CP1",
    "subprotocols_offered": ["ocpp1.6"],
    "subprotocol": "ocpp1.6",
    "peer": "10.20.0.42:50312",
    "tls": False,
}
ENERGY = "Energy.Active.Import.Register"
ACCEPTED = {"idTagInfo": {"status": "Accepted"}}
MINUTE_US = 60_000_000
TX_ACTIONS = ("StartTransaction", "MeterValues", "StopTransaction")


def stamp(at_us: float) -> str:
    """A payload stamp with milliseconds and ``Z``."""
    return f"{format_us(int(at_us))[:23]}Z"


@dataclass
class Refused:
    """A CALLERROR."""

    code: str
    description: str = ""
    details: Any = field(default_factory=dict)


@dataclass
class Exchange:
    """A CALL and its answer ``took_us`` later: a payload, a :class:`Refused` or none.

    ``part`` says what it is for in the conversation: boot, status, sample, aligned, start, stop, queued ...;
    the texts stand in for what would be written.
    """

    at_us: int
    link: str
    sender: Side
    id: str
    action: str
    payload: Any
    answer: Any = None
    took_us: int = 0
    part: str = ""
    connector: int | None = None
    call_text: str | None = None
    answer_text: str | None = None
    answer_id: str | None = None

    @property
    def answered_us(self) -> int:
        return self.at_us + self.took_us

    def texts(self) -> Iterator[tuple[int, Side, str]]:
        yield self.at_us, self.sender, self.call_text or wire(2, self.id, self.action, self.payload)
        message_id = self.answer_id or self.id
        if self.answer_text is not None:
            yield self.answered_us, self.sender.other, self.answer_text
        elif isinstance(self.answer, Refused):
            refused = self.answer
            text = wire(4, message_id, refused.code, refused.description, refused.details)
            yield self.answered_us, self.sender.other, text
        elif self.answer is not None:
            yield self.answered_us, self.sender.other, wire(3, message_id, self.answer)


@dataclass
class Happening:
    """Anything else at its time: the socket opens or ends, a ping, a text that belongs to no exchange."""

    at_us: int
    link: str
    kind: Kind
    sender: Side | None = None
    text: str | None = None
    data: bytes | None = None
    facts: dict[str, Any] = field(default_factory=dict)


type Item = Exchange | Happening


def wire(*elements: Any) -> str:
    return json.dumps(list(elements), separators=(",", ":"))


@dataclass
class Conversation:
    """What was said, in the order of its beginning; ``allowed`` are the rules it may break by design."""

    name: str
    seed: int
    items: list[Item]
    allowed: frozenset[str] = frozenset()

    def copy(self) -> "Conversation":
        return deepcopy(self)

    def find(
        self,
        action: str = "",
        *,
        part: str | tuple[str, ...] = "",
        connector: int | None = None,
        sender: Side | None = None,
        where: Callable[[Exchange], bool] = lambda _: True,
    ) -> list[Exchange]:
        """Every exchange that fits, in order."""
        parts = (part,) if isinstance(part, str) and part else tuple(part)
        return [
            item
            for item in self.items
            if isinstance(item, Exchange)
            and action in ("", item.action)
            and (not parts or item.part in parts)
            and connector in (None, item.connector)
            and sender in (None, item.sender)
            and where(item)
        ]

    def happened(self, kind: Kind) -> list[Happening]:
        return [item for item in self.items if isinstance(item, Happening) and item.kind is kind]

    def drop(self, *unwanted: Item) -> None:
        gone = {id(item) for item in unwanted}
        self.items = [item for item in self.items if id(item) not in gone]

    def add(self, *wanted: Item) -> None:
        self.items += wanted

    def delay(self, since_us: int, by_s: float) -> None:
        """Everything that begins at ``since_us`` or later does so ``by_s`` later; payloads stay."""
        for item in self.items:
            if item.at_us >= since_us:
                item.at_us += int(by_s * 1e6)

    def link_at(self, at_us: int) -> str:
        opened = [item for item in self.happened(Kind.OPEN) if item.at_us <= at_us]
        return max(opened, key=lambda item: item.at_us).link

    @property
    def until_us(self) -> int:
        return max(item.answered_us if isinstance(item, Exchange) else item.at_us for item in self.items)

    def frames(self) -> list[Frame]:
        said: list[tuple[int, int, int, dict[str, Any]]] = []
        for place, item in enumerate(self.items):
            if isinstance(item, Exchange):
                for turn, (at_us, sender, text) in enumerate(item.texts()):
                    more = {"kind": Kind.TEXT, "sender": sender, "text": text, "link": item.link}
                    said.append((at_us, place, turn, more))
            else:
                more = {
                    name: getattr(item, name) for name in ("kind", "sender", "text", "data", "facts", "link")
                }
                said.append((item.at_us, place, 0, more))
        said.sort(key=lambda one: one[:3])
        return [
            Frame(seq=seq, at_us=at_us, mono_ns=(at_us - START_US) * 1000, station="CP1", **more)
            for seq, (at_us, _, _, more) in enumerate(said, 1)
        ]


@dataclass
class Charge:
    """A transaction as the station knows it; ``id`` is what the CSMS gave it."""

    connector: int
    tag: str
    meter_start_wh: int
    since_us: int
    current_a: float
    id: int = -1
    energy_wh: float = 0.0
    read_us: int = 0
    draws: bool = True
    entries: list[dict[str, Any]] = field(default_factory=list)


class Builder:
    """A station and its CSMS on one virtual clock.

    ``quirks`` make the station or the CSMS another one from the start: ``csms_s`` (answer time of the CSMS),
    ``clock_s`` (station clock ahead), ``attempts`` and ``retry_s`` (retries), ``drain_s`` (how long the
    queue is silent after a reconnect), ``<part>_s`` (a pause before that part).
    """

    def __init__(self, name: str, seed: int, **quirks: Any) -> None:
        self.name, self.seed, self.quirks = name, seed, quirks
        self.chance = Random(f"{name}/{seed}")  # noqa: S311  # not for secrets
        self.now_us = START_US + self.chance.randrange(MINUTE_US)
        self.items: list[Item] = []
        self.allowed: set[str] = set()
        self.due: list[tuple[int, int, Callable[[int], None]]] = []
        self.numbers = count(1)
        self.links = count(1)
        self.link = ""
        self.online = False
        self.connectors = 20
        self.charges: dict[int, Charge] = {}
        self.registers_wh: dict[int, float] = {}
        self.transactions = count(1000 + 10 * seed)
        self.status: dict[int, str] = {}
        self.unsent: dict[int, tuple[str, int, dict[str, Any]]] = {}
        self.queue: list[tuple[str, dict[str, Any], str, int, Charge]] = []
        self.refusals = 0  # so many of the next transaction messages are answered by a CALLERROR
        self.blocked = False
        self.booted_us = 0
        self.beating = 0

    # time

    def between(self, low: float, high: float) -> int:
        return int(self.chance.uniform(low, high) * 1e6)

    def at(self, due_us: int, act: Callable[[int], None]) -> None:
        heapq.heappush(self.due, (due_us, next(self.numbers), act))

    def wait(self, seconds: float = 0.0) -> None:
        until_us = self.now_us + int(seconds * 1e6)
        while self.due and self.due[0][0] <= until_us:  # what is late by then waits: a CSMS may be too slow
            due_us, _, act = heapq.heappop(self.due)
            self.now_us = max(self.now_us, due_us)
            act(due_us)
        self.now_us = max(self.now_us, until_us)

    def pause(self, part: str, low: float, high: float) -> None:
        self.wait(self.quirks.get(f"{part}_s", self.between(low, high) / 1e6))

    def stamp(self, at_us: int | None = None) -> str:
        at_us = self.now_us if at_us is None else at_us
        return stamp(at_us + self.quirks.get("clock_s", 0) * 1e6)

    # the wire

    def happen(self, kind: Kind, sender: Side | None = None, **facts: Any) -> None:
        self.items.append(Happening(self.now_us, self.link, kind, sender, facts=facts))

    def open(self, **facts: Any) -> None:
        self.link = f"c{next(self.links)}"
        self.happen(Kind.OPEN, **(OPEN | facts))
        self.online = True
        self.now_us += self.between(0.05, 0.2)

    def end(self, *, abrupt: bool = False) -> None:
        if not abrupt:
            self.happen(Kind.CLOSE, CP, code=1000, reason="")
        self.happen(Kind.END, abrupt=abrupt, by="station")
        self.online = False

    def call(self, sender: Side, action: str, payload: Any, answer: Any, **more: Any) -> Exchange:
        self.now_us += self.between(0.08, 0.12)
        low, high = (0.1, 1.0) if sender is CP else (0.08, 0.9)
        if sender is CP and "csms_s" in self.quirks:
            low = high = self.quirks["csms_s"]
        message_id = f"{self.chance.getrandbits(64):016x}-{next(self.numbers)}"
        exchange = Exchange(
            self.now_us,
            self.link,
            sender,
            message_id,
            action,
            deepcopy(payload),
            deepcopy(answer),
            self.between(low, high),
            **more,
        )
        self.items.append(exchange)
        self.now_us = exchange.answered_us
        return exchange

    def csms(self, action: str, payload: Any, answer: Any, **more: Any) -> Exchange:
        self.wait(self.between(1, 3) / 1e6)
        exchange = self.call(CS, action, payload, answer, part=more.pop("part", "command"), **more)
        self.now_us += self.between(0.02, 0.05)
        return exchange

    # registration and status

    def boot(self, status: str = "Accepted", interval_s: int = 30, **changes: Any) -> None:
        conf = {"status": status, "interval": interval_s}
        exchange = self.call(CP, "BootNotification", BOOT | changes, conf, part="boot")
        exchange.answer["currentTime"] = stamp(exchange.answered_us - 20_000)
        if status != "Accepted":
            return
        self.booted_us = self.now_us
        self.beating += 1
        self.at(self.now_us + interval_s * 1_000_000, self._beat(self.beating, interval_s))
        for connector in range(self.connectors + 1):
            self.report(connector, self.status.get(connector, "Available"), part="boot status")
        self.drain()

    def _beat(self, beating: int, interval_s: int) -> Callable[[int], None]:
        def beat(due_us: int) -> None:
            if beating != self.beating:
                return
            self.at(due_us + interval_s * 1_000_000, beat)
            if self.online:
                exchange = self.call(CP, "Heartbeat", {}, {}, part="heartbeat")
                exchange.answer["currentTime"] = stamp(exchange.answered_us - 20_000)

        return beat

    def report(
        self, connector: int, status: str, code: str = "NoError", *, part: str = "status", **more: Any
    ) -> None:
        """StatusNotification, or, offline, what is to be said after the reconnect."""
        self.status[connector] = status
        if not self.online:
            self.unsent[connector] = (code, self.now_us, more)
            return
        payload = {
            "connectorId": connector,
            "errorCode": code,
            "status": status,
            "timestamp": self.stamp(),
        } | more
        self.call(CP, "StatusNotification", payload, {}, part=part, connector=connector)

    # transactions

    def transact(
        self, action: str, payload: dict[str, Any], part: str, connector: int, charge: Charge
    ) -> None:
        """A transaction message: sent now, or behind those that wait."""
        self.queue.append((action, payload, part, connector, charge))
        if self.online and not self.blocked:
            self.drain(queued=len(self.queue) > 1)

    def drain(self, *, queued: bool = True) -> None:
        while self.queue and self.online and not self.blocked:
            self._deliver(*self.queue[0], queued=queued, attempt=1)

    def _deliver(
        self,
        action: str,
        payload: Any,
        part: str,
        connector: int,
        charge: Charge,
        *,
        queued: bool,
        attempt: int,
    ) -> None:
        answer: Any = {}
        refused = self.refusals > 0
        if refused:
            self.refusals -= 1
            answer = Refused("InternalError", "try again")
        elif action == "StartTransaction":
            charge.id = next(self.transactions)
            answer = {"transactionId": charge.id} | {
                "idTagInfo": {"status": self.quirks.get("verdict", "Accepted")}
            }
        elif action == "StopTransaction" and "idTag" in payload:
            answer = ACCEPTED
        if action != "StartTransaction":
            payload = payload | {"transactionId": charge.id}
        kind = "retry" if attempt > 1 else "refused" if refused else f"queued {part}" if queued else part
        self.call(CP, action, payload, answer, part=kind, connector=connector)
        if refused and attempt < self.quirks.get("attempts", 3):
            self.blocked = True
            wait_s = self.quirks.get("retry_s", 60) * attempt
            self.at(self.now_us + int(wait_s * 1e6), lambda _: self._again(attempt + 1))
            return
        self.queue.pop(0)
        self.blocked = False

    def _again(self, attempt: int) -> None:
        self._deliver(*self.queue[0], queued=False, attempt=attempt)
        self.drain()

    def measure(self, charge: Charge, at_us: int) -> int:
        """The register in Wh at ``at_us``."""
        hours = max(at_us - charge.read_us, 0) / 3.6e9
        if charge.draws:
            charge.energy_wh += 230 * charge.current_a * hours
        charge.read_us = max(charge.read_us, at_us)
        return charge.meter_start_wh + int(charge.energy_wh)

    def entry(self, charge: Charge, at_us: int, context: str) -> dict[str, Any]:
        current = charge.current_a if charge.draws else 0.0
        values = (
            (str(self.measure(charge, at_us)), ENERGY, "Wh"),
            (f"{current:.1f}", "Current.Import", "A"),
            (f"{230 + self.chance.uniform(-1.5, 1.5):.1f}", "Voltage", "V"),
        )
        sampled = [{"value": v, "context": context, "measurand": m, "unit": u} for v, m, u in values]
        return {"timestamp": self.stamp(at_us), "sampledValue": sampled}

    def start(
        self, connector: int, tag: str, current_a: float | None = None, *, charging: bool = True
    ) -> Charge:
        self.wait()
        meter_wh = int(self.registers_wh.setdefault(connector, self.chance.randrange(10_000, 90_000)))
        amperes = current_a or self.chance.choice((10.0, 13.0, 16.0, 20.0, 25.0, 32.0))
        charge = Charge(connector, tag, meter_wh, self.now_us, amperes, read_us=self.now_us)
        payload = {"connectorId": connector, "idTag": tag, "meterStart": meter_wh, "timestamp": self.stamp()}
        charge.entries.append(self.entry(charge, self.now_us, "Transaction.Begin"))
        self.charges[connector] = charge
        self.at(self.now_us + MINUTE_US, self._sample(charge, "Sample.Periodic", "sample"))
        clock_us = int(self.quirks.get("clock_s", 0) * 1e6)
        grid_us = ((self.now_us + clock_us) // MINUTE_US + 1) * MINUTE_US - clock_us
        self.at(grid_us, self._sample(charge, "Sample.Clock", "aligned"))
        self.transact("StartTransaction", payload, "start", connector, charge)
        if charging:
            self.pause("charging", 0.5, 3)
            self.report(connector, "Charging")
        return charge

    def _sample(self, charge: Charge, context: str, part: str) -> Callable[[int], None]:
        def sample(due_us: int) -> None:
            if self.charges.get(charge.connector) is not charge:
                return
            self.at(due_us + MINUTE_US, sample)
            entry = self.entry(charge, due_us, context)
            charge.entries.append(entry)
            payload = {"connectorId": charge.connector, "meterValue": [entry]}
            self.transact("MeterValues", payload, part, charge.connector, charge)

        return sample

    def stop(self, connector: int, reason: str = "Local", *, tag: bool = True, part: str = "stop") -> None:
        self.wait()
        charge = self.charges.pop(connector)
        end = self.entry(charge, self.now_us, "Transaction.End")
        charge.entries.append(end)
        meter_wh = self.measure(charge, self.now_us)
        self.registers_wh[connector] = meter_wh
        payload = {"meterStop": meter_wh, "timestamp": self.stamp(), "reason": reason}
        payload["transactionData"] = charge.entries
        if tag:
            payload["idTag"] = charge.tag
        self.transact("StopTransaction", payload, part, connector, charge)

    # what a driver does

    def authorize(self, tag: str, verdict: str = "Accepted", part: str = "authorize") -> None:
        self.wait()
        self.call(CP, "Authorize", {"idTag": tag}, {"idTagInfo": {"status": verdict}}, part=part)

    def plug(self, connector: int) -> None:
        self.report(connector, "Preparing")

    def unplug(self, connector: int) -> None:
        self.pause("unplug", 2, 6)
        self.report(connector, "Available")

    def local_start(self, connector: int, tag: str) -> Charge:
        self.plug(connector)
        self.pause("tag", 2, 6)
        self.authorize(tag)
        self.pause("start", 0.1, 0.6)
        return self.start(connector, tag)

    def local_stop(self, connector: int) -> None:
        self.stop(connector)
        self.pause("finishing", 0.1, 0.5)
        self.report(connector, "Finishing")
        self.unplug(connector)

    def session(self, connector: int, tag: str, minutes: float) -> None:
        self.local_start(connector, tag)
        self.wait(minutes * 60)
        self.local_stop(connector)

    # outages and resets

    def outage(self, seconds: float, during: Callable[[], None] | None = None) -> None:
        """The link is gone for so long; the station notices at once and delivers afterwards what it kept."""
        self.end(abrupt=True)
        back_us = self.now_us + int(seconds * 1e6)
        self.wait(seconds / 3)
        if during:
            during()
        self.wait(max(back_us - self.now_us, 0) / 1e6)
        self.open()
        blocked, self.blocked = self.blocked, True
        self.wait(self.quirks.get("drain_s", 0))
        self.blocked = blocked
        self.drain()
        for connector, (code, at_us, more) in sorted(self.unsent.items()):
            payload = {"connectorId": connector, "errorCode": code, "status": self.status[connector]}
            payload |= {"timestamp": self.stamp(at_us)} | more
            self.call(CP, "StatusNotification", payload, {}, part="status", connector=connector)
        self.unsent.clear()

    def reset(self, kind: str, *, stops_after_boot: bool = False) -> None:
        """Reset.req, its answer, the end of what runs, a new socket and BootNotification."""
        self.csms("Reset", {"type": kind}, {"status": "Accepted"}, part="reset")
        running = list(self.charges)
        if not stops_after_boot:
            for connector in running:
                self.stop(connector, f"{kind}Reset", part="reset stop")
                self.report(connector, "Finishing")
        self.pause("close", 0.2, 0.8)
        self.end()
        self.beating += 1
        if stops_after_boot:
            for connector in running:
                self.stop(connector, f"{kind}Reset", part="reset stop")
                self.status[connector] = "Finishing"
        self.wait(self.between(20, 40) / 1e6)
        self.open()
        self.boot()

    # the end

    def conversation(self, tail_s: float = 150) -> Conversation:
        """Everything said so far and ``tail_s`` of idle heartbeats behind it."""
        self.wait(tail_s)
        return Conversation(self.name, self.seed, self.items, frozenset(self.allowed))


def configuration() -> list[dict[str, Any]]:
    """The answer to a GetConfiguration without keys: every declared Core row of the certificate."""
    writable = ("RW", "R or RW")
    return [
        {
            "key": row.key,
            "readonly": row.access not in writable,
            "value": row.text.replace(".", "") if row.type == "int" else row.text,
        }
        for row in load().configuration
        if row.profile == "Core" and row.value is not None
    ]


def recorded(frames: Iterable[Frame], transaction: int) -> Conversation:
    """A recorded conversation; only what belongs to one transaction has a ``part``, so that it is found."""
    items: list[Item] = []
    pending: dict[tuple[str, Side, str], Exchange] = {}
    for frame in frames:
        sender, array = frame.sender, None
        if frame.text is not None and sender is not None:
            with suppress(ValueError):
                array = json.loads(frame.text)
        sound = isinstance(array, list) and len(array) > 2 and isinstance(array[1], str)
        if sound and array[0] == 2 and len(array) == 4:
            exchange = Exchange(frame.at_us, frame.link, sender, array[1], array[2], array[3])
            exchange.call_text = frame.text
            pending[frame.link, sender, array[1]] = exchange
            items.append(exchange)
            continue
        asked = pending.pop((frame.link, sender.other, array[1]), None) if sound and sender else None
        if asked is not None and array[0] == 3:
            asked.answer, asked.answer_text = array[2], frame.text
            asked.took_us = frame.at_us - asked.at_us
            continue
        items.append(
            Happening(frame.at_us, frame.link, frame.kind, sender, frame.text, frame.data, dict(frame.facts))
        )
    conversation = Conversation("recorded", transaction, items)
    _label(conversation, transaction)
    return conversation


def _label(c: Conversation, transaction: int) -> None:
    """Name the parts of one transaction, and let them be written anew."""
    start = next(x for x in c.find("StartTransaction") if x.answer["transactionId"] == transaction)
    tag, connector = start.payload["idTag"], start.payload["connectorId"]
    asked = [x for x in c.find("Authorize") if x.payload["idTag"] == tag and x.at_us < start.at_us]
    parts = [(start, "start"), *((x, "authorize") for x in asked[-1:])]
    for x in c.find():
        if isinstance(x.payload, dict) and x.payload.get("transactionId") == transaction:
            names = {"StopTransaction": "stop", "RemoteStopTransaction": "remote stop"}
            clock = x.action == "MeterValues" and "Sample.Clock" in json.dumps(x.payload)
            parts.append((x, names.get(x.action, "aligned" if clock else "sample")))
    for x, part in parts:
        x.part, x.connector = part, connector
        x.call_text = x.answer_text = None
