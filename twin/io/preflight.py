"""What could go wrong with a recording, looked at before a station depends on it; each with a next step.

Nothing is sent to the CSMS but a TCP connection and, for wss, a TLS handshake: a WebSocket probe would be a
station there.
"""

import ctypes
import os
import resource
import shutil
import socket
import ssl
import stat
import subprocess
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from cryptography import x509

from twin.io import clock
from twin.io.clock import Now
from twin.io.settings import Settings

_TIMEOUT_S = 5.0
_LEAST_FREE_BYTES = 2 << 30
_SLOW_SYNC_S = 0.25  # a group commit
_FDS_PER_STATION = 2
_SPARE_FDS = 200
_SOON_S = 30 * 86_400
_UNSYNCHRONISED = 0x40  # STA_UNSYNC of adjtimex(2)
_ERROR = 5  # TIME_ERROR


class Grade(StrEnum):
    PASS = "pass"  # noqa: S105  # no password
    WARN = "warn"
    FAIL = "FAIL"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at: what was seen, and what to do unless it passed."""

    name: str
    grade: Grade
    seen: str
    next_step: str = ""


def preflight(settings: Settings, now: Now, *, stations: int = 1, bypass: str = "") -> list[Check]:
    """Every check, in the order in which a recording needs them."""
    checks = [
        _clock(),
        _mitmproxy(),
        *_directory(settings),
        *_keys(settings),
        *_listeners(settings),
        *_upstreams(settings),
        *_certificates(settings, now),
        _descriptors(stations),
        _idle(settings),
        _bypass(bypass),
    ]
    return checks + (_redirects(settings) if settings.mode == "transparent" else [])


def _check(name: str, seen: str, *, bad: str = "", warn: bool = False) -> Check:
    """``bad`` is the next step; without one the check has passed."""
    grade = Grade.PASS if not bad else Grade.WARN if warn else Grade.FAIL
    return Check(name=name, grade=grade, seen=seen, next_step=bad)


def _clock() -> Check:
    """Whether the kernel believes that its clock is kept in time (adjtimex(2))."""
    held = ctypes.create_string_buffer(256)  # struct timex, all zero: read only
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(held)
    except (AttributeError, OSError):
        state = -1
    if state < 0:
        return _check("clock", "the kernel does not say", bad="see that NTP runs: timedatectl", warn=True)
    status = int.from_bytes(held.raw[40:44], "little")  # after modes, offset, freq, maxerror, esterror
    if state == _ERROR or status & _UNSYNCHRONISED:
        step = "start time synchronisation: systemctl enable --now systemd-timesyncd (or chrony)"
        return _check("clock", "not synchronised", bad=step, warn=True)
    return _check("clock", "synchronised")


def _mitmproxy() -> Check:
    try:
        held = version("mitmproxy")
    except PackageNotFoundError:
        return _check("mitmproxy", "not installed", bad="pip install 'octoflex-twin[proxy]'")
    numbers = tuple(int(part) for part in held.split(".")[:3] if part.isdecimal())
    fits = (12, 2, 3) <= numbers < (13,)
    return _check("mitmproxy", held, bad="" if fits else "install one from 12.2.3 up to, not including, 13")


def _directory(settings: Settings) -> list[Check]:
    """Where the capture will lie: writable, ours alone, with room, and quick enough to sync."""
    directory = Path(settings.directory)
    place = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not place.is_dir():
        return [_check("directory", f"{place} is no directory", bad="name another with -o")]
    probe = place / f".preflight-{os.getpid()}"
    try:
        began_ns = clock.now().mono_ns
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, bytes(4096))
            os.fdatasync(fd)
        finally:
            os.close(fd)
            probe.unlink()
        took_s = (clock.now().mono_ns - began_ns) / 1e9
    except OSError as error:
        step = f"let this user write to {place}, or name another directory with -o"
        return [_check("directory", f"{place}: {error.strerror}", bad=step)]
    checks = [_check("directory", f"{place} can be written to")]
    if place == directory and stat.S_IMODE(place.stat().st_mode) & 0o077:
        checks.append(_check("permissions", "others can read it", bad=f"chmod 700 {place}", warn=True))
    slow = f"{took_s * 1000:.1f} ms for a synced write"
    step = "record to a local disk" if took_s > _SLOW_SYNC_S else ""
    checks.append(_check("disk speed", slow, bad=step, warn=True))
    free = shutil.disk_usage(place).free
    needed = settings.store.quota_bytes or _LEAST_FREE_BYTES
    more = f"{(needed - free) / (1 << 20):,.0f} MiB"
    few = f"make room for {more} more, or set a smaller --quota-mib" if free < needed else ""
    checks.append(_check("disk space", f"{free / (1 << 30):,.1f} GiB free", bad=few))
    if not settings.store.quota_bytes:
        checks.append(_check("quota", "none", bad="set --quota-mib, or watch the disk", warn=True))
    return checks


def _keys(settings: Settings) -> list[Check]:
    checks = []
    for name, text in (("pseudonym key", settings.key_file), ("seal key", settings.store.seal_key)):
        path = Path(text)
        if not text:
            continue
        if not path.exists():
            checks.append(_check(name, f"{path} will be made"))
        elif not path.is_file():
            checks.append(_check(name, f"{path} is no file", bad=f"name another file for the {name}"))
        elif stat.S_IMODE(path.stat().st_mode) & 0o077:
            checks.append(_check(name, f"{path} can be read by others", bad=f"chmod 600 {path}"))
        else:
            checks.append(_check(name, f"{path} is for its owner alone"))
    return checks


def _listeners(settings: Settings) -> list[Check]:
    checks = []
    for route in settings.routes:
        place = f"{route.listen_host}:{route.listen_port}"
        try:
            family = socket.AF_INET6 if ":" in route.listen_host else socket.AF_INET
            with socket.create_server((route.listen_host, route.listen_port), family=family):
                pass
        except OSError as error:
            step = f"see who has it: ss -ltnp 'sport = :{route.listen_port}'; or --listen another port"
            if isinstance(error, PermissionError):
                step = "ports below 1024 need CAP_NET_BIND_SERVICE, or --listen a higher one"
            checks.append(_check("listener", f"{place}: {error.strerror}", bad=step))
            continue
        everywhere = route.listen_host in ("0.0.0.0", "::")  # noqa: S104  # it is what we warn of
        step = ""
        if everywhere and settings.tls.client_ca:
            step = "listen on one address, and let a firewall in front of it"
        checks.append(_check("listener", f"{place} is free", bad=step, warn=True))
    return checks


def _upstreams(settings: Settings) -> list[Check]:
    checks: list[Check] = []
    for upstream in dict.fromkeys(route.upstream for route in settings.routes if route.upstream):
        parts = urlsplit(upstream)
        secure = parts.scheme in ("wss", "https")
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        try:
            with socket.create_connection((host, port), timeout=_TIMEOUT_S) as end:
                checks.append(_check("upstream", f"{host}:{port} takes connections"))
                if secure:
                    checks.append(_verified(end, host, settings))
        except socket.gaierror as error:
            checks.append(
                _check("upstream", f"{host}: {error.strerror}", bad="check the name, and the DNS server")
            )
        except OSError as error:
            step = "see that the CSMS runs, and that a firewall lets this host through"
            checks.append(_check("upstream", f"{host}:{port}: {error.strerror or error}", bad=step))
    return checks


def _verified(end: socket.socket, host: str, settings: Settings) -> Check:
    tls = settings.tls
    if tls.accept_insecure_upstream:
        step = "leave out --i-accept-insecure-upstream once the CSMS has a certificate"
        return _check("upstream TLS", "not verified, as asked", bad=step, warn=True)
    try:
        context = ssl.create_default_context(cafile=tls.upstream_ca or None)
        with context.wrap_socket(end, server_hostname=host) as held:
            return _check("upstream TLS", f"{held.version()}, certificate verified")
    except ssl.SSLCertVerificationError as error:
        step = "name its CA with --upstream-ca"
        return _check("upstream TLS", f"certificate not verified: {error.verify_message}", bad=step)
    except ssl.SSLError as error:
        if "ALERT" in str(error) or "CERTIFICATE_REQUIRED" in str(error):
            step = "give --upstream-certificates if the CSMS asks for one"
            return _check("upstream TLS", f"refused: {error.reason}", bad=step)
        return _check("upstream TLS", f"no TLS: {error.reason}", bad="is it ws:// rather than wss://?")
    except OSError as error:
        return _check(
            "upstream TLS", f"broken off: {error.strerror or error}", bad="is it ws:// rather than wss://?"
        )


def _certificates(settings: Settings, now: Now) -> list[Check]:
    tls = settings.tls
    upstream = Path(tls.upstream_certificates)
    folder = sorted(upstream.glob("*.pem")) if tls.upstream_certificates and upstream.is_dir() else []
    single = [upstream] if tls.upstream_certificates and not upstream.is_dir() else []
    own = [Path(tls.certificate)] if tls.certificate else []
    authorities = [Path(text) for text in (tls.client_ca, tls.upstream_ca) if text]
    return [
        *(_certificate(path, now, with_key=True) for path in (*own, *single, *folder)),
        *(_certificate(path, now, with_key=False) for path in authorities),
    ]


def _certificate(path: Path, now: Now, *, with_key: bool) -> Check:
    """Readable, in date, and its key the one that belongs to it."""
    name = f"certificate {path.name}"
    try:
        held = x509.load_pem_x509_certificates(path.read_bytes())
        if with_key:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
    except ssl.SSLError as error:
        return _check(
            name, f"its key does not fit: {error.reason}", bad="put certificate and key into one PEM"
        )
    except (OSError, ValueError) as error:
        return _check(name, f"cannot be read: {error}", bad="name a PEM file that this user may read")
    at = datetime.fromtimestamp(now.wall_us / 1e6, UTC)
    ends = min(certificate.not_valid_after_utc for certificate in held)
    begins = max(certificate.not_valid_before_utc for certificate in held)
    if not begins <= at <= ends:
        return _check(
            name, f"valid {begins:%Y-%m-%d} to {ends:%Y-%m-%d}", bad="issue a new one (docs/tls.md)"
        )
    soon = (ends - at).total_seconds() < _SOON_S
    return _check(name, f"valid to {ends:%Y-%m-%d}", bad="issue a new one soon" if soon else "", warn=True)


def _descriptors(stations: int) -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = stations * _FDS_PER_STATION + _SPARE_FDS
    step = f"raise the hard limit: LimitNOFILE={needed} in the unit, or ulimit -Hn" if hard < needed else ""
    return _check("descriptors", f"{soft} now, up to {hard}; {stations} stations need {needed}", bad=step)


def _idle(settings: Settings) -> Check:
    least_s = 3 * settings.heartbeat_s
    seen = f"{settings.tcp_timeout_s} s of silence end a connection; heartbeat {settings.heartbeat_s} s"
    fits = settings.tcp_timeout_s >= least_s
    return _check("idle time-out", seen, bad="" if fits else f"at least {least_s} s: 3 x --heartbeat")


def _bypass(bypass: str) -> Check:
    step = "write down how stations reach the CSMS while this host is down, and name it with --bypass"
    return _check("bypass", bypass or "none named", bad="" if bypass else step, warn=True)


def _redirects(settings: Settings) -> list[Check]:
    """What transparent mode needs of the kernel."""
    forwards = _read("/proc/sys/net/ipv4/ip_forward").strip() == "1"
    step = "" if forwards else "sysctl -w net.ipv4.ip_forward=1"
    checks = [_check("forwarding", "on" if forwards else "off", bad=step)]
    rules = _said("iptables", "-t", "nat", "-S", "PREROUTING") + _said("nft", "list", "ruleset")
    for route in settings.routes:
        held = f"--to-ports {route.listen_port}" in rules or f"redirect to :{route.listen_port}" in rules
        step = "see docs/deployment.md for the rule, and for the command that takes it away"
        seen = f"to port {route.listen_port} " + ("found" if held else "not found")
        checks.append(_check("redirection", seen, bad="" if held else step))
    return checks


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""


def _said(*command: str) -> str:
    program = shutil.which(command[0])
    if program is None:
        return ""
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False, timeout=10)
    return done.stdout
