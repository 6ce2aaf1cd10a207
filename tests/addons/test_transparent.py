"""Transparent mode in network namespaces: nobody knows of the proxy. The commands are the documents'."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets
from ocpp.v16 import ChargePoint, call
from websockets.asyncio.client import connect

from tests.addons.test_passive_live import until
from tests.addons.wires import ACCEPT, DEADLINE_S, KEY, answered, line_with, received, running
from tests.conftest import REPOSITORY, absent
from tests.namespaces import Network, network
from tests.peers import PEERS, peer_python
from tests.wire_cases import CASES, frame, mask_of
from twin.io.formats import open_capture
from twin.io.integrity import verify
from twin.model import Frame, Kind, Side

PROXIES = ("transparent", "transparent-mitmdump")
CSMS_PORT, PROXY_PORT = 8180, 9000
CALL, RESULT = b'[2,"1","Heartbeat",{}]', b'[3,"1",{"currentTime":"2026-11-24T10:00:00Z"}]'


def blocks() -> dict[str, list[str]]:
    """The commands of docs/deployment.md, by the name behind ``sh``."""
    text = (REPOSITORY / "docs" / "deployment.md").read_text(encoding="utf-8")
    found = re.findall(r"^```sh (\S+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return {name: block.replace("\\\n", " ").strip().splitlines() for name, block in found}


def documented(name: str, network: Network) -> None:
    """Run a block of the documents in the gateway, to its end."""
    for line in blocks()[name]:
        network.gateway.run("sh", "-ec", line)


@contextlib.contextmanager
def started(name: str, network: Network, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a block of the documents in the gateway, in ``folder``, as long as it lasts."""
    (line,) = blocks()[name]
    if shutil.which(line.split()[0], path=_path()) is None:
        absent(line.split()[0])
    if not (folder / "addons").exists():
        (folder / "addons").symlink_to(REPOSITORY / "addons")
    words = ["env", f"HOME={folder}", f"PATH={_path()}", "sh", "-ec", f"cd {folder}; exec {line}"]
    with running(network.gateway.command(*words)) as process:
        yield process


