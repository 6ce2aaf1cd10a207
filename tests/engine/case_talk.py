"""The language of the tests with the words that test cases are made of."""

from collections.abc import Callable
from typing import Any

from tests.playbook import (
    OTMK,
    SPEC,
    START_US,
    Happened,
    Play,
    after,
    ended,
    gap,
    meter,
    opened,
    stamp,
)
from twin.certificate.profile import Profile
from twin.engine.analyzer import Analyzer
from twin.engine.cases import CaseBook, CaseResult
from twin.model import Finding, Frame, Kind
from twin.protocol.config_keys import KEYS, REQUIRED_CORE_KEYS

ACCEPTED = {"status": "Accepted"}
VALID = {"idTagInfo": ACCEPTED}


class Watching:
    """An analyzer whose steps go to a book of cases; it finds nothing."""

    def __init__(self, profile: Profile | None) -> None:
        self.analyzer = Analyzer(profile)
        self.book = CaseBook()
        self.results: list[CaseResult] = []

    def receive(self, frame: Frame) -> list[Finding]:
        for step in self.analyzer.steps(frame):
            self.results += self.book.receive(step)
        return []

    def handle_timer(self, now_us: int) -> list[Finding]:
        for step in self.analyzer.timer_steps(now_us):
            self.results += self.book.receive(step)
        return []


class Talk(Play):
    """The language of the tests with the words that cases are made of; every word says what just happened."""

    def __init__(self, profile: Profile | None = OTMK) -> None:
        self.watching = Watching(profile)
        self.certified = profile is not SPEC
        super().__init__(self.watching)  # type: ignore[arg-type]  # all that a Play asks of an analyzer

    @property
    def now_s(self) -> float:
        return (self.at_us - START_US) / 1e6

    def later(self, seconds: float) -> "Talk":
        self << after(seconds)
        return self

    def status(self, *statuses: str, connector: int = 1, error: str = "NoError") -> "Talk":
        for status in statuses:
            payload = {"connectorId": connector, "errorCode": error, "status": status}
            self.station("StatusNotification", payload, {})
        return self

    def statuses(self, status: str = "Available", *but: int) -> "Talk":
        for connector in {0, 1, 2} - set(but):
            self.status(status, connector=connector)
        return self

    def told(self, **config: str) -> "Talk":
        entries = [{"key": key, "readonly": False, "value": value} for key, value in config.items()]
        self.csms("GetConfiguration", {"key": list(config)}, {"configurationKey": entries})
        return self

    def boot(self, status: str = "Accepted", interval: int = 30) -> "Talk":
        conf = {"status": status, "currentTime": stamp(self.now_s), "interval": interval}
        boot = {"chargePointVendor": "MANAGEON", "chargePointModel": "OctoFLEX (OTM-K)"}
        self.station("BootNotification", boot, conf)
        return self

    def authorize(self, tag: str = "TAG", status: str = "Accepted", **info: str) -> "Talk":
        self.station("Authorize", {"idTag": tag}, {"idTagInfo": {"status": status, **info}})
        return self

    def start(
        self, tag: str = "TAG", at: float | None = None, status: str = "Accepted", tx: int = 7
    ) -> "Talk":
        when = stamp(self.now_s if at is None else at)
        payload = {"connectorId": 1, "idTag": tag, "meterStart": 1000, "timestamp": when}
        self.station("StartTransaction", payload, {"transactionId": tx, "idTagInfo": {"status": status}})
        return self

    def stop(self, reason: str | None = None, tag: str | None = None, at: float | None = None) -> "Talk":
        when = stamp(self.now_s if at is None else at)
        payload: dict[str, Any] = {"transactionId": 7, "meterStop": 1200, "timestamp": when}
        payload |= {"reason": reason} if reason else {}
        payload |= {"idTag": tag} if tag else {}
        self.station("StopTransaction", payload, {})
        return self

    def start_of(self, parent: str) -> "Talk":
        payload = {"connectorId": 1, "idTag": "TAG", "meterStart": 1000, "timestamp": stamp(self.now_s)}
        info = {"status": "Accepted", "parentIdTag": parent}
        self.station("StartTransaction", payload, {"transactionId": 7, "idTagInfo": info})
        return self

    def charging(self) -> "Talk":
        """Identified first, then plugged in, on connector 1 with transaction 7."""
        return self.authorize().status("Preparing").start().status("Charging")

    def ask(self, action: str, payload: dict[str, Any], answer: Any = "Accepted") -> "Talk":
        told = {"status": answer} if isinstance(answer, str) else answer
        self.csms(action, payload, told)
        return self

    def refuse(self, action: str, payload: dict[str, Any], code: str) -> "Talk":
        self.csms(action, payload, code)
        return self

    def change(self, key: str, value: str, answer: str = "Accepted") -> "Talk":
        return self.ask("ChangeConfiguration", {"key": key, "value": value}, answer)

    def remote_start(self, answer: str = "Accepted", connector: int = 1) -> "Talk":
        return self.ask("RemoteStartTransaction", {"connectorId": connector, "idTag": "TAG"}, answer)

    def unlock(self, answer: str, connector: int = 1) -> "Talk":
        return self.ask("UnlockConnector", {"connectorId": connector}, answer)

    def lost(self) -> "Talk":
        self << ended(abrupt=True)
        return self

    def back(self) -> "Talk":
        self << Happened(Kind.OPEN, {"path": "/CP1", "subprotocol": "ocpp1.6"}, link=f"{self.link}+")
        return self

    def gap(self) -> "Talk":
        self << gap()
        return self

    def sample(self, at: float | None = None, context: str | None = None, **more: Any) -> "Talk":
        value: dict[str, Any] = {"value": "1100", "measurand": "Energy.Active.Import.Register"}
        value |= {"context": context} if context else {}
        self.station("MeterValues", meter(self.now_s if at is None else at, value | more), {})
        return self

    def beat(self) -> "Talk":
        self.station("Heartbeat", {}, {"currentTime": stamp(self.now_s)})
        return self

    def results(self) -> list[CaseResult]:
        self.watching.results += self.watching.book.finish()
        return self.watching.results

    def of(self, case_id: str) -> list[CaseResult]:
        return [result for result in self.results() if result.case_id == case_id]


