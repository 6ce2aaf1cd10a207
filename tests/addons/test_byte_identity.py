"""What one end sends is what the other receives, to the byte, and the capture holds what the tap must say."""

import hashlib
import random
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.addons.wires import Relay, Tls, connected, received, rest, twin_record
from tests.wire_cases import CASES, Case, frame, mask_of
from twin.io.formats import open_capture
from twin.model import Frame, Kind, Side

STREAMS, PER_CONNECTION = 600, 100


@pytest.fixture(scope="module", params=["ws", "wss"])
def relay(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    folder = tmp_path_factory.mktemp(request.param)
    tls = both_legs(folder) if request.param == "wss" else None
    with twin_record(folder, "--quiet", "--keep-id-tags", tls=tls) as real:
        yield real


def both_legs(folder: Path) -> Tls:
    """One private CA for the site's certificate (station's leg) and one for the CSMS (upstream leg)."""
    site, upstream = trustme.CA(), trustme.CA()
    site.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "site.pem"))
    upstream.cert_pem.write_to_path(str(folder / "upstream.pem"))
    csms = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    upstream.issue_cert("localhost").configure_cert(csms)
    station = ssl.create_default_context()
    site.configure_trust(station)
    trusted = f"ssl_verify_upstream_trusted_ca={folder / 'upstream.pem'}"
    return Tls(station, csms, (f"certs=*={folder / 'site.pem'}", trusted))


def ends(sender: Side, station: socket.socket, csms: socket.socket) -> tuple[socket.socket, socket.socket]:
    """The sending end and the receiving one."""
    return (station, csms) if sender is Side.STATION else (csms, station)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def case_name(case: Case) -> str:
    return f"{case.name} by {case.sender}"


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_a_violation_passes_unaltered(relay: Relay, case: Case) -> None:
    with connected(relay, path=path_of(case)) as (station, csms):
        one, other = ends(case.sender, station, csms)
        one.sendall(case.wire)
        got = received(other, len(case.wire))
        one.close()
        got += rest(other)
    assert digest(got) == digest(case.wire)


def path_of(case: Case) -> str:
    return f"/ocpp/{case.sender}-{CASES.index(case)}"


def test_any_frames_in_any_slices_pass_unaltered(relay: Relay) -> None:
    chance = random.Random(16)  # noqa: S311  # not for secrets
    for _ in range(STREAMS // PER_CONNECTION):
        sent, got = {side: hashlib.sha256() for side in Side}, {side: hashlib.sha256() for side in Side}
        with connected(relay, path="/ocpp/SLICED") as (station, csms):
            station.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            csms.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(PER_CONNECTION):
                sender = chance.choice(list(Side))
                stream = any_stream(chance, sender)
                one, other = ends(sender, station, csms)
                for piece in sliced(chance, stream):
                    one.sendall(piece)
                    sent[sender].update(piece)
                got[sender].update(received(other, len(stream)))
            station.close()
            assert rest(csms) == b""
        for side in Side:
            assert got[side].hexdigest() == sent[side].hexdigest()


def any_stream(chance: random.Random, sender: Side) -> bytes:
    """A few frames, mostly of a kind that some parser would refuse."""
    stream = b""
    for _ in range(chance.randint(1, 5)):
        payload = chance.randbytes(chance.choice((0, 1, 5, 125, 126, 300, 4000, 70_000)))
        mask = chance.choice((mask_of(sender), mask_of(sender), chance.randbytes(4), None))
        rsv, fin = chance.choice((0, 0, 0, chance.randrange(8))), chance.random() < 0.8
        stream += frame(chance.randrange(16), payload, mask=mask, rsv=rsv, fin=fin)
    return stream[: chance.choice((len(stream), len(stream) - 1))] or stream


def sliced(chance: random.Random, stream: bytes) -> list[bytes]:
    cuts = sorted(chance.sample(range(len(stream)), min(len(stream), chance.randint(0, 12))))
    return [
        stream[start:end] for start, end in zip((0, *cuts), (*cuts, len(stream)), strict=True) if start < end
    ]


def test_the_capture_holds_what_the_tap_must_say(relay: Relay) -> None:
    """Last of the module: the recording of everything above is ended and read."""
    assert relay.stop() in (0, 1), relay.said
    assert "own faults 0" in relay.said
    assert "dropped            0 chunks" in relay.said
    reading = open_capture(relay.capture)
    frames = list(reading.frames)
    assert not reading.report.unusable
    for case in CASES:
        told = [seen for seen in frames if seen.station == path_of(case).rpartition("/")[2] and seen.sender]
        assert [word_of(seen) for seen in told] == [(said.kind, said.word) for said in case.says]
        violations = [tuple(seen.facts["wire"].get("violations", ())) for seen in told]
        assert violations == [said.violations for said in case.says]
    totals = reading.manifest["totals"]
    assert totals["seen_bytes"] == sum(
        seen.facts["wire"]["bytes"] for seen in frames if "wire" in seen.facts and seen.sender
    )


def word_of(seen: Frame) -> tuple[Kind, str | int | None]:
    if seen.kind is Kind.TEXT:
        return seen.kind, seen.text
    if seen.kind is Kind.CLOSE:
        return seen.kind, seen.facts["code"]
    if seen.kind is Kind.UNDECODABLE:
        return seen.kind, seen.facts["why"]
    return seen.kind, len(seen.data or b"")
