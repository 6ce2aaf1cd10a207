"""The station on real sockets: both transports, refusals, fleets, and kill -9 in the middle of everything."""

import asyncio
import contextlib
import json
import os
import random
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.utils import accept_key

from tests.engine.stations import CERTIFIED_MEASURANDS
from tests.io.live_csms import DEADLINE_S, LiveCsms, serving, until
from twin.engine.checked import check_frames
from twin.engine.csms import Script, Stimulus
from twin.engine.station import Act, Behaviour, Persist
from twin.io import websocket
from twin.io.driver import Pace
from twin.io.running import LiveStation, Plan
from twin.io.station_store import StationStore, StoreError
from twin.model import Fault, Kind, Severity

TRANSPORTS = ("websockets", "picows")
QUICK = Behaviour(connectors=2, boot_ms=10, answer_ms=(0, 5), backoff_s=(1, 2))


def station(csms_url: str, **more: Any) -> LiveStation:
    plan = Plan(**{"station_id": "OTMK-0001", "url": f"{csms_url}/OTMK-0001", "behaviour": QUICK} | more)
    return LiveStation(plan, Pace(), judged=True)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_session_over_a_real_socket(transport: str) -> None:
    async with serving(LiveCsms()) as csms:
        one = station(csms.url, transport=transport, password="s3cret")  # noqa: S106  # of a test
        one.start()
        await until(lambda: len(csms.calls("StatusNotification")) == 3, "the statuses after the boot")
        one.act(Act(do="plug", connector_id=1))
        one.act(Act(do="tag", tag="TAG0001"))
        await until(lambda: len(csms.calls("StartTransaction")) == 1, "StartTransaction")
        await until(lambda: one.snapshot()["connectors"][0]["transaction"] is not None, "its answer")
        one.act(Act(do="tag", tag="TAG0001"))
        await until(lambda: len(csms.calls("StopTransaction")) == 1, "StopTransaction")
        await until(lambda: not one.station.uplink.in_flight, "the last answer")
        one.stop()
        await until(lambda: csms.frames[-1].kind is Kind.END, "the end")
    assert csms.calls("StopTransaction")[0]["transactionId"] == 1001
    assert csms.authorizations == ["Basic T1RNSy0wMDAxOnMzY3JldA=="]
    assert csms.frames[-2].facts == {"code": 1001, "reason": "going away"}
    loud = [f for f in one.findings if f.severity in (Severity.ERROR, Severity.WARNING)]
    assert [f.detail for f in loud if f.fault is Fault.STATION] == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_lost_link_is_found_again_and_loses_nothing(transport: str) -> None:
    async with serving(LiveCsms()) as csms:
        one = station(csms.url, transport=transport)
        one.start()
        await until(lambda: len(csms.calls("StatusNotification")) == 3, "the statuses after the boot")
        one.act(Act(do="plug", connector_id=1))
        one.act(Act(do="tag", tag="TAG0001"))
        await until(lambda: one.snapshot()["connectors"][0]["transaction"] is not None, "a transaction")
        one.act(Act(do="link down"))
        await until(lambda: csms.frames[-1].kind is Kind.END, "the end of the link")
        one.act(Act(do="tag", tag="TAG0001"))
        one.act(Act(do="link up"))
        await until(lambda: len(csms.calls("StopTransaction")) == 1, "the queued StopTransaction")
        one.stop()
    assert len(csms.calls("BootNotification")) == 1
    assert [frame.kind for frame in csms.frames if frame.kind is Kind.OPEN] == [Kind.OPEN] * 2


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("speaks", ["nothing", "another subprotocol", "404"])
async def test_a_csms_that_will_not_have_it_is_asked_again(transport: str, speaks: str) -> None:
    """Without ocpp1.6 there is no talking; the station says why and backs off."""
    tried: list[str] = []

    async def handle(socket: ServerConnection) -> None:
        await socket.wait_closed()

    def refuse(connection: ServerConnection, request: Any) -> Any:
        return connection.respond(404, "not here\n") if speaks == "404" else None

    def choose(connection: ServerConnection, offered: Any) -> Any:
        return "ocpp2.0.1" if speaks == "another subprotocol" else None

    async with serve(handle, "127.0.0.1", 0, process_request=refuse, select_subprotocol=choose) as server:
        port = server.sockets[0].getsockname()[1]
        plan = Plan(
            station_id="OTMK-0001",
            url=f"ws://127.0.0.1:{port}/OTMK-0001",
            behaviour=QUICK,
            transport=transport,  # type: ignore[arg-type]  # one of two words
        )
        one = LiveStation(plan, Pace(), trouble=lambda station_id, why: tried.append(why))
        one.start()
        await until(lambda: len(tried) >= 2, "two attempts")
        one.stop()
    assert not one.station.up
    assert all("127.0.0.1" in why for why in tried)