def talk(profile: Profile | None = OTMK, **config: str) -> Talk:
    """Booted, with connectors 0 to 2 Available, and with the configuration that was told."""
    play = Talk(profile)
    play << opened()
    play.boot().statuses()
    return play.told(NumberOfConnectors="2", **config)


CACHING = {"AuthorizationCacheEnabled": "true", "LocalPreAuthorize": "true"}
REMOTE = {"AuthorizeRemoteTxRequests": "true", "LocalPreAuthorize": "false"}
UNPLUGGED = {
    "StopTransactionOnEVSideDisconnect": "true",
    "UnlockConnectorOnEVSideDisconnect": "false",
}
UNKNOWN = {"LocalAuthorizeOffline": "true", "AllowOfflineTxForUnknownId": "true"}
INOPERATIVE = {"connectorId": 1, "type": "Inoperative"}
OPERATIVE = {"connectorId": 1, "type": "Operative"}


def cold(status: str = "Rejected", interval: int = 60) -> Talk:
    play = Talk()
    play << opened()
    return play.boot(status, interval)


def beats(play: Talk, *seconds: float) -> Talk:
    for wait in seconds:
        play.later(wait).beat()
    return play


def pended(play: Talk) -> Talk:
    return play.told(NumberOfConnectors="2").change("MeterValueSampleInterval", "60")


def required_keys(**changes: str | None) -> dict[str, Any]:
    entries = [
        {"key": key.name, "readonly": bool(key.access.readonly), "value": changes.get(key.name, "1")}
        for key in KEYS
        if key.name in REQUIRED_CORE_KEYS and changes.get(key.name, "") is not None
    ]
    return {"configurationKey": entries, "unknownKey": []}


def read_all(play: Talk, **changes: str | None) -> Talk:
    profiles = {"configurationKey": [{"key": "SupportedFeatureProfiles", "readonly": True, "value": "Core"}]}
    play.ask("GetConfiguration", {"key": ["SupportedFeatureProfiles"]}, profiles)
    return play.ask("GetConfiguration", {}, required_keys(**changes))


def reset(kind: str) -> dict[str, str]:
    return {"type": kind}


def samples(play: Talk, *seconds: float, **more: Any) -> Talk:
    for wait in seconds:
        play.later(wait).sample(**more)
    return play


def outage(play: Talk, seconds: float = 200) -> Talk:
    """The link lost for a while; what happened meanwhile is told afterwards."""
    return play.lost().later(seconds).back()


def replayed(play: Talk, *at: float) -> Talk:
    for seconds in at:
        play.sample(at=seconds)
    return play


def read_back(play: Talk, value: str) -> Talk:
    return play.told(MeterValueSampleInterval=value)


def inoperative(kind: str, *, then: str = "Unavailable") -> Callable[[], Talk]:
    def conversation() -> Talk:
        play = talk().ask("ChangeAvailability", INOPERATIVE).status("Unavailable")
        play.ask("Reset", reset(kind)).lost().later(20).back().boot().status(then).statuses("Available", 1)
        return play.ask("ChangeAvailability", OPERATIVE).status("Available")

    return conversation


def blackout(told: str) -> Talk:
    play = talk().ask("ChangeAvailability", {"connectorId": 0, "type": "Inoperative"})
    return play.statuses("Unavailable").lost().later(60).back().boot().statuses(told)


def rebooted(play: Talk, status: str = "Finishing") -> Talk:
    return play.lost().later(20).back().boot().status(status).statuses("Available", 1)


def quiet(play: Talk, seconds: float = 200) -> Talk:
    """The station lives on and says nothing that matters."""
    for _ in range(int(seconds // 20)):
        play.later(20).beat()
    return play


LOCKED = {"connectorId": 1, "errorCode": "ConnectorLockFailure", "status": "Faulted"}


def aligned(*seconds: float) -> Talk:
    """Charging, then clock-aligned samples, of which the first lies on the grid."""
    play = talk(MeterValueSampleInterval="0", ClockAlignedDataInterval="60").charging()
    play.later(60 - (play.at_us / 1e6) % 60 - 60 % 60)
    at_us = play.at_us // 60_000_000 * 60_000_000
    for wait in seconds:
        at_us += int(wait * 1e6)
        play.later(wait).sample(at=(at_us - START_US) / 1e6, context="Sample.Clock")
    return play
