"""The peers start, answer and leave: what every test that talks to them takes for granted."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.peers import peer_command, peer_python, serve_arthexis, serve_broker, start_csms

pytestmark = pytest.mark.peer

AT = "2026-01-05T10:00:00Z"


async def ask(
    station: ClientConnection, message_id: str, action: str, payload: dict[str, Any]
) -> dict[str, Any]:
    """Send one CALL and give the payload of the CALLRESULT to it."""
    await station.send(json.dumps([2, message_id, action, payload]))
    result: dict[str, Any]
    kind, answered, result = json.loads(await station.recv())
    assert (kind, answered) == (3, message_id)
    return result


async def test_csms_answers_a_charging_session() -> None:
    with start_csms() as url:
        async with connect(f"{url}/anyone", subprotocols=[websockets.Subprotocol("ocpp1.6")]) as station:
            boot = {"chargePointVendor": "MANAGEON", "chargePointModel": "OTM-K"}
            assert (await ask(station, "1", "BootNotification", boot))["status"] == "Accepted"
            assert "currentTime" in await ask(station, "2", "Heartbeat", {})
            status = {"connectorId": 1, "errorCode": "NoError", "status": "Preparing"}
            assert await ask(station, "3", "StatusNotification", status) == {}
            authorized = await ask(station, "4", "Authorize", {"idTag": "TAG"})
            assert authorized["idTagInfo"]["status"] == "Accepted"
            start = {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": AT}
            transaction_id = (await ask(station, "5", "StartTransaction", start))["transactionId"]
            sample = {"timestamp": AT, "sampledValue": [{"value": "100"}]}
            meter = {"connectorId": 1, "transactionId": transaction_id, "meterValue": [sample]}
            assert await ask(station, "6", "MeterValues", meter) == {}
            stop = {"transactionId": transaction_id, "meterStop": 100, "timestamp": AT}
            assert await ask(station, "7", "StopTransaction", stop) == {}


async def test_csms_comes_back_on_the_same_port() -> None:
    with start_csms() as url:
        port = urlsplit(url).port
    assert port
    with pytest.raises(OSError, match=r"(?i)connect"):
        await connect(f"{url}/anyone")
    with start_csms(port) as again:
        assert again == url


def test_csms_that_cannot_listen_says_why() -> None:
    refused = pytest.raises(RuntimeError, match="cannot listen")
    with start_csms() as url, refused, start_csms(urlsplit(url).port or 0):
        pytest.fail("two servers on one port")


def test_smoke_station_is_accepted() -> None:
    with start_csms() as url:
        command: list[str | Path] = [peer_python("test-ocpp").with_name("test-ocpp"), url, "smoke"]
        run = subprocess.run(
            [*command, "--timeout", "60"], capture_output=True, text=True, check=False, timeout=120
        )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("name", "command"), [("ocpp-debugkit", "ocpp-debugkit"), ("ocpp-ws-cli", "ocpp-ws-cli")]
)
def test_npm_peers_start(name: str, command: str) -> None:
    words: list[str | Path] = [peer_command(name, command), "--version"]
    run = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr


async def test_broker_knows_its_tags_and_no_others() -> None:
    with serve_broker("KNOWN") as broker:
        async with connect(
            f"{broker.url}/anyone", subprotocols=[websockets.Subprotocol("ocpp1.6")]
        ) as station:
            boot = {"chargePointVendor": "MANAGEON", "chargePointModel": "OTM-K"}
            assert (await ask(station, "1", "BootNotification", boot))["status"] == "Accepted"
            for number, (tag, status) in enumerate((("KNOWN", "Accepted"), ("OTHER", "Invalid")), start=2):
                authorized = await ask(station, str(number), "Authorize", {"idTag": tag})
                assert authorized["idTagInfo"]["status"] == status


async def test_arthexis_lets_in_whom_it_knows(tmp_path: Path) -> None:
    ocpp = [websockets.Subprotocol("ocpp1.6")]
    with serve_arthexis(tmp_path / "arthexis", {"known": "its password"}) as arthexis:
        url = f"{arthexis.url}/known/"
        with pytest.raises(websockets.InvalidStatus, match="403"):
            await connect(url, subprotocols=ocpp)
        token = base64.b64encode(b"known:its password").decode()
        headers = {"Authorization": f"Basic {token}"}
        async with connect(url, subprotocols=ocpp, additional_headers=headers) as station:
            boot = {"chargePointVendor": "MANAGEON", "chargePointModel": "OTM-K"}
            assert (await ask(station, "1", "BootNotification", boot))["status"] == "Accepted"
            assert "currentTime" in await ask(station, "2", "Heartbeat", {})
