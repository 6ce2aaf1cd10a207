"""Turns of phrase that the conversations of the rules share; each takes a Play and gives it back."""

import json
from typing import Any

from tests.playbook import START_US, Play, after, meter, opened, play, stamp
from twin.certificate.profile import Profile
from twin.model import Side

OK: dict[str, Any] = {"idTagInfo": {"status": "Accepted"}}
MINUTE_S = 60.0


def text(*elements: Any) -> str:
    return json.dumps(list(elements), separators=(",", ":"))


def now_s(p: Play) -> float:
    """Seconds since the start of the conversation."""
    return (p.at_us - START_US) / 1e6


def quiet(p: Play | None = None, seconds: float = 70) -> Play:
    """Booted, and everything that a boot waits for is past."""
    return (p or play().booted()) << after(seconds)


def late(profile: Profile | None = None) -> Play:
    """Attached in mid-stream: nothing that came before was seen."""
    return play(profile) << opened(late=True)


def status(p: Play, value: str, connector: int = 1, code: str = "NoError", **more: Any) -> Play:
    at_s = more.pop("at_s", now_s(p))
    payload = {"connectorId": connector, "errorCode": code, "status": value, "timestamp": stamp(at_s)}
    return p.station("StatusNotification", payload | more, {})


def statuses(p: Play, *values: str, connector: int = 1) -> Play:
    for value in values:
        status(p, value, connector)
    return p


def authorize(p: Play, tag: str = "TAG", answer: Any = None, **info: Any) -> Play:
    return p.station("Authorize", {"idTag": tag}, answer or {"idTagInfo": {"status": "Accepted"} | info})


def start(
    p: Play, connector: int = 1, transaction: int = 7, tag: str = "TAG", answer: Any = None, **more: Any
) -> Play:
    """StartTransaction alone, stamped now."""
    at_s = more.pop("at_s", now_s(p))
    told = more.pop("status", "Accepted")
    payload = {"connectorId": connector, "idTag": tag, "meterStart": 1000, "timestamp": stamp(at_s)} | more
    conf = {"transactionId": transaction, "idTagInfo": {"status": told}}
    return p.station("StartTransaction", payload, answer or conf)


def stop(p: Play, wh: int = 2000, transaction: int = 7, answer: Any = None, **more: Any) -> Play:
    at_s = more.pop("at_s", now_s(p))
    payload = {"transactionId": transaction, "meterStop": wh, "timestamp": stamp(at_s)}
    return p.station("StopTransaction", payload | more, {} if answer is None else answer)


def sampled(
    p: Play, *samples: dict[str, Any], connector: int = 1, transaction: int | None = 7, **more: Any
) -> Play:
    at_s = more.pop("at_s", now_s(p))
    payload = meter(at_s, *samples, connector=connector, transaction=transaction)
    return p.station("MeterValues", payload, more.pop("answer", {}), **more)


def energy(wh: int | str, **more: Any) -> dict[str, Any]:
    return {"value": str(wh), "measurand": "Energy.Active.Import.Register", "unit": "Wh"} | more


def reads(p: Play, *pairs: tuple[str, str, bool], unknown: tuple[str, ...] = (), every: bool = False) -> Play:
    keys = [{"key": k, "value": v, "readonly": r} for k, v, r in pairs]
    asked = {} if every else {"key": [*(k for k, _, _ in pairs), *unknown]}
    conf: dict[str, Any] = {"configurationKey": keys} | ({"unknownKey": list(unknown)} if unknown else {})
    return p.csms("GetConfiguration", asked, conf)


def writes(p: Play, key: str, value: str, answer: Any = "Accepted") -> Play:
    conf = answer if isinstance(answer, dict) else {"status": answer}
    return p.csms("ChangeConfiguration", {"key": key, "value": value}, conf)


def remote_start(
    p: Play, connector: int | None = 1, tag: str = "TAG", status: str = "Accepted", **more: Any
) -> Play:
    asked: dict[str, Any] = {"idTag": tag} | more
    if connector is not None:
        asked["connectorId"] = connector
    return p.csms("RemoteStartTransaction", asked, {"status": status})


def says(sender: Side, p: Play, *elements: Any) -> Play:
    """A frame of its own making, well formed or not."""
    from tests.playbook import Said

    return p << Said(sender, text(*elements))


def outage(p: Play, seconds: float = 300, **facts: Any) -> Play:
    """The connection ends and comes back, without a boot."""
    from tests.playbook import ended

    p << ended(abrupt=True) << after(seconds)
    p.link = f"c{len(p.frames)}"
    return p << opened(**facts)
