"""Security profiles through the relay: who is not the station that its path names does not reach the CSMS."""

import contextlib
import datetime
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trustme

from tests.addons.wires import (
    DEADLINE_S,
    KEY,
    Relay,
    Tls,
    answered,
    connected,
    mitmdump,
    received,
    rest,
    twin_record,
)
from tests.wire_cases import CALL, frame, mask_of
from twin.io.formats import open_capture
from twin.model import Kind, Side

UP, DOWN = frame(1, CALL, mask=mask_of(Side.STATION)), frame(1, b'[3,"1",{}]', mask=None)
NOW = datetime.datetime.now(datetime.UTC)  # noqa: TID251  # certificates live in the real time
YEAR = datetime.timedelta(days=365)
STATIONS = ("CP7", "CP8")


class Site(msgspec.Struct, frozen=True):
    """One CA for the site's listener and stations, another for the CSMS; what they issued is in ``folder``."""

    folder: Path
    site: trustme.CA
    upstream: trustme.CA

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def leaf(self, name: str, ca: trustme.CA, station: str, **dates: datetime.datetime) -> Path:
        """A client certificate with its key in one file."""
        place = self.folder / f"{name}.pem"
        held = ca.issue_cert("station.invalid", common_name=station, **dates)
        held.private_key_and_cert_chain_pem.write_to_path(str(place))
        return place

    def station(self, certificate: Path | None) -> ssl.SSLContext:
        """What a station trusts, and what it shows."""
        context = ssl.create_default_context()
        self.site.configure_trust(context)
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context

    def csms(self, *, asks: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.upstream.issue_cert("localhost").configure_cert(context)
        if asks:
            self.upstream.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    held = Site(folder, trustme.CA(), trustme.CA())
    listener = held.site.issue_cert("localhost")
    listener.private_key_and_cert_chain_pem.write_to_path(held.path("listener.pem"))
    held.site.cert_pem.write_to_path(held.path("site-ca.pem"))
    held.upstream.cert_pem.write_to_path(held.path("upstream-ca.pem"))
    for station in STATIONS:
        held.leaf(f"station-{station}", held.site, station)
    held.leaf("wrong-ca", trustme.CA(), "CP7")
    held.leaf("expired", held.site, "CP7", not_before=NOW - 2 * YEAR, not_after=NOW - YEAR)
    held.leaf("not-yet", held.site, "CP7", not_before=NOW + YEAR, not_after=NOW + 2 * YEAR)
    (folder / "upstream").mkdir()
    for station in STATIONS:
        held.leaf(f"upstream/{station}", held.upstream, station)
    (folder / "allowed").write_text("CP7   # by its own name\nCP9 CP8\n")
    return held


def profile_3(site: Site) -> tuple[str, ...]:
    """The options of both legs with certificates, one of each station's own upstream."""
    return (
        "--tls-certificate", site.path("listener.pem"), "--client-ca", site.path("site-ca.pem"),
        "--upstream-ca", site.path("upstream-ca.pem"), "--upstream-certificates", site.path("upstream"),
    )  # fmt: skip


@contextlib.contextmanager
def profile_3_relay(site: Site, folder: Path, *more: str) -> Iterator[Relay]:
    tls = Tls(site.station(None), site.csms(asks=True), ())
    with twin_record(folder, "--quiet", *profile_3(site), *more, tls=tls) as relay:
        yield relay


def shown(site: Site, name: str) -> ssl.SSLContext:
    return site.station(site.folder / f"{name}.pem" if name else None)


def test_two_stations_reach_the_csms_each_under_its_own_certificate(site: Site, tmp_path: Path) -> None:
    with profile_3_relay(site, tmp_path) as relay:
        for station in STATIONS:
            relay.tls = Tls(shown(site, f"station-{station}"), site.csms(asks=True), ())
            with connected(relay, path=f"/ocpp/{station}") as (one, other):
                assert isinstance(other, ssl.SSLSocket)
                subject = dict(pair for part in other.getpeercert()["subject"] for pair in part)  # type: ignore[index, union-attr, misc]  # as ssl has it
                assert subject["commonName"] == station
                one.sendall(UP)
                assert received(other, len(UP)) == UP
                other.sendall(DOWN)
                assert received(one, len(DOWN)) == DOWN
        assert relay.stop() in (0, 1), relay.said
    opened = [seen for seen in open_capture(relay.capture).frames if seen.kind is Kind.OPEN]
    assert [seen.station for seen in opened] == list(STATIONS)
    assert opened[0].facts["tls"]["version"] == "TLSv1.3"


REFUSED = {
    "no certificate": ("", "no client certificate"),
    "self-signed or of a wrong CA": ("wrong-ca", "not of the site's CA"),
    "expired": ("expired", "expired or is not valid yet"),
    "not valid yet": ("not-yet", "expired or is not valid yet"),
    "another station's": ("station-CP8", "not this station's"),
}
FIRST_BYTES = {
    "HTTP": (
        f"GET /ocpp/CP7 HTTP/1.1\r\nHost: csms\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
    ).encode(),
    "no HTTP": b"\x00\x01\x02\x03 anything but a request\r\n\r\n",
}


@pytest.fixture(scope="module")
def guarded_relay(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    with profile_3_relay(site, tmp_path_factory.mktemp("refusing")) as relay:
        relay.csms.settimeout(0.3)
        yield relay


def refused(relay: Relay, context: ssl.SSLContext | None, first: bytes) -> bytes:
    """What a client gets that says ``first``; the CSMS must have heard of nobody."""
    got = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        raw = socket.create_connection(("127.0.0.1", relay.port), timeout=DEADLINE_S)
        with raw, context.wrap_socket(raw, server_hostname="localhost") if context else raw as end:
            end.sendall(first)
            got = rest(end)
    with pytest.raises(TimeoutError):
        relay.csms.accept()
    assert b"101" not in got.partition(b"\r\n")[0]
    return got


@pytest.mark.parametrize("first", FIRST_BYTES)
@pytest.mark.parametrize("who", REFUSED)
def test_who_is_not_the_station_reaches_nobody(
    site: Site, guarded_relay: Relay, who: str, first: str
) -> None:
    refused(guarded_relay, shown(site, REFUSED[who][0]), FIRST_BYTES[first])


@pytest.mark.parametrize("first", FIRST_BYTES)
def test_plaintext_on_a_tls_listener_reaches_nobody(guarded_relay: Relay, first: str) -> None:
    refused(guarded_relay, None, FIRST_BYTES[first])


def test_bytes_without_a_path_reach_nobody_even_with_a_good_certificate(
    site: Site, guarded_relay: Relay
) -> None:
    refused(guarded_relay, shown(site, "station-CP7"), FIRST_BYTES["no HTTP"])


def test_a_second_request_on_an_open_connection_is_another_station(site: Site, guarded_relay: Relay) -> None:
    """The upstream connection of the first request stands, so nothing is opened: the path is asked again."""
    guarded_relay.csms.settimeout(DEADLINE_S)
    raw = socket.create_connection(("127.0.0.1", guarded_relay.port), timeout=DEADLINE_S)
    plain = "GET {} HTTP/1.1\r\nHost: csms\r\n\r\n"
    with raw, shown(site, "station-CP7").wrap_socket(raw, server_hostname="localhost") as end:
        end.sendall(plain.format("/ocpp/CP7").encode())
        accepted, _ = guarded_relay.csms.accept()
        with accepted, site.csms(asks=True).wrap_socket(accepted, server_side=True) as csms:
            csms.settimeout(DEADLINE_S)
            assert answered(csms).startswith(b"GET /ocpp/CP7 ")
            csms.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            assert b" 200 " in answered(end)
            end.sendall(plain.format("/ocpp/CP8").encode())
            assert b" 403 " in answered(end)
            end.close()
            assert rest(csms) == b""
    guarded_relay.csms.settimeout(0.3)


def test_what_was_refused_stands_in_the_capture(site: Site, guarded_relay: Relay) -> None:
    """Last of the module for this relay: its recording is ended and read."""
    for name, _ in REFUSED.values():
        refused(guarded_relay, shown(site, name), FIRST_BYTES["HTTP"])
    assert guarded_relay.stop() in (0, 1), guarded_relay.said
    seen = [held for held in open_capture(guarded_relay.capture).frames if held.kind is Kind.REFUSED]
    told = [str(held.facts["why"]) for held in seen if held.facts["by"] == "proxy"]
    for _, why in REFUSED.values():
        assert any(why in held for held in told), (why, told)
    assert any("no TLS" in held for held in told)
    stored = b"".join(path.read_bytes() for path in guarded_relay.capture.glob("*.jsonl"))
    assert b"PRIVATE KEY" not in stored


@pytest.mark.parametrize(("name", "path", "passes"), [
    ("station-CP7", "/ocpp/CP7", True), ("station-CP8", "/ocpp/CP9", True),
    ("station-CP8", "/ocpp/CP8", False), ("station-CP7", "/ocpp/CP9", False),
])  # fmt: skip
def test_a_list_says_which_certificate_is_which_station_s(
    site: Site, tmp_path: Path, name: str, path: str, passes: bool
) -> None:
    options = ("--tls-certificate", site.path("listener.pem"), "--client-ca", site.path("site-ca.pem"))
    options += ("--client-allow", site.path("allowed"), "--upstream-ca", site.path("upstream-ca.pem"))
    tls = Tls(shown(site, name), site.csms(), ())
    with twin_record(tmp_path, "--quiet", *options, tls=tls) as relay:
        if passes:
            with connected(relay, path=path) as (one, other):
                one.sendall(UP)
                assert received(other, len(UP)) == UP
            return
        relay.csms.settimeout(0.3)
        refused(relay, shown(site, name), FIRST_BYTES["HTTP"].replace(b"/ocpp/CP7", path.encode()))


def test_an_upstream_of_another_ca_is_not_spoken_to(site: Site, tmp_path: Path) -> None:
    options = ("--tls-certificate", site.path("listener.pem"), "--upstream-ca", site.path("site-ca.pem"))
    tls = Tls(site.station(None), site.csms(), ())
    with twin_record(tmp_path, "--quiet", *options, tls=tls) as relay:
        raw = socket.create_connection(("127.0.0.1", relay.port), timeout=DEADLINE_S)
        with raw, site.station(None).wrap_socket(raw, server_hostname="localhost") as end:
            end.sendall(FIRST_BYTES["HTTP"])
            csms, _ = relay.csms.accept()
            with csms, pytest.raises((ssl.SSLError, ConnectionError)):
                site.csms().wrap_socket(csms, server_side=True).recv(1)
            assert b" 502 " in rest(end)


def test_plain_stations_may_speak_to_a_csms_with_tls_only_if_that_is_said(site: Site, tmp_path: Path) -> None:
    options = ("--upstream-ca", site.path("upstream-ca.pem"))
    tls = Tls(site.station(None), site.csms(), ())
    with twin_record(tmp_path, "--quiet", *options, tls=tls) as relay:
        relay.csms.settimeout(0.3)
        refused(relay, None, FIRST_BYTES["HTTP"])


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("--set=ssl_insecure=true", "i-accept-insecure-upstream"),
        ("--set=connection_strategy=eager", "connection_strategy"),
        ("--set=request_client_cert=false", "request_client_cert"),
        ("--set=tls_version_client_min=TLS1", "tls_version_client_min"),
    ],
)
def test_no_option_undoes_the_check(site: Site, tmp_path: Path, option: str, why: str) -> None:
    tls = Tls(site.station(None), site.csms(), ())
    with (
        pytest.raises(AssertionError, match=why),
        twin_record(tmp_path, "--quiet", *profile_3(site), option, tls=tls),
    ):
        pytest.fail("it started")


