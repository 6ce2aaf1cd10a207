"""TLS towards stations and CSMS (OCPP security profiles 2 and 3): the one place that fails closed.

mitmproxy asks a client for a certificate and then accepts any, or none. With a client certificate of its own
upstream it would let anybody speak as the station. So the check is ours, in ``server_connect``, which comes
before every upstream connection whatever the layer; for that the upstream must be opened late
(``connection_strategy=lazy``).
"""

import logging
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)
from mitmproxy import connection, ctx, exceptions, http, tls
from mitmproxy.addonmanager import Loader
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.proxy.mode_specs import ReverseMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from twin.io import clock
from twin.io.settings import Settings, Tls

log = logging.getLogger(__name__)

REFUSED = "twin.refused"  # in a flow's metadata: why this proxy answered for the CSMS
_NAME = re.compile(r"[A-Za-z0-9_.+@-]{1,64}")  # a station's file: no separators, no surprises


def options_of(settings: Settings) -> dict[str, Any]:
    """What mitmproxy must be told for these settings; raises ``ValueError`` for what cannot work."""
    held = settings.tls
    said: dict[str, Any] = {
        "tls_version_client_min": "TLS1_2",
        "tls_version_server_min": "TLS1_2",
        "ssl_insecure": held.accept_insecure_upstream,
    }
    if held.client_ca:
        _authorities(Path(held.client_ca))
        said["request_client_cert"] = True
    if held.certificate:
        said["certs"] = [f"*={held.certificate}"]
    if held.upstream_ca:
        said["ssl_verify_upstream_trusted_ca"] = held.upstream_ca
    secure = any(route.upstream.startswith(("wss:", "https:")) for route in settings.routes)
    if held.client_ca or held.certificate or (secure and not held.plain_stations):
        said["connection_strategy"] = "lazy"
    for path in (held.certificate, held.upstream_ca, held.client_allow, held.upstream_certificates):
        if path and not Path(path).exists():
            raise ValueError(f"{path} does not exist")
    return said


