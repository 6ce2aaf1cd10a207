"""What a recording was asked to do, as one document: made by the command line, read by relay and recorder."""

import msgspec


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One listener. ``upstream`` is empty in transparent mode: the kernel knows where the station goes."""

    listen_host: str
    listen_port: int
    upstream: str = ""


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Both TLS legs; every field is a path, "" where nothing was asked for.

    ``certificate``: PEM with key for the station's leg, else mitmproxy's own CA issues one. ``client_ca``:
    PEM bundle; stations must then show a certificate issued by it (security profile 3). ``client_allow``: a
    file with one station a line, and behind it the common name, serial number or SHA-256 fingerprint of its
    certificate if that is not the station's own name; without it every station of the CA is let in.
    ``upstream_ca``: PEM bundle that the CSMS must chain to, else the system's. ``upstream_certificates``: one
    PEM with key for all, or a directory of ``STATION.pem``. ``plain_stations``: stations may speak ws even if
    the CSMS speaks wss.
    """

    certificate: str = ""
    client_ca: str = ""
    client_allow: str = ""
    upstream_ca: str = ""
    upstream_certificates: str = ""
    accept_insecure_upstream: bool = False
    plain_stations: bool = False


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """How a capture grows. ``quota_bytes`` 0 is no quota. ``seal_key`` "" leaves segments unsealed."""

    segment_bytes: int = 64 << 20
    segment_s: float = 3600.0
    quota_bytes: int = 0
    on_quota: str = "delete-oldest"  # or stop
    compress: bool = False
    seal_key: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One recording. ``heartbeat_s`` is the longest silence of a healthy station that must survive."""

    directory: str
    routes: tuple[Route, ...] = ()
    mode: str = "reverse"  # or transparent
    websocket: bool = False  # mitmproxy's own WebSocket layer, interactive: not byte-exact
    key_file: str = ""
    keep_id_tags: bool = False
    profile: str = ""
    fail_on: str = "error"
    heartbeat_s: int = 14_400
    tcp_timeout_s: int = 604_800
    tls: Tls = Tls()
    store: Store = Store()
    view: str = "auto"  # plain, quiet
    metrics: str = ""
    proxy_options: tuple[str, ...] = ()
