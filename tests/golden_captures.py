"""The captures of our own station: `python -m tests.golden_captures` makes those that are not there yet."""

import json
import sys
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from tests.conftest import REPOSITORY
from tests.engine.stations import PROFILE, START_US, csms, plug, station, stimulus, tag, talk, unplug
from twin.engine.csms import Script
from twin.engine.station import Act, Behaviour
from twin.io.segments import write_capture
from twin.model import Frame, Kind, Side

SECOND_US = 1_000_000
CAPTURES = REPOSITORY / "captures"
UNKNOWN = {"path": "/OTMK-0001", "status": 401}
TWO = Behaviour(connectors=2)


def outage() -> list[Frame]:
    """A session whose link is lost twice, once without a Close: it ends offline and is delivered late."""
    acts = [
        (40, plug(1)),
        (45, tag("TAG0001")),
        (330, Act(do="link down")),
        (360, tag("TAG0001")),
        (380, Act(do="link up")),
        (500, unplug(1)),
        (520, plug(2)),
        (525, tag("TAG0002")),
        (700, Act(do="link down")),
        (760, Act(do="link up")),
        (900, tag("TAG0002")),
        (930, unplug(2)),
    ]
    return talk(station(TWO, acts), csms(Script(interval_s=60)), for_s=1_000)


def remote() -> list[Frame]:
    """Everything a CSMS does to a Core station: two remote sessions, settings, a Reset of either kind."""
    stimuli = [
        stimulus(20, "GetConfiguration", {}),
        stimulus(25, "ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "30"}),
        stimulus(30, "ChangeConfiguration", {"key": "NoSuchKey", "value": "1"}),
        stimulus(35, "ChangeAvailability", {"connectorId": 2, "type": "Inoperative"}),
        stimulus(60, "RemoteStartTransaction", {"connectorId": 1, "idTag": "TAG0007"}),
        stimulus(240, "RemoteStopTransaction", {"transactionId": 0}, start=0),
        stimulus(300, "ChangeAvailability", {"connectorId": 2, "type": "Operative"}),
        stimulus(320, "UnlockConnector", {"connectorId": 1}),
        stimulus(330, "ClearCache", {}),
        stimulus(340, "DataTransfer", {"vendorId": "org.example"}),
        stimulus(350, "SetChargingProfile", PROFILE),
        stimulus(360, "RemoteStopTransaction", {"transactionId": 4711}),
        stimulus(400, "Reset", {"type": "Soft"}),
        stimulus(500, "RemoteStartTransaction", {"connectorId": 2, "idTag": "TAG0008"}),
        stimulus(620, "Reset", {"type": "Hard"}),
    ]
    acts = [(50, plug(1)), (290, unplug(1)), (490, plug(2)), (700, unplug(2))]
    return talk(station(TWO, acts), csms(Script(interval_s=90, stimuli=stimuli)), for_s=800)


def refused() -> list[Frame]:
    """Tags that are blocked, invalid, expired, refused at the start; a Stop that fails twice."""
    no = {
        status: json.dumps([3, "x", {"idTagInfo": {"status": status}}])
        for status in ("Blocked", "Invalid", "Expired")
    }
    answers: dict[tuple[str, str], list[str | None]] = {
        ("Authorize", "TAG0001"): [no["Blocked"]],
        ("Authorize", "TAG0002"): [no["Invalid"]],
        ("Authorize", "TAG0003"): [no["Expired"]],
        ("StartTransaction", "TAG0004"): [
            json.dumps([3, "x", {"transactionId": 77, "idTagInfo": {"status": "ConcurrentTx"}}])
        ],
        ("StopTransaction", "TAG0005"): ['[4,"x","InternalError","",{}]'] * 2,
    }  # fmt: skip
    acts = [
        (40, plug(1)),
        (45, tag("TAG0001")),
        (60, tag("TAG0002")),
        (75, tag("TAG0003")),
        (90, tag("TAG0004")),
        (200, unplug(1)),
        (220, plug(2)),
        (225, tag("TAG0005")),
        (420, tag("TAG0005")),
        (700, unplug(2)),
    ]
    return talk(station(TWO, acts), csms(Script(interval_s=120, answers=answers)), for_s=800)


def connections() -> list[Frame]:
    """Three connections: refused with 401 first, compressed with pings, ended by the CSMS, then by nobody."""
    whole = talk(station(TWO, [(40, plug(1)), (60, unplug(1))]), csms(Script(interval_s=20)), for_s=150)
    opened = next(frame for frame in whole if frame.kind is Kind.OPEN)
    texts = [frame for frame in whole if frame.kind is Kind.TEXT]
    first, second = _split(texts, START_US + 70 * SECOND_US)
    deflate = {"extensions": "permessage-deflate; client_no_context_takeover"}
    frames = [
        replace(opened, kind=Kind.REFUSED, link="c0", at_us=opened.at_us - SECOND_US, facts=UNKNOWN),
        replace(opened, link="c1", facts={**opened.facts, **deflate}),
        *(replace(frame, link="c1") for frame in first),
        _control(first[-1], Kind.CLOSE, Side.CSMS, {"code": 1012, "reason": "restart"}),
        _control(first[-1], Kind.END, None, {"abrupt": False, "by": "csms"}),
        replace(opened, link="c2", at_us=second[0].at_us - SECOND_US),
        *(replace(frame, link="c2") for frame in second),
        _control(second[-1], Kind.END, None, {"abrupt": True, "by": "station"}, link="c2"),
    ]  # fmt: skip
    pinged = [ping for frame in first[::8] for ping in _ping(frame)]
    ordered = sorted((*frames, *pinged), key=lambda frame: frame.at_us)
    return [replace(frame, seq=number, mono_ns=frame.at_us * 1000) for number, frame in enumerate(ordered, 1)]


def _split(texts: list[Frame], at_us: int) -> tuple[list[Frame], list[Frame]]:
    return [one for one in texts if one.at_us < at_us], [one for one in texts if one.at_us >= at_us]


def _control(after: Frame, kind: Kind, sender: Side | None, facts: dict[str, Any], link: str = "c1") -> Frame:
    return replace(
        after, kind=kind, sender=sender, text=None, facts=facts, link=link, at_us=after.at_us + SECOND_US
    )


def _ping(frame: Frame) -> Iterable[Frame]:
    for kind, sender, later in ((Kind.PING, Side.STATION, 1), (Kind.PONG, Side.CSMS, 2)):
        yield replace(
            frame,
            kind=kind,
            sender=sender,
            text=None,
            data=b"",
            link="c1",
            facts={},
            at_us=frame.at_us + later,
        )


MADE = {
    "twin-outage": outage,
    "twin-remote": remote,
    "twin-refused": refused,
    "twin-connections": connections,
}


def main() -> None:
    for name, make in MADE.items():
        if not (CAPTURES / name).exists():
            frames = make()
            write_capture(frames, CAPTURES / name, vantage="simulated")
            sys.stdout.write(f"{name}: {len(frames)} frames\n")


if __name__ == "__main__":
    main()