def test_without_the_check_the_hole_is_there(site: Site, tmp_path: Path) -> None:
    """What the matrix above would see: bare mitmproxy lets anybody speak as the station."""
    folder = tmp_path / "bare"
    folder.mkdir()
    options = {
        "request_client_cert": "true",
        "client_certs": site.path("upstream/CP7.pem"),
        "certs": f"*={site.path('listener.pem')}",
        "ssl_verify_upstream_trusted_ca": site.path("upstream-ca.pem"),
    }
    tls = Tls(site.station(None), site.csms(asks=True), ())
    with (
        mitmdump(folder, upstream_scheme="https", tls=tls, **options) as relay,
        connected(relay) as (_, other),
    ):
        assert isinstance(other, ssl.SSLSocket)
        assert other.getpeercert()


@pytest.mark.parametrize("who", ["", "wrong-ca", "station-CP8"])
def test_mitmdump_checks_as_well(site: Site, tmp_path: Path, who: str) -> None:
    options = {
        "twin_client_ca": site.path("site-ca.pem"),
        "connection_strategy": "lazy",
        "request_client_cert": "true",
        "certs": f"*={site.path('listener.pem')}",
        "ssl_verify_upstream_trusted_ca": site.path("upstream-ca.pem"),
    }
    tls = Tls(shown(site, "station-CP7"), site.csms(), ())
    with mitmdump(tmp_path, upstream_scheme="https", tls=tls, **options) as relay:
        with connected(relay) as (one, other):
            one.sendall(UP)
            assert received(other, len(UP)) == UP
        relay.csms.settimeout(0.3)
        refused(relay, shown(site, who), FIRST_BYTES["HTTP"])
