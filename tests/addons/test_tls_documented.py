"""The commands of docs/tls.md make certificates that work; and the check of stations in transparent mode."""

import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.addons.test_tls import FIRST_BYTES, REFUSED, UP, Site, profile_3, shown, site
from tests.addons.wires import (
    DEADLINE_S,
    Tls,
    answered,
    connected,
    line_with,
    received,
    rest,
    running,
    twin_record,
)
from tests.conftest import REPOSITORY, absent
from tests.namespaces import Network, network
from twin.io.formats import open_capture
from twin.model import Kind

__all__ = ["site"]  # the fixture
CSMS_PORT, PROXY_PORT = 8443, 9443


def documented(folder: Path, name: str, **environment: str) -> None:
    """Run one block of the document in a folder."""
    if shutil.which("openssl") is None:
        absent("openssl")
    text = (REPOSITORY / "docs" / "tls.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^```sh {name}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    path = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(
        ["/bin/sh", "-euc", block],
        cwd=folder,
        env={**path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_documented_commands_make_a_site_that_works(tmp_path: Path) -> None:
    documented(tmp_path, "site-ca")
    documented(tmp_path, "listener", CSMS_NAME="localhost")
    for station in ("CP7", "CP8"):
        documented(tmp_path, "station", STATION=station)
    assert (tmp_path / "site-ca.key").stat().st_mode & 0o077 == 0
    upstream = trustme.CA()
    upstream.cert_pem.write_to_path(str(tmp_path / "upstream.pem"))
    csms = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    upstream.issue_cert("localhost").configure_cert(csms)
    station = ssl.create_default_context(cafile=str(tmp_path / "site-ca.pem"))
    station.load_cert_chain(tmp_path / "CP7.pem")
    options = (
        "--tls-certificate",
        str(tmp_path / "listener.pem"),
        "--client-ca",
        str(tmp_path / "site-ca.pem"),
    )
    options += ("--upstream-ca", str(tmp_path / "upstream.pem"))
    with twin_record(tmp_path, "--quiet", *options, tls=Tls(station, csms, ())) as relay:
        with connected(relay, path="/ocpp/CP7") as (one, other):
            one.sendall(UP)
            assert received(other, len(UP)) == UP
        assert relay.stop() in (0, 1), relay.said
    assert [seen.station for seen in open_capture(relay.capture).frames if seen.kind is Kind.OPEN] == ["CP7"]


def test_intermediates_of_the_upstream_certificate_are_sent(site: Site, tmp_path: Path) -> None:
    """The CSMS knows the root alone; without the intermediate it could not verify the station."""
    root = trustme.CA()
    middle = root.create_child_ca()
    (tmp_path / "upstream").mkdir()
    leaf = middle.issue_cert("station.invalid", common_name="CP7")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "upstream" / "CP7.pem"))
    csms = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    site.upstream.issue_cert("localhost").configure_cert(csms)
    root.configure_trust(csms)
    csms.verify_mode = ssl.CERT_REQUIRED
    options = [*profile_3(site)[:-1], str(tmp_path / "upstream")]
    tls = Tls(shown(site, "station-CP7"), csms, ())
    with (
        twin_record(tmp_path, "--quiet", *options, tls=tls) as relay,
        connected(relay, path="/ocpp/CP7") as (one, other),
    ):
        one.sendall(UP)
        assert received(other, len(UP)) == UP


# ---- transparent mode


@pytest.fixture
def transparent(site: Site, tmp_path: Path) -> Iterator[Network]:
    """The gateway records, and redirects the CSMS's port to itself."""
    with network() as built:
        built.gateway.run(
            "sh", "-ec",
            f"iptables -t nat -A PREROUTING -p tcp --dport {CSMS_PORT} -j REDIRECT --to-ports {PROXY_PORT}",
        )  # fmt: skip
        command = [
            sys.executable,
            "-m",
            "twin",
            "record",
            "--mode",
            "transparent",
            "--listen",
            f"0.0.0.0:{PROXY_PORT}",
        ]
        command += [
            "-o",
            str(tmp_path / "c"),
            "--key-file",
            str(tmp_path / "key"),
            "--quiet",
            *profile_3(site),
        ]
        with running(built.gateway.command(*command)) as process:
            line_with(process, "listening")
            yield built


def test_in_transparent_mode_who_is_not_the_station_reaches_nobody(site: Site, transparent: Network) -> None:
    csms = transparent.csms.listen(CSMS_PORT)
    with csms:
        csms.settimeout(0.3)
        for name in ("", *(held for held, _ in REFUSED.values())):
            for first in FIRST_BYTES.values():
                got = b""
                try:
                    with transparent.stations[0].connect(transparent.csms.address, CSMS_PORT) as raw:
                        raw.settimeout(DEADLINE_S)
                        with shown(site, name).wrap_socket(raw, server_hostname="localhost") as end:
                            end.sendall(first)
                            got = rest(end)
                except (ssl.SSLError, ConnectionError):
                    pass
                assert b"101" not in got.partition(b"\r\n")[0]
                with pytest.raises(TimeoutError):
                    csms.accept()
        with transparent.stations[0].connect(transparent.csms.address, CSMS_PORT) as plain:
            plain.sendall(FIRST_BYTES["HTTP"])
            assert b"101" not in rest(plain).partition(b"\r\n")[0]
            with pytest.raises(TimeoutError):
                csms.accept()


def test_in_transparent_mode_the_station_itself_gets_through(site: Site, transparent: Network) -> None:
    with transparent.csms.listen(CSMS_PORT) as csms:
        csms.settimeout(DEADLINE_S)
        raw = transparent.stations[0].connect(transparent.csms.address, CSMS_PORT)
        with shown(site, "station-CP7").wrap_socket(raw, server_hostname="localhost") as end:
            end.sendall(FIRST_BYTES["HTTP"])
            accepted = csms.accept()[0]
            accepted.settimeout(DEADLINE_S)
            with site.csms(asks=True).wrap_socket(accepted, server_side=True) as far:
                assert isinstance(raw, socket.socket)
                assert answered(far).startswith(b"GET /ocpp/CP7 ")
                held = far.getpeercert()
                assert held
                assert (("commonName", "CP7"),) in held["subject"]  # type: ignore[operator]  # as ssl has it
