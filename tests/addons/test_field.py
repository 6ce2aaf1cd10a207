"""What happens to a relay in the field: full disks, reloads, several sites, peers that stall."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import ocpp.routing
import ocpp.v16
import pytest
import websockets
from ocpp.v16 import call, call_result

from tests.addons.wires import (
    DEADLINE_S,
    Relay,
    answered,
    connected,
    line_with,
    listener,
    received,
    rest,
    running,
    twin_record,
)
from tests.conftest import absent
from tests.fault_relay import Faults, fault_relay
from tests.peers import peer_command
from tests.wire_cases import frame, mask_of
from twin.io import clock
from twin.io.formats import open_capture
from twin.io.integrity import verify
from twin.io.manifest import segments_of
from twin.model import Frame, Kind, Side

MASK = mask_of(Side.STATION)


def beat(number: int) -> bytes:
    return frame(1, f'[2,"{number}","Heartbeat",{{}}]'.encode(), mask=MASK)


def pass_on(station: socket.socket, csms: socket.socket, numbers: range) -> None:
    for number in numbers:
        wire = beat(number)
        station.sendall(wire)
        assert received(csms, len(wire)) == wire


def frames_of(capture: Path) -> list[Frame]:
    assert verify(capture).problems == []
    return list(open_capture(capture).frames)


def numbers_of(frames: list[Frame]) -> list[int]:
    return [int(seen.text.split('"')[1]) for seen in frames if seen.kind is Kind.TEXT and seen.text]


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def there(capture: Path, pattern: str, count: int) -> bool:
    return len(list(capture.glob(pattern))) == count


def until(what: object, why: str) -> None:
    """Wait for another process, with a deadline."""
    end_ns = clock.now().mono_ns + int(DEADLINE_S * 1e9)
    while not what():  # type: ignore[operator]  # a function without arguments
        assert clock.now().mono_ns < end_ns, why


# ---- disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False)
    if not done or done.returncode:
        absent("a tmpfs of its own")
    yield place
    subprocess.run([str(shutil.which("umount")), "--lazy", str(place)], check=True)


def test_a_full_disk_pauses_the_recording_and_nothing_else(small_disk: Path) -> None:
    with twin_record(small_disk, "--quiet") as relay:
        with connected(relay) as (station, csms):
            pass_on(station, csms, range(50))
            until(lambda: b'"49"' in held(relay.capture), "nothing was written")
            filler = small_disk / "filler"
            with filler.open("wb") as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
                    file.flush()
            pass_on(station, csms, range(50, 150))
            relay.said += line_with(relay.process, r"alarm: .*\n")
            filler.unlink()
            pass_on(station, csms, range(150, 200))
            until(lambda: b'"199"' in held(relay.capture), "the recording did not go on")
        assert relay.stop() in (0, 1), relay.said
    assert "dropped            0 chunks" in relay.said
    assert relay.said.count("nothing is stored: disk: No space left on device; traffic goes on") == 1
    assert "alarm over" in relay.said
    assert numbers_of(frames_of(relay.capture)) == list(range(200))


def held(capture: Path) -> bytes:
    return b"".join(path.read_bytes() for path in segments_of(capture)) if capture.exists() else b""


# ---- signals


def test_a_reload_begins_a_segment_and_keeps_the_sockets(tmp_path: Path) -> None:
    with twin_record(tmp_path, "--quiet") as relay:
        with connected(relay) as (station, csms):
            for count in range(1, 4):
                pass_on(station, csms, range(10 * count - 10, 10 * count))
                until(partial(there, relay.capture, "*.jsonl", count), "no segment")
                relay.process.send_signal(signal.SIGHUP)
                until(partial(there, relay.capture, "*.seal", count), "no seal")
            pass_on(station, csms, range(30, 40))
        assert relay.stop() in (0, 1), relay.said
    verdict = verify(relay.capture)
    assert verdict.problems == []
    assert verdict.sealed_to_seq == verdict.last_seq
    assert numbers_of(frames_of(relay.capture)) == list(range(40))


def test_a_second_run_goes_on_with_the_capture_and_says_the_gap(tmp_path: Path) -> None:
    for round_ in range(2):
        with twin_record(tmp_path, "--quiet") as relay:
            with connected(relay) as (station, csms):
                pass_on(station, csms, range(10 * round_, 10 * round_ + 10))
                if round_ == 0:
                    until(lambda: b'"9"' in held(relay.capture), "nothing was written")
                    relay.process.kill()
                    relay.ended()
            if round_:
                assert relay.stop() in (0, 1), relay.said
    frames = frames_of(relay.capture)
    gaps = [seen.facts for seen in frames if seen.kind is Kind.GAP]
    assert [(gap["reason"], gap["what"]) for gap in gaps] == [("restart", "proxy")]
    assert numbers_of(frames) == list(range(20))
    assert len({seen.link for seen in frames if seen.kind is Kind.OPEN}) == 2
    totals = open_capture(relay.capture).manifest["totals"]
    assert totals["seen_chunks"] == totals["recorded_chunks"] == 20


# ---- several sites, and what is refused at the start


def test_several_listeners_with_an_upstream_each_are_one_recording(tmp_path: Path) -> None:
    with listener() as one, listener() as other:
        command = [sys.executable, "-m", "twin", "record", "--quiet", "-o", str(tmp_path / "c")]
        for csms in (one, other):
            command += ["--upstream", f"ws://127.0.0.1:{csms.getsockname()[1]}"]
            command += ["--listen", f"127.0.0.1:{free_port()}"]
        command += ["--key-file", str(tmp_path / "key")]
        with running(command) as process:
            said = line_with(process, r"(?s)listening .*\n.*listening .*\n")
            ports = [
                int(line.rpartition(":")[2]) for line in said.split("\n") if line.startswith("listening")
            ]
            for number, (csms, port) in enumerate(zip((one, other), ports, strict=True)):
                relay = Relay(process, port, csms, tmp_path / "c")
                with connected(relay, path=f"/ocpp/CP{number}") as (station, end):
                    pass_on(station, end, range(number, number + 1))
            process.terminate()
            said += process.communicate(timeout=DEADLINE_S)[0]
            assert process.returncode in (0, 1), said
    frames = frames_of(tmp_path / "c")
    assert [(seen.station, seen.link) for seen in frames if seen.kind is Kind.OPEN] == [
        ("CP0", "c1"),
        ("CP1", "c2"),
    ]
    assert numbers_of(frames) == [0, 1]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--set=tcp_timeout=600",), "would cut a silent, healthy station"),
        (("--heartbeat", "300000"), "would cut a silent, healthy station"),
        (("--set=websocket=true",), "byte-exact"),
        (("--set=rawtcp=false",), "byte-exact"),
        (("--listen", "127.0.0.1:0"), "every listener needs one upstream"),
        (("--mode", "transparent"), "knows no --upstream"),
        (("--set=no_such_option=1",), "no_such_option"),
    ],
)
def test_what_breaks_a_promise_does_not_start(tmp_path: Path, options: tuple[str, ...], why: str) -> None:
    command = [
        sys.executable,
        "-m",
        "twin",
        "record",
        "--upstream",
        "ws://127.0.0.1:9",
        "--listen",
        "127.0.0.1:0",
    ]
    command += ["-o", str(tmp_path / "c"), "--key-file", str(tmp_path / "key"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert why in done.stderr
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_a_heartbeat_of_four_hours_is_no_reason_to_close(tmp_path: Path) -> None:
    """Scaled: with a heartbeat of 1 s, ten of them in silence leave the connection as it was."""
    with twin_record(tmp_path, "--quiet", "--heartbeat", "1") as relay, connected(relay) as (station, csms):
        station.settimeout(10)
        with pytest.raises(TimeoutError):
            station.recv(1)
        pass_on(station, csms, range(3))


# ---- peers that stall


async def test_who_stalls_holds_up_nobody_else(tmp_path: Path) -> None:
    """A handshake that comes a byte at a time, a peer that falls silent, one that is cut by RST."""

    async def csms(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from soak.processes import answering

        await answering(reader, writer)

    from soak.processes import Station

    with twin_record(tmp_path, "--quiet") as relay:
        server = await asyncio.start_server(csms, sock=relay.csms)
        slow = Faults(slice_bytes=1, slice_s=1.0)
        async with (
            asyncio.timeout(60),
            fault_relay(relay.port, slow) as dripping,
            fault_relay(relay.port, Faults(limit_bytes=300, ends="silent")) as mute,
            fault_relay(relay.port, Faults(limit_bytes=300, ends="reset")) as cut,
        ):
            stuck = asyncio.create_task(Station.connect(dripping.port, "DRIP"))
            silent = await Station.connect(mute.port, "MUTE")
            silent.writer.write(beat(1) * 40)
            broken = await Station.connect(cut.port, "CUT")
            broken.writer.write(beat(1) * 40)
            good = await Station.connect(relay.port, "GOOD")
            for number in range(200):
                assert await good.ask(f'[2,"{number}","Heartbeat",{{}}]') == b'[3,"%d",{}]' % number
            assert not stuck.done()
            stuck.cancel()
            for station in (good, silent, broken):
                station.writer.transport.abort()
        server.close()
        await server.wait_closed()
        assert await asyncio.to_thread(relay.stop) in (0, 1), relay.said
    frames = frames_of(relay.capture)
    ends = {seen.station: seen.facts for seen in frames if seen.kind is Kind.END}
    assert {"GOOD", "MUTE", "CUT"} <= ends.keys()
    assert ends["CUT"]["abrupt"] is True
    assert sum(seen.station == "GOOD" and seen.kind is Kind.TEXT for seen in frames) == 400


# ---- JSON at its edges, and programs of others


EDGES = (
    "[" * 100_000 + "]" * 100_000,
    '[2,"1","X",{"n":' + "9" * 5_000 + "}]",
    '[2,"1","X",{"n":NaN}]',
    '[2,"1","X",{"a":1,"a":2}]',
    "\ufeff" + '[2,"1","Heartbeat",{}]',
    '[2,"1","X",{"a":"\x00"}]',
    '[2,"1","X",{"a":"\\ud800"}]',
    '[2,"1","Heartbeat",{}] trailing',
    "{}",
    '[2,"' + "i" * 1_000 + '","Heartbeat",{}]',
    '[2,"","Heartbeat",{}]',
    '[3,"never asked",{}]',
    "[2,1,2,3,4,5]",
    '[2,"1","X",{' + ",".join(f'"k{number}":{number}' for number in range(50_000)) + "}]",
)


def test_json_at_its_edges_passes_and_is_kept_word_for_word(tmp_path: Path) -> None:
    with twin_record(tmp_path, "--quiet", "--keep-id-tags") as relay:
        with connected(relay) as (station, csms):
            for text in EDGES:
                wire = frame(1, text.encode("utf-8", "surrogatepass"), mask=MASK)
                station.sendall(wire)
                assert received(csms, len(wire)) == wire
        assert relay.stop() in (0, 1), relay.said
    assert "own faults 0" in relay.said
    assert [seen.text for seen in frames_of(relay.capture) if seen.kind is Kind.TEXT] == list(EDGES)


class Csms(ocpp.v16.ChargePoint):  # type: ignore[misc]  # the package gives no types here
    @ocpp.routing.on("BootNotification")  # type: ignore[untyped-decorator]  # the package gives no types here
    def boot(self, **asked: object) -> object:
        return call_result.BootNotification("2026-11-26T10:00:00Z", 300, "Accepted")

    @ocpp.routing.on("Heartbeat")  # type: ignore[untyped-decorator]  # the package gives no types here
    def heartbeat(self) -> object:
        return call_result.Heartbeat("2026-11-26T10:00:00Z")


async def test_the_ocpp_package_on_both_sides_says_the_same_as_the_capture(tmp_path: Path) -> None:
    async def serve(end: websockets.ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            await Csms("CP7", end).start()

    protocols = [websockets.Subprotocol("ocpp1.6")]
    with twin_record(tmp_path, "--quiet") as relay:
        async with asyncio.timeout(60), websockets.serve(serve, sock=relay.csms, subprotocols=protocols):
            url = f"ws://127.0.0.1:{relay.port}/ocpp/CP7"
            async with websockets.connect(url, subprotocols=protocols, proxy=None) as end:
                station = ocpp.v16.ChargePoint("CP7", end)
                listening = asyncio.create_task(station.start())
                boot = await station.call(call.BootNotification("OTM-K", "Manageon"))
                beats = [await station.call(call.Heartbeat()) for _ in range(20)]
                listening.cancel()
        assert boot.interval == 300
        assert len(beats) == 20
        assert await asyncio.to_thread(relay.stop) in (0, 1), relay.said
    texts = [seen.text or "" for seen in frames_of(relay.capture) if seen.kind is Kind.TEXT]
    assert sum("Heartbeat" in text for text in texts) == 20
    assert len(texts) == 42


@pytest.mark.peer
def test_a_hostile_station_in_another_language_harms_nothing(tmp_path: Path) -> None:
    """ocpp-ws-cli fuzz: broken frames, wrong types, floods of fields; the relay passes it all on."""
    program = peer_command("ocpp-ws-cli", "ocpp-ws-cli")

    async def serve(end: websockets.ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in end:
                if isinstance(text, str) and text.startswith("[2,") and text.count('"') > 1:
                    await end.send(f'[3,"{text.split(chr(34))[1]}",{{}}]')

    async def attacked(relay: Relay) -> None:
        protocols = [websockets.Subprotocol("ocpp1.6")]
        async with websockets.serve(serve, sock=relay.csms, subprotocols=protocols):
            command = [
                "timeout",
                "-s",
                "INT",
                "15",
                str(program),
                "fuzz",
                "-e",
                f"ws://127.0.0.1:{relay.port}",
            ]
            command += ["-w", "2", "--no-flood", "--report", "json"]
            fuzzing = await asyncio.create_subprocess_exec(
                *command, cwd=tmp_path, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            await asyncio.wait_for(fuzzing.wait(), 60)

    with twin_record(tmp_path, "--quiet") as relay:
        asyncio.run(attacked(relay))
        assert relay.stop() in (0, 1), relay.said
    assert "own faults 0" in relay.said
    assert "dropped            0 chunks" in relay.said
    assert sum(seen.kind is Kind.TEXT for seen in frames_of(relay.capture)) > 10
    assert os.path.isdir(tmp_path)  # noqa: PTH112  # its reports fell here, not into the checkout


def test_a_refused_handshake_is_recorded(tmp_path: Path) -> None:
    with twin_record(tmp_path, "--quiet") as relay:
        with socket.create_connection(("127.0.0.1", relay.port), timeout=DEADLINE_S) as station:
            station.sendall(
                b"GET /ocpp/CP7 HTTP/1.1\r\nHost: csms\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            with relay.csms.accept()[0] as csms:
                csms.settimeout(DEADLINE_S)
                answered(csms)
                csms.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                assert b" 404 " in answered(station)
                assert rest(station) == b""
        assert relay.stop() in (0, 1), relay.said
    seen = [one for one in frames_of(relay.capture) if one.kind is Kind.REFUSED]
    assert [(one.station, one.facts["status"], one.facts["by"]) for one in seen] == [("CP7", 404, "csms")]


@pytest.mark.parametrize("address", ["0.0.0.0:9100", "taken"])
def test_metrics_that_cannot_be_served_are_said_before_anything_starts(tmp_path: Path, address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        asked = f"127.0.0.1:{taken.getsockname()[1]}" if address == "taken" else address
        command = [
            sys.executable,
            "-m",
            "twin",
            "record",
            "--upstream",
            "ws://127.0.0.1:9",
            "--metrics",
            asked,
        ]
        command += ["--listen", "127.0.0.1:0", "-o", str(tmp_path / "c"), "--key-file", str(tmp_path / "k")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "in use" in done.stderr or "this host only" in done.stderr