async def test_over_tls_the_certificate_of_the_csms_counts() -> None:
    authority = trustme.CA()
    serving_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(serving_side)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    heard: list[str] = []
    tried: list[str] = []

    async def handle(socket: ServerConnection) -> None:
        heard.extend([str(message) async for message in socket])

    async with serve(handle, "127.0.0.1", 0, ssl=serving_side, subprotocols=["ocpp1.6"]) as server:  # type: ignore[list-item]  # a NewType of str
        port = server.sockets[0].getsockname()[1]
        plan = Plan(station_id="S", url=f"wss://127.0.0.1:{port}/S", behaviour=QUICK)
        distrusting = LiveStation(plan, Pace(), trouble=lambda station_id, why: tried.append(why))
        trusted = LiveStation(plan, Pace(), trust=trusting)
        distrusting.start()
        trusted.start()
        await until(lambda: trusted.station.up, "the connection over TLS")
        await until(lambda: bool(tried), "the refusal")
        trusted.stop()
        distrusting.stop()
    assert "certificate" in tried[0].lower()
    assert not distrusting.station.up


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_fragments_pings_and_unreadable_text(transport: str) -> None:
    """What the protocol allows is understood; text that is not UTF-8 ends the connection with 1007."""
    answered: list[Any] = []
    codes: list[int | None] = []

    async def handle(socket: ServerConnection) -> None:
        if codes:  # it comes again, and has shown what it does
            return
        boot = json.loads(await socket.recv())
        now = "2026-11-22T00:00:00.000Z"
        answer = json.dumps([3, boot[1], {"status": "Accepted", "interval": 300, "currentTime": now}])
        await socket.send([answer[:9], answer[9:20], answer[20:]])
        await (await socket.ping())
        await socket.send('[2,"c1","GetConfiguration",{"key":["HeartbeatInterval"]}]')
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                message = json.loads(text)
                if message[0] == 2:
                    await socket.send(json.dumps([3, message[1], {}]))
                else:
                    answered.append(message)
                    await socket.send(b"\xff\xfe", text=True)
        codes.append(socket.close_code)

    async with serve(handle, "127.0.0.1", 0, subprotocols=["ocpp1.6"]) as server:  # type: ignore[list-item]  # a NewType of str
        port = server.sockets[0].getsockname()[1]
        one = station(f"ws://127.0.0.1:{port}", transport=transport)
        one.start()
        await until(lambda: bool(codes), "the end")
        one.stop()
    assert answered[0][2]["configurationKey"][0]["value"] == "300"
    assert codes[0] == 1007


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_fleet_boots_and_each_station_is_its_own(transport: str) -> None:
    async with serving(LiveCsms()) as csms:
        fleet = [
            LiveStation(
                Plan(
                    station_id=f"S{number}",
                    url=f"{csms.url}/S{number}",
                    behaviour=QUICK,
                    seed=number,
                    transport=transport,  # type: ignore[arg-type]  # one of two words
                ),
                Pace(),
            )
            for number in range(40)
        ]
        for one in fleet:
            one.start()
        await until(lambda: len(csms.calls("StatusNotification")) == 3 * len(fleet), "every status")
        for one in fleet:
            one.stop()
    assert len(csms.calls("BootNotification")) == len(fleet) == len(csms.lives)


# --- what survives ------------------------------------------------------------------------------------------

SCENARIO = """
[[act]]
at = 1
do = "plug"
connector = 1
[[act]]
after = 0.2
do = "tag"
tag = "TAG0001"
[[act]]
after = 0.3
do = "plug"
connector = 2
[[act]]
after = 0.2
do = "tag"
tag = "TAG0002"
[[act]]
after = 30
do = "tag"
tag = "TAG0002"
[[act]]
after = 20
do = "unplug"
connector = 1
"""
SPEED = 20.0
KILLS = 8


