"""Our station charges at CSMSs that nobody here wrote, through the recording relay, with an outage in it."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from tests.peers import Served, serve_arthexis, serve_broker, serve_csms
from tests.peers.stations import DEADLINE_S, Handled, recording
from twin.engine.checked import check_frames
from twin.engine.recording import recording_of
from twin.engine.station import Act, Behaviour
from twin.io.formats import open_capture
from twin.model import EventKind, Fault, Finding, Frame, Severity, Side
from twin.protocol.fold import payload_of

pytestmark = [pytest.mark.peer, pytest.mark.slow]

STATION = "OTMK-0001"
PASSWORD = "of the tests"  # noqa: S105  # of a CSMS that lives for one test
TAGS = ("TAG0001", "TAG0002")
OUTAGE_S = 7.0  # three samples of each transaction fall into it
BEHAVIOUR = Behaviour(connectors=2, boot_ms=0, backoff_s=(1, 2))


class Peer(msgspec.Struct, frozen=True):
    """A CSMS: its start, what it stored of each transaction, what ends its URL, and what is known of it.

    ``stops`` are its answers to StopTransaction, without an idTag and with one.
    """

    start: Callable[[Path], contextlib.AbstractContextManager[Served]]
    stored: Callable[[Path], list[tuple[int, int, int]]] | None
    stops: tuple[dict[str, Any], dict[str, Any]]
    slash: str = ""


def _of_csms(folder: Path) -> list[tuple[int, int, int]]:
    events = [json.loads(line) for line in (folder / "book").read_text(encoding="utf-8").splitlines()]
    stopped = [e["transaction"] for e in events if e["event"] == "TransactionStoppedEvent"]
    return sorted((tx["transaction_id"], tx["meter_start"], tx["meter_stop"]) for tx in stopped)


def _of_arthexis(folder: Path) -> list[tuple[int, int, int]]:
    with contextlib.closing(sqlite3.connect(folder / "arthexis" / "db.sqlite3")) as database:
        rows = database.execute(
            "SELECT id, meter_start, meter_stop FROM ocpp_ocpptransaction WHERE stopped_at IS NOT NULL"
        )
        return sorted((number, int(start), int(stop)) for number, start, stop in rows)


ACCEPTED = {"idTagInfo": {"status": "Accepted"}}
# idTagInfo may be left out (6.50). An answer of Invalid to a StopTransaction without any idTag is odd: a
# station learns nothing from it, since there is no tag that it could be about.
INVALID = {"idTagInfo": {"status": "Invalid"}}
PEERS = {
    "ocpp-csms": Peer(lambda folder: serve_csms(folder / "book"), _of_csms, ({}, {})),
    "ocpp-broker": Peer(lambda folder: serve_broker(*TAGS), None, (INVALID, ACCEPTED)),
    "arthexis": Peer(
        lambda folder: serve_arthexis(folder / "arthexis", {STATION: PASSWORD}),
        _of_arthexis,
        (ACCEPTED, ACCEPTED),
        slash="/",
    ),
}
# Against each of them: interval 300 in BootNotification.conf, certified 30; and the key that the test writes.
KNOWN = {"B010", "C001"}


@pytest.mark.parametrize("name", PEERS)
async def test_a_day_with_an_outage(name: str, tmp_path: Path) -> None:
    peer, capture = PEERS[name], tmp_path / "through.capture"
    with peer.start(tmp_path) as csms:
        upstream = urlsplit(csms.url)
        with recording(f"ws://{upstream.netloc}", capture) as address:
            url = f"ws://{address}{upstream.path}/{STATION}{peer.slash}"
            station = Handled(url, tmp_path, behaviour=BEHAVIOUR, password=PASSWORD)
            await charge(station, csms)
            await station.leave()

    frames = list(open_capture(capture).frames)
    billed = answered_and_agreed(frames)
    for findings in (check_frames(name, frames).findings, station.findings):
        assert [f for f in findings if f.fault in (Fault.STATION, Fault.CAPTURE) and is_serious(f)] == []
        assert {f.rule for f in findings if f.fault is Fault.CSMS} == KNOWN
    stops = [x for x in recording_of(frames).exchanges if x.call.action == "StopTransaction" and x.answer]
    assert [payload_of(stop.call)["reason"] for stop in stops] == ["EVDisconnected", "Local"]
    assert tuple(payload_of(stop.answer) for stop in stops if stop.answer) == peer.stops
    if peer.stored is not None:
        assert peer.stored(tmp_path) == billed


def test_twin_run_brings_its_password(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.toml"
    acts = (
        'at = 4\ndo = "plug"\nconnector = 1',
        'at = 5\ndo = "tag"\ntag = "TAG0001"',
        'at = 8\ndo = "tag"\ntag = "TAG0001"',
        'at = 9\ndo = "unplug"\nconnector = 1',
    )
    scenario.write_text("".join(f"[[act]]\n{act}\n" for act in acts), encoding="utf-8")
    told = {}
    with serve_arthexis(tmp_path / "arthexis", {STATION: PASSWORD, "OTMK-0002": "another"}) as csms:
        command = (sys.executable, "-m", "twin", "run", "--csms", f"{csms.url}/{{id}}/", "--connectors", "2")
        command += ("--variant", "cache-offline")  # charges even if the first handshake takes its time
        command += ("--scenario", str(scenario), "--for", "25", "--json", "--id")
        started = {
            station: subprocess.Popen(
                (*command, station),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "TWIN_STATION_PASSWORD": PASSWORD},
            )
            for station in (STATION, "OTMK-0002")
        }
        for station, process in started.items():
            with process:
                said, troubles = process.communicate(timeout=DEADLINE_S)
            told[station] = (process.returncode, json.loads(said), troubles)

    code, run, troubles = told[STATION]
    assert code == 0, troubles
    expected = {"BootNotification": 1, "StartTransaction": 1, "StopTransaction": 1}
    assert {action: run["actions"].get(action) for action in expected} == expected
    assert [(start, stop > start) for _, start, stop in _of_arthexis(tmp_path)] == [(0, True)]
    code, run, troubles = told["OTMK-0002"]
    assert (code, run["calls"]) == (0, 0)
    assert "403" in troubles


async def charge(station: Handled, csms: Served) -> None:
    """Two cars; an outage, in which one of them leaves; the other is stopped by its tag."""
    station.start()
    await station.until(station.is_idle)
    assert station.answered["StatusNotification"] == 3  # the station and its two connectors
    csms.order(STATION, "ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "2"})
    await station.until(lambda: station.answered["ChangeConfiguration"] == 1)
    for connector, tag in enumerate(TAGS, start=1):
        await station.act(Act(do="plug", connector_id=connector))
        await station.act(Act(do="tag", tag=tag))
        assert station.answered["StartTransaction"] == connector
    await station.until(lambda: station.answered["MeterValues"] >= 4 and station.is_idle())

    station.act_in(OUTAGE_S / 2, Act(do="unplug", connector_id=2))
    before = station.answered.copy()
    station.outage(OUTAGE_S)
    await station.until(station.is_idle)
    assert station.answered["BootNotification"] == 1
    assert station.answered["StopTransaction"] == 1
    assert station.answered["MeterValues"] - before["MeterValues"] >= 4

    more = station.answered["MeterValues"] + 2
    await station.until(lambda: station.answered["MeterValues"] >= more and station.is_idle())
    await station.act(Act(do="tag", tag=TAGS[0]))
    await station.act(Act(do="unplug", connector_id=1))
    assert station.answered["StopTransaction"] == 2


def answered_and_agreed(frames: list[Frame]) -> list[tuple[int, int, int]]:
    """Every CALL of the station got its CALLRESULT, one that the outage cut off the second time.

    Gives the transactions as id, meterStart and meterStop.
    """
    started: dict[int, int] = {}
    billed: list[tuple[int, int, int]] = []
    owed: list[tuple[str, Any]] = []
    for exchange in recording_of(frames).exchanges:
        if exchange.call.sender is not Side.STATION:
            continue
        asked = (exchange.call.action, payload_of(exchange.call))
        if exchange.answer is None:
            owed.append(asked)
            continue
        assert exchange.answer.kind is EventKind.ANSWERED, asked
        if asked in owed:
            owed.remove(asked)
        if asked[0] == "StartTransaction":
            started[payload_of(exchange.answer)["transactionId"]] = asked[1]["meterStart"]
        elif asked[0] == "StopTransaction":
            transaction_id = asked[1]["transactionId"]
            billed.append((transaction_id, started[transaction_id], asked[1]["meterStop"]))
        elif asked[0] == "MeterValues":
            assert asked[1]["transactionId"] in started
    assert owed == []
    assert len(billed) == len(started) == len(TAGS)
    assert {number for number, _, _ in billed} == set(started)
    return sorted(billed)


def is_serious(finding: Finding) -> bool:
    """An error or a warning."""
    return finding.severity.rank <= Severity.WARNING.rank