def _path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@contextlib.contextmanager
def proxied(name: str, network: Network, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The gateway as the documents set it up, listening."""
    documented("redirect", network)
    with started(name, network, folder) as process:
        line_with(process, "listening")
        yield process


def stopped(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=DEADLINE_S)[0]
    assert process.returncode in (0, 1), said


def frames_of(capture: Path) -> list[Frame]:
    reading = open_capture(capture)
    frames = list(reading.frames)
    assert not reading.report.unusable
    assert verify(capture).problems == []
    return frames


@contextlib.contextmanager
def talking(
    network: Network, csms: socket.socket, station: int = 0
) -> Iterator[tuple[socket.socket, socket.socket, bytes]]:
    """Both ends after the 101, and the handshake that the CSMS got. The URL is the CSMS's own."""
    host = network.stations[station]
    request = (
        f"GET /ocpp/CP{station} HTTP/1.1\r\nhOST: 10.77.0.2:8180\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
    ).encode()
    with host.connect(network.csms.address, CSMS_PORT) as at_station:
        at_station.sendall(request)
        csms.settimeout(DEADLINE_S)
        at_csms, _ = csms.accept()
        with at_csms:
            at_csms.settimeout(DEADLINE_S)
            got = answered(at_csms)
            at_csms.sendall(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: ocpp1.6\r\n\r\n".encode()
            )
            assert b" 101 " in answered(at_station).partition(b"\r\n")[0]
            assert got == request
            yield at_station, at_csms, got


@pytest.fixture
def site() -> Iterator[Network]:
    with network() as built:
        yield built


@contextlib.contextmanager
def third_party_csms(network: Network) -> Iterator[str]:
    """ocpp-csms in the CSMS's namespace; the URL that stations use."""
    serve = (peer_python("ocpp-csms"), PEERS / "ocpp-csms" / "serve.py")
    with running(network.csms.command(*serve, str(CSMS_PORT), network.csms.address)) as process:
        line_with(process, r"listening \d+")
        yield f"ws://{network.csms.address}:{CSMS_PORT}"


@pytest.mark.peer
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_third_party_station_reaches_a_third_party_csms_unaware(
    proxy: str, site: Network, tmp_path: Path
) -> None:
    station = peer_python("test-ocpp").with_name("test-ocpp")
    with third_party_csms(site) as url, proxied(proxy, site, tmp_path) as process:
        said = site.stations[0].run(station, url, "smoke", "--timeout", "60")
        stopped(process)
    assert "Accepted" in said
    frames = frames_of(tmp_path / "site-a.capture")
    opened = next(one for one in frames if one.kind is Kind.OPEN)
    assert (opened.station, opened.facts["path"]) == ("smoke", "/smoke")
    assert ["Host", "10.77.0.2:8180"] in opened.facts["request_headers"]
    calls = [json.loads(one.text) for one in frames if one.text and one.sender is Side.STATION]
    answers = [json.loads(one.text) for one in frames if one.text and one.sender is Side.CSMS]
    assert [words[2] for words in calls] == ["BootNotification", "Heartbeat"]
    assert [words[:2] for words in answers] == [[3, words[1]] for words in calls]


@pytest.mark.peer
async def test_a_station_of_the_ocpp_package_talks_to_it_too(site: Network, tmp_path: Path) -> None:
    with third_party_csms(site) as url, proxied("transparent", site, tmp_path) as process:
        with site.stations[0].connect(site.csms.address, CSMS_PORT) as raw:
            raw.setblocking(False)
            subprotocols = [websockets.Subprotocol("ocpp1.6")]
            async with connect(f"{url}/CP7", sock=raw, subprotocols=subprotocols, proxy=None) as wire:
                point = ChargePoint("CP7", wire)
                task = asyncio.ensure_future(point.start())
                boot = await point.call(call.BootNotification("OTM-K", "MANAGEON"))
                beat = await point.call(call.Heartbeat())
                task.cancel()
        stopped(process)
    assert boot.status == "Accepted"
    frames = frames_of(tmp_path / "site-a.capture")
    answers = [json.loads(one.text)[2] for one in frames if one.text and one.sender is Side.CSMS]
    assert answers[1]["currentTime"] == beat.current_time


@pytest.mark.parametrize("proxy", PROXIES)
def test_bytes_pass_unaltered_and_are_all_recorded(proxy: str, site: Network, tmp_path: Path) -> None:
    cases = [case for case in CASES if case.sender is Side.STATION]
    with site.csms.listen(CSMS_PORT) as csms, proxied(proxy, site, tmp_path) as process:
        for case in cases:
            with talking(site, csms) as (station, at_csms, _):
                station.sendall(case.wire)
                assert received(at_csms, len(case.wire)) == case.wire, case.name
                at_csms.sendall(frame(1, RESULT, mask=None))
                assert received(station, len(RESULT) + 2)[2:] == RESULT
        stopped(process)
    frames = frames_of(tmp_path / "site-a.capture")
    assert sum(one.kind is Kind.OPEN for one in frames) == len(cases)
    totals = json.loads((tmp_path / "site-a.capture" / "manifest.json").read_bytes())["totals"]
    passed = sum(len(case.wire) + len(RESULT) + 2 for case in cases)
    assert totals["seen_bytes"] == totals["recorded_bytes"] == passed


def test_the_documented_bypass_gives_the_path_back_when_the_proxy_is_dead(
    site: Network, tmp_path: Path
) -> None:
    with site.csms.listen(CSMS_PORT) as csms, proxied("transparent", site, tmp_path) as process:
        with talking(site, csms) as (_, at_csms, _):
            assert at_csms.getpeername()[0] == "10.77.0.1"  # the proxy's own connection
            process.kill()
            process.wait()
        with pytest.raises(OSError, match="refused"):
            site.stations[0].connect(site.csms.address, CSMS_PORT)
        documented("bypass", site)
        with talking(site, csms) as (station, at_csms, _):
            assert at_csms.getpeername()[0] == site.stations[0].address  # nobody in between
            station.sendall(frame(1, CALL, mask=mask_of(Side.STATION)))
            assert received(at_csms, len(CALL) + 6)


def test_only_stations_reach_the_proxy_port(site: Network, tmp_path: Path) -> None:
    with proxied("transparent", site, tmp_path):
        site.stations[0].connect(site.gateway.address, PROXY_PORT).close()
        with pytest.raises(ConnectionRefusedError):
            site.csms.connect(site.gateway.address, PROXY_PORT)


def test_a_cable_pulled_from_one_station_leaves_the_others_alone(tmp_path: Path) -> None:
    wire = frame(1, CALL, mask=mask_of(Side.STATION))
    answer = frame(1, RESULT, mask=None)
    with network(stations=2) as site, site.csms.listen(CSMS_PORT) as csms:
        second = "-i eth2 -p tcp --dport"
        redirected = f"-t nat -A PREROUTING {second} {CSMS_PORT} -j REDIRECT --to-ports {PROXY_PORT}"
        for rule in (redirected, f"-A INPUT {second} {PROXY_PORT} -j ACCEPT"):
            site.gateway.run("iptables", *rule.split())
        with (
            proxied("transparent", site, tmp_path) as process,
            talking(site, csms, 0) as (pulled, at_csms, _),
            talking(site, csms, 1) as (healthy, beside, _),
        ):
            site.link(0, "down")
            pulled.sendall(wire)  # into the cable that is not there
            at_csms.sendall(answer)  # read by the proxy, which cannot pass it on
            for _ in range(200):
                healthy.sendall(wire)
                assert received(beside, len(wire)) == wire
                beside.sendall(answer)
                assert received(healthy, len(answer)) == answer
            site.link(0, "up")
            assert received(at_csms, len(wire)) == wire  # TCP sends it again: nothing was lost
            assert received(pulled, len(answer)) == answer
            stopped(process)
    frames = frames_of(tmp_path / "site-a.capture")
    texts = Counter(one.station for one in frames if one.kind is Kind.TEXT)
    assert texts == {"CP0": 2, "CP1": 400}


@pytest.mark.parametrize("name", ["reverse", "interactive"])
def test_the_station_that_is_pointed_at_the_gateway_is_recorded(
    name: str, site: Network, tmp_path: Path
) -> None:
    with third_party_csms(site), started(name, site, tmp_path) as process:
        line_with(process, "listening")
        station = peer_python("test-ocpp").with_name("test-ocpp")
        site.stations[0].run(station, "ws://10.77.1.1:9000", "smoke", "--timeout", "60")
        stopped(process)
    texts = [one.text for one in frames_of(tmp_path / "site-a.capture") if one.sender is Side.STATION]
    actions = [json.loads(text)[2] for text in texts if text]
    assert actions == ["BootNotification", "Heartbeat"]


@pytest.mark.parametrize("dumper", ["dumpcap", "tcpdump"])
def test_a_ring_of_the_gateway_is_recorded_from_beside(dumper: str, site: Network, tmp_path: Path) -> None:
    if shutil.which("tshark") is None:
        absent("tshark")
    (tmp_path / "ring").mkdir()
    wire, answer = frame(1, CALL, mask=mask_of(Side.STATION)), frame(1, RESULT, mask=None)
    with (
        site.csms.listen(CSMS_PORT) as csms,
        started(dumper, site, tmp_path) as dumping,
        started("passive", site, tmp_path) as process,
    ):
        line_with(dumping, "listening on|File: ")
        line_with(process, "following")
        with talking(site, csms) as (station, at_csms, _):
            assert at_csms.getpeername()[0] == site.stations[0].address
            station.sendall(wire)
            received(at_csms, len(wire))
            at_csms.sendall(answer)
            received(station, len(answer))
        until(tmp_path / "site-a.capture", Kind.END, 1, process)
        stopped(dumping)
        stopped(process)
    texts = [one.text for one in frames_of(tmp_path / "site-a.capture") if one.kind is Kind.TEXT]
    assert texts == [CALL.decode(), RESULT.decode()]


def test_every_block_of_the_documents_is_run_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert blocks()
    assert [name for name in blocks() if f'"{name}"' not in source] == []
