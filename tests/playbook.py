"""The language of the tests: a conversation is played to an analyzer, and what it finds is expected.

    play() << cp('[2,"1","Heartbeat",{}]') << after(61) >> finding("J010")

``cp`` speaks for the station, ``cs`` for the CSMS, ``after`` lets seconds pass. ``>> finding(...)`` takes
what was found so far, ``>> silence()`` expects nothing (but for the rules named).
"""

import json
from dataclasses import dataclass, field
from typing import Any

from twin.certificate.profile import SPEC, Profile, certified
from twin.engine.analyzer import Analyzer
from twin.model import Finding, Frame, Kind, Side

START_US = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z
OTMK = certified("octoflex-otm-k")
BOOT = {"chargePointVendor": "MANAGEON", "chargePointModel": "OctoFLEX (OTM-K)", "firmwareVersion": "1.0.1"}


@dataclass(frozen=True)
class Said:
    sender: Side
    text: str


@dataclass(frozen=True)
class After:
    seconds: float


@dataclass(frozen=True)
class Happened:
    kind: Kind
    facts: dict[str, Any] = field(default_factory=dict)
    sender: Side | None = None
    data: bytes | None = None
    link: str | None = None


@dataclass(frozen=True)
class Expected:
    rule: str
    severity: str | None = None
    fault: str | None = None
    says: str = ""


@dataclass(frozen=True)
class Silence:
    but: frozenset[str]


def cp(text: str) -> Said:
    return Said(Side.STATION, text)


def cs(text: str) -> Said:
    return Said(Side.CSMS, text)


def after(seconds: float) -> After:
    return After(seconds)


def opened(**facts: Any) -> Happened:
    facts = {"path": "/CP1", "subprotocols_offered": ["ocpp1.6"], "subprotocol": "ocpp1.6"} | facts
    return Happened(Kind.OPEN, facts)


def ended(**facts: Any) -> Happened:
    return Happened(Kind.END, facts)


def gap() -> Happened:
    return Happened(Kind.GAP, {"reason": "queue_full"})


def finding(rule: str, severity: str | None = None, fault: str | None = None, says: str = "") -> Expected:
    return Expected(rule, severity, fault, says)


def silence(*but: str) -> Silence:
    return Silence(frozenset(but))


def stamp(seconds: float = 0.0) -> str:
    """The payload stamp ``seconds`` after the start of the conversation."""
    from twin.protocol.timestamps import format_us

    return format_us(START_US + int(seconds * 1e6))[:23] + "Z"


class Play:
    """One station on one link at a time; frames are stamped by the seconds that ``after`` let pass."""

    def __init__(self, analyzer: Analyzer) -> None:
        self.analyzer = analyzer
        self.at_us = START_US
        self.seq = 0
        self.link = "c1"
        self.ids = 0
        self.found: list[Finding] = []
        self.frames: list[Frame] = []

    def __lshift__(self, what: "Said | After | Happened") -> "Play":
        if isinstance(what, After):
            self.at_us += int(what.seconds * 1e6)
            self.found += self.analyzer.handle_timer(self.at_us)
            return self
        self.seq += 1
        at = {"seq": self.seq, "at_us": self.at_us, "mono_ns": (self.at_us - START_US) * 1000}
        if isinstance(what, Said):
            place = {"link": self.link, "station": "CP1"}
            frame = Frame(kind=Kind.TEXT, sender=what.sender, text=what.text, **at, **place)
        else:
            self.link = what.link or self.link
            frame = Frame(
                kind=what.kind,
                sender=what.sender,
                data=what.data,
                facts=what.facts,
                link=self.link,
                station="CP1",
                **at,
            )
        self.frames.append(frame)
        self.found += self.analyzer.receive(frame)
        return self

    def __rshift__(self, expected: "Expected | Silence") -> "Play":
        if isinstance(expected, Silence):
            told = [f"{f.rule} {f.severity} {f.detail}" for f in self.found if f.rule not in expected.but]
            assert told == []
            return self
        matching = [f for f in self.found if f.rule == expected.rule]
        assert matching, f"{expected.rule} not among {[f'{f.rule} {f.detail}' for f in self.found]}"
        first = matching[0]
        assert expected.severity in (None, first.severity.value), first
        assert expected.fault in (None, first.fault.value), first
        assert expected.says in first.detail, first
        self.found = []
        return self

    def call(
        self, sender: Side, action: str, payload: Any, answer: Any = None, *, took_s: float = 0.1
    ) -> "Play":
        """A CALL and its answer ``took_s`` later: a payload, an errorCode, or none."""
        self.ids += 1
        message_id = f"id{self.ids}"
        play = self << Said(sender, json.dumps([2, message_id, action, payload], separators=(",", ":")))
        if answer is None:
            return play
        self.at_us += int(took_s * 1e6)
        elements = [4, message_id, answer, "", {}] if isinstance(answer, str) else [3, message_id, answer]
        return play << Said(sender.other, json.dumps(elements, separators=(",", ":")))

    def station(self, action: str, payload: Any, answer: Any = None, **more: Any) -> "Play":
        return self.call(Side.STATION, action, payload, answer, **more)

    def csms(self, action: str, payload: Any, answer: Any = None, **more: Any) -> "Play":
        return self.call(Side.CSMS, action, payload, answer, **more)

    def booted(self, interval_s: int = 30, **changes: Any) -> "Play":
        """Connected and accepted, with all connectors unknown."""
        conf = {
            "status": "Accepted",
            "currentTime": stamp((self.at_us - START_US) / 1e6),
            "interval": interval_s,
        }
        return (self << opened()).station("BootNotification", BOOT | changes, conf)

    def started(self, connector: int = 1, transaction: int = 7, meter: int = 1000) -> "Play":
        """Authorized and started on a connector."""
        now = stamp((self.at_us - START_US) / 1e6)
        self.station("Authorize", {"idTag": "TAG"}, {"idTagInfo": {"status": "Accepted"}})
        start = {"connectorId": connector, "idTag": "TAG", "meterStart": meter, "timestamp": now}
        return self.station(
            "StartTransaction", start, {"transactionId": transaction, "idTagInfo": {"status": "Accepted"}}
        )


def play(profile: Profile | None = None) -> Play:
    """A new conversation, judged against what its BootNotification identifies unless a profile is given."""
    return Play(Analyzer(profile))


def meter(
    seconds: float, *samples: dict[str, Any], connector: int = 1, transaction: int | None = 7
) -> dict[str, Any]:
    """A MeterValues payload; without samples the three certified measurands at their defaults."""
    values = samples or (
        {"value": "1100", "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
        {"value": "16.0", "measurand": "Current.Import", "unit": "A"},
        {"value": "230.1", "measurand": "Voltage", "unit": "V"},
    )
    entry = {"timestamp": stamp(seconds), "sampledValue": list(values)}
    payload: dict[str, Any] = {"connectorId": connector, "meterValue": [entry]}
    return payload if transaction is None else payload | {"transactionId": transaction}


__all__ = ["BOOT", "OTMK", "SPEC", "Play", "after", "cp", "cs", "ended", "finding", "gap", "meter", "opened",
           "play", "silence", "stamp"]  # fmt: skip