class StationTls:
    """Refuses, before anything is opened upstream, whoever is not the station that its path names.

    Without a client CA only plaintext on a TLS listener is refused. ``allowed`` maps stations to the common
    name, serial number or SHA-256 fingerprint of their certificate.
    """

    def __init__(self, held: Tls) -> None:
        self._held = held
        self._authorities = _authorities(Path(held.client_ca)) if held.client_ca else []
        self._allowed = _allow_list(Path(held.client_allow)) if held.client_allow else None
        self._paths: dict[str, str] = {}

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Note whom the client says it is, and refuse on a connection that is open already."""
        self._paths[flow.client_conn.id] = flow.request.path
        if why := self._decided(flow.client_conn):
            flow.metadata[REFUSED] = why
            flow.response = http.Response.make(403, b"", {"Connection": "close"})

    def server_connect(self, data: ServerConnectionHookData) -> None:
        """The decision; whatever goes wrong in it, nobody gets in."""
        data.server.error = "not checked"
        data.server.error = self._decided(data.client) or None

    def client_disconnected(self, client: connection.Client) -> None:
        self._paths.pop(client.id, None)

    def station(self, client: connection.Client) -> str:
        """The identity in the path of this client's last request, "" if it made none."""
        segments = [part for part in self._paths.get(client.id, "").partition("?")[0].split("/") if part]
        return unquote(segments[-1]) if segments else ""

    def _decided(self, client: connection.Client) -> str:
        try:
            why = self.refusal(client)
        except Exception as error:
            why = f"the check failed ({type(error).__name__})"
        if why:
            log.warning("twin: refused %s: %s", client.peername, why)
        return why

    def refusal(self, client: connection.Client) -> str:
        """Why this client may not go on, "" if it may."""
        if not client.tls_established:
            return "no TLS on a TLS listener" if self._tls_only(client) else ""
        if not self._authorities:
            return ""
        if not client.certificate_list:
            return "no client certificate"
        leaf, *others = (held.to_cryptography() for held in client.certificate_list)
        if why := self._unverified(leaf, others):
            return why
        station = self.station(client)
        if not station:
            return "no station in the path"
        return "" if self._is_of(leaf, station) else "the client certificate is not this station's"

    def _tls_only(self, client: connection.Client) -> bool:
        """With a certificate to show or to see; and in front of a CSMS with TLS, unless that is given up."""
        held, mode = self._held, client.proxy_mode
        secure = isinstance(mode, ReverseMode) and mode.scheme == "https"
        return bool(held.client_ca or held.certificate) or (secure and not held.plain_stations)

    def _unverified(self, leaf: x509.Certificate, others: list[x509.Certificate]) -> str:
        now = datetime.fromtimestamp(clock.now().wall_us / 1e6, UTC)
        if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
            return "the client certificate has expired or is not valid yet"
        policy = (
            PolicyBuilder()
            .store(Store(self._authorities))
            .time(now)
            .extension_policies(ca_policy=_CA, ee_policy=_STATION)
        )
        try:
            policy.build_client_verifier().verify(leaf, others)
        except VerificationError:
            return "the client certificate is not of the site's CA"
        return ""

    def _is_of(self, leaf: x509.Certificate, station: str) -> bool:
        names = {str(name.value) for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
        if self._allowed is None:
            return station in names
        wanted = self._allowed.get(station)
        marks = {f"{leaf.serial_number:x}", leaf.fingerprint(SHA256()).hex()}
        return wanted is not None and (wanted in names or _plain(wanted) in marks)


class StationTlsScript(StationTls):
    """The same check for mitmdump and mitmweb, told by options; without ``twin_client_ca`` all may pass."""

    def __init__(self) -> None:
        super().__init__(Tls(plain_stations=True))

    def load(self, loader: Loader) -> None:
        loader.add_option("twin_client_ca", str, "", "CA whose certificate a station must show (twin).")
        loader.add_option("twin_client_allow", str, "", "File of the stations let in (twin).")

    def configure(self, updated: set[str]) -> None:
        options = ctx.options
        if not options.twin_client_ca:
            return
        if options.connection_strategy != "lazy" or not options.request_client_cert:
            raise _refused("twin_client_ca needs connection_strategy=lazy and request_client_cert=true")
        held = Tls(client_ca=options.twin_client_ca, client_allow=options.twin_client_allow)
        try:
            super().__init__(held)
        except ValueError as error:
            raise _refused(str(error)) from error


def _refused(why: str) -> exceptions.OptionsError:
    return exceptions.OptionsError(why)  # type: ignore[no-untyped-call]  # mitmproxy gives no types here


class StationTlsConfig(TlsConfig):
    """mitmproxy's own TLS, with the certificate of the very station towards the CSMS."""

    def __init__(self, held: Tls, stations: StationTls) -> None:
        super().__init__()
        self._held = held
        self._stations = stations

    def tls_start_server(self, tls_start: tls.TlsData) -> None:
        """As mitmproxy does, as if ``client_certs`` named this station's file."""
        server, client = tls_start.conn, tls_start.context.client
        assert isinstance(server, connection.Server)
        if server.sni is None and isinstance(client.proxy_mode, ReverseMode) and server.address:
            server.sni = server.address[0]  # what the operator named, not what the station called us
        path = certificate_of(self._held, self._stations.station(client))
        if path is None:
            super().tls_start_server(tls_start)
            return
        real = ctx.options
        ctx.options = _Instead(real, str(path))  # type: ignore[assignment]  # reads like the real ones
        try:
            super().tls_start_server(tls_start)
        finally:
            ctx.options = real


class _Instead:
    """mitmproxy's options with another ``client_certs``."""

    def __init__(self, real: Any, client_certs: str) -> None:
        self._real = real
        self.client_certs = client_certs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def certificate_of(held: Tls, station: str) -> Path | None:
    """The PEM that this station's upstream leg shows, if there is one; no name leads out of the folder."""
    if not held.upstream_certificates:
        return None
    place = Path(held.upstream_certificates)
    if place.is_file():
        return place
    if not _NAME.fullmatch(station) or station.startswith("."):
        return None
    path = place / f"{station}.pem"
    return path if path.is_file() else None


def _client_use(policy: Any, certificate: x509.Certificate, extension: x509.ExtendedKeyUsage | None) -> None:
    """An end entity that names uses must name client authentication among them (RFC 5280 §4.2.1.12)."""
    if extension is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in extension:
        raise ValueError("not for client authentication")


_CA = ExtensionPolicy.permit_all().require_present(
    x509.BasicConstraints, Criticality.AGNOSTIC, lambda policy, certificate, held: _is_ca(held)
)
_STATION = ExtensionPolicy.permit_all().may_be_present(
    x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _client_use
)


def _is_ca(held: x509.BasicConstraints) -> None:
    if not held.ca:
        raise ValueError("not a CA")


def _authorities(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"{path} holds no certificate in PEM") from error


def _allow_list(path: Path) -> dict[str, str]:
    """One station a line, with what identifies its certificate if that is not its own name."""
    allowed = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    for line in lines:
        station, _, mark = line.partition("#")[0].strip().partition(" ")
        if station:
            allowed[station] = mark.strip() or station
    return allowed


def _plain(mark: str) -> str:
    """A serial number or fingerprint in hex, however it was written."""
    return mark.replace(":", "").casefold().removeprefix("0x")