def script() -> Script:
    """The CSMS writes a setting and takes a connector out of service, once."""

    def stimulus(action: str, payload: dict[str, Any]) -> Stimulus:
        return Stimulus(json.dumps([2, "x", action, payload]), action, 6)

    return Script(
        interval_s=30,
        stimuli=[
            stimulus("ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "3"}),
            stimulus("ChangeConfiguration", {"key": "StopTransactionOnInvalidId", "value": "true"}),
            stimulus("ChangeAvailability", {"connectorId": 3, "type": "Inoperative"}),
        ],
    )


@pytest.mark.slow
async def test_kill_9_at_any_moment_loses_no_transaction_and_changes_no_meaning(tmp_path: Path) -> None:
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    seeded = random.Random(11)  # noqa: S311  # moments of a test
    async with serving(LiveCsms(script)) as csms:
        command = (
            sys.executable, "-m", "twin", "run", "--csms", csms.url, "--id", "OTMK-0001", "--connectors", "3",
            "--scenario", str(tmp_path / "scenario.toml"), "--speed", str(SPEED),
            "--state", str(tmp_path / "state"),
        )  # fmt: skip
        for kill in range(KILLS + 1):
            boots = len(csms.calls("BootNotification"))
            process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
            try:
                await until(lambda boots=boots: len(csms.calls("BootNotification")) > boots, "a boot")
                if kill < KILLS:
                    await asyncio.sleep(seeded.uniform(0.05, 2.5))  # the moment of the kill
                    os.kill(process.pid, signal.SIGKILL)
                else:
                    await until(lambda: settled(csms), "every transaction to be stopped")
                    process.terminate()
                async with asyncio.timeout(DEADLINE_S):
                    await process.wait()
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
    one_meaning(csms.calls("StartTransaction"), ("connectorId", "timestamp"))
    one_meaning(csms.calls("StopTransaction"), ("transactionId",))
    one_meaning([sample_of(one) for one in csms.calls("MeterValues")], ("connectorId", "at", "context"))
    starts = {(one["connectorId"], one["timestamp"]) for one in csms.calls("StartTransaction")}
    ends = {one["transactionId"] for one in csms.calls("StopTransaction")}
    assert len(ends) == len(starts)  # each once, though each may have been sent twice
    store = StationStore(tmp_path / "state" / "OTMK-0001.sqlite")
    held = store.held()
    store.close()
    assert held["key/metervaluesampleinterval"] == b"3"
    assert held["key/stoptransactiononinvalidid"] == b"true"
    assert held["operative/3"] == b"0"
    last = {one["connectorId"]: one["status"] for one in csms.calls("StatusNotification")}
    assert last[3] == "Unavailable"
    for connector_id in (1, 2):
        registers = [
            int(value["value"])
            for one in csms.calls("MeterValues")
            if one["connectorId"] == connector_id
            for entry in one["meterValue"]
            for value in entry["sampledValue"]
            if value["measurand"] == CERTIFIED_MEASURANDS.split(",")[0]
        ]
        assert registers == sorted(registers)
    found = check_frames("kill", csms.frames).findings
    assert "T014" not in {finding.rule for finding in found}


def settled(csms: LiveCsms) -> bool:
    """Every StartTransaction has its StopTransaction, and the last scenario ran to its end.

    One that was sent again, its answer having died with the process, has the id of its last answer.
    """
    asked: dict[str, str] = {}
    last_id: dict[str, int] = {}
    for frame in csms.frames:
        message = json.loads(frame.text) if frame.text else [0]
        if message[0] == 2 and message[2] == "StartTransaction":
            asked[message[1]] = f"{message[3]['connectorId']} {message[3]['timestamp']}"
        elif message[0] == 3 and message[1] in asked:
            last_id[asked[message[1]]] = message[2]["transactionId"]
    stopped = {one["transactionId"] for one in csms.calls("StopTransaction")}
    reasons = [one.get("reason") for one in csms.calls("StopTransaction")]
    return set(last_id.values()) <= stopped and reasons[-1:] == ["EVDisconnected"]


def sample_of(payload: dict[str, Any]) -> dict[str, Any]:
    """One MeterValues by its time and context; the transactionId may be another if Start was sent again."""
    (entry,) = payload["meterValue"]
    context = entry["sampledValue"][0]["context"]
    values = {one["measurand"]: one["value"] for one in entry["sampledValue"]}
    return {
        "connectorId": payload["connectorId"],
        "at": entry["timestamp"],
        "context": context,
        "values": values,
    }


def one_meaning(calls: list[dict[str, Any]], keys: tuple[str, ...]) -> None:
    """What is sent again says the same."""
    said: dict[str, dict[str, Any]] = {}
    for payload in calls:
        name = json.dumps([payload.get(key) for key in keys])
        assert said.setdefault(name, payload) == payload
    assert said


async def test_a_store_that_cannot_write_ends_the_station_before_anything_is_sent(tmp_path: Path) -> None:
    """What is sent and not stored could be sent again with another meaning."""
    fallen: list[Exception] = []
    async with serving(LiveCsms()) as csms:
        plan = Plan(
            station_id="OTMK-0001", url=f"{csms.url}/OTMK-0001", behaviour=QUICK, store=tmp_path / "s.sqlite"
        )
        one = LiveStation(plan, Pace(), broken=fallen.append)
        one.start()
        await until(lambda: len(csms.calls("StatusNotification")) == 3, "the statuses after the boot")
        assert one._store is not None
        one._store.close()  # as if the disk were gone
        one.act(Act(do="plug", connector_id=1))
        one.act(Act(do="tag", tag="TAG0001"))
        await until(lambda: bool(fallen), "the error")
        await until(lambda: csms.frames[-1].kind is Kind.END, "the end")
    assert "closed database" in str(fallen[0])
    assert csms.calls("StartTransaction") == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_whatever_a_connection_fails_with_it_is_told_and_tried_again(transport: str) -> None:
    tried: list[str] = []
    plan = Plan(
        station_id="S",
        url=f"ws://{'a' * 70}:80/S",
        behaviour=QUICK,
        transport=transport,  # type: ignore[arg-type]  # one of two words
    )
    one = LiveStation(plan, Pace(), trouble=lambda station_id, why: tried.append(why))
    one.start()
    await until(lambda: len(tried) >= 2, "two attempts")
    one.stop()


async def test_a_handshake_that_takes_too_long_leaves_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CSMS that answers late must not have a station that does not know of it."""
    monkeypatch.setattr(websocket, "CONNECT_TIMEOUT_S", 0.2)
    ended: list[bool] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.append(True)
        writer.close()

    tried: list[str] = []
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        plan = Plan(station_id="S", url=f"ws://127.0.0.1:{port}/S", behaviour=QUICK)
        one = LiveStation(plan, Pace(), trouble=lambda station_id, why: tried.append(why))
        one.start()
        await until(lambda: len(tried) >= 2 and len(ended) >= 2, "two attempts, both ended")
        one.stop()
    assert "no answer in" in tried[0]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_csms_that_asks_and_never_reads_is_left(transport: str) -> None:
    """What is not read is not kept for ever."""
    gone: list[bool] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if gone:
            writer.close()
            return
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line for line in request.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        accept = accept_key(key.split(":")[1].strip())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: ocpp1.6\r\nSec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
        )
        boot = await reader.read(4096)
        now = "2026-11-22T00:00:00.000Z"
        message_id = json.loads(unmasked(boot))[1]
        send(writer, [3, message_id, {"status": "Accepted", "interval": 300, "currentTime": now}])
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a real socket
        try:
            for number in range(200_000):
                send(writer, [2, f"{number:06}", "GetConfiguration", {}])
                await writer.drain()
                if number % 100 == 0:
                    await asyncio.sleep(0)
        except ConnectionError:
            gone.append(True)

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        behaviour = Behaviour(connectors=1, boot_ms=10, answer_ms=(0, 0))
        one = station(f"ws://127.0.0.1:{port}", transport=transport, behaviour=behaviour)
        one.start()
        await until(lambda: bool(gone), "the end of it")
        one.stop()


def unmasked(data: bytes) -> bytes:
    """The payload of one short frame of a client (RFC 6455 5.2)."""
    length = data[1] & 0x7F
    at = 4 if length == 126 else 2
    size = int.from_bytes(data[2:4]) if length == 126 else length
    mask, body = data[at : at + 4], data[at + 4 : at + 4 + size]
    return bytes(byte ^ mask[place % 4] for place, byte in enumerate(body))


def send(writer: asyncio.StreamWriter, message: list[Any]) -> None:
    body = json.dumps(message).encode()
    head = bytes([0x81, len(body)]) if len(body) < 126 else bytes([0x81, 126]) + len(body).to_bytes(2)
    writer.write(head + body)


def test_the_store_keeps_all_of_a_write_or_none(tmp_path: Path) -> None:
    store = StationStore(tmp_path / "a.sqlite")
    store.write([Persist("queue/1", b"x"), Persist("data/1/000001", b"a"), Persist("data/10/000001", b"b")])
    store.write([Persist("queue/1", None), Persist("data/1/", None)])
    assert store.held() == {"data/10/000001": b"b"}
    with pytest.raises(StoreError, match="locked"):
        StationStore(tmp_path / "a.sqlite")
    store.close()
    (tmp_path / "b.sqlite").write_bytes(b"no database at all, whatever its name says" * 40)
    with pytest.raises(StoreError, match=r"b\.sqlite"):
        StationStore(tmp_path / "b.sqlite")
