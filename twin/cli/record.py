"""twin record: settles what is asked for, then becomes the relay, whose child is the recorder."""

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from twin.cli.common import USAGE, fail
from twin.io import recorder_process
from twin.io.keys import load_or_create
from twin.io.manifest import MANIFEST
from twin.io.profiles import profile_named
from twin.io.segments import check_directory
from twin.io.settings import Route, Settings

_RELAYS = "octoflex_twin.relay"
_MISSING = "twin record needs mitmproxy; install it with: pip install 'octoflex-twin[proxy]'"


def routes_of(mode: str, upstreams: list[str], listens: list[str]) -> tuple[Route, ...]:
    """The listeners, each with its upstream, in the order given; exit 2 if they do not match."""
    if mode == "transparent":
        if upstreams:
            raise fail("--mode transparent knows no --upstream: the station's own address is kept", USAGE)
        upstreams = [""] * len(listens)
    if not upstreams or len(upstreams) != len(listens):
        raise fail(
            f"{len(upstreams)} --upstream and {len(listens)} --listen: every listener needs one upstream, "
            "in the same order",
            USAGE,
        )
    return tuple(_route(listen, upstream) for listen, upstream in zip(listens, upstreams, strict=True))


def _route(listen: str, upstream: str) -> Route:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise fail(f"--listen {listen}: expected HOST:PORT", USAGE)
    return Route(listen_host=host.strip("[]"), listen_port=int(port), upstream=upstream)


def settled(settings: Settings) -> Settings:
    """The settings with whole paths; exit 2 for what can be known to fail before anything is started."""
    directory = Path(settings.directory).absolute()
    try:
        if not (directory / MANIFEST).exists():
            check_directory(directory)
    except (ValueError, OSError) as error:
        raise fail(f"cannot record to {settings.directory}: {error}", USAGE) from error
    key_file = Path(settings.key_file) if settings.key_file else recorder_process.default_key_file()
    try:
        load_or_create(key_file, "pseudonym key")
        seal_key = settings.store.seal_key and str(Path(settings.store.seal_key).absolute())
        if seal_key:
            load_or_create(Path(seal_key), "sealing key")
        profile = settings.profile
        if profile:
            profile_named(profile)
            profile = str(Path(profile).absolute()) if Path(profile).is_file() else profile
    except (ValueError, OSError) as error:
        raise fail(f"{error}", USAGE) from error
    if settings.metrics:
        _check_metrics(settings.metrics)
    return msgspec.structs.replace(
        settings,
        directory=str(directory),
        key_file=str(key_file.absolute()),
        profile=profile,
        store=msgspec.structs.replace(settings.store, seal_key=seal_key),
    )


def _check_metrics(address: str) -> None:
    """Whether metrics can be served there; exit 2 if not."""
    from twin.report.metrics import Metrics

    try:
        Metrics(address).close()
    except (ValueError, OSError) as error:
        raise fail(str(error), USAGE) from error


def default_seal_key(key_file: Path | None) -> str:
    """Where the sealing key lies unless the command line says otherwise: beside the pseudonym key."""
    return str((key_file or recorder_process.default_key_file()).absolute().with_name("seal.key"))


def record(settings: Settings) -> NoReturn:
    """Relay and record until interrupted. Does not return: this process becomes the relay."""
    module = _relay_module()
    command = [sys.executable, "-m", module, recorder_process.encoded(settled(settings))]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)  # noqa: S606  # ours, by its absolute path


def _relay_module() -> str:
    """The module of the installed relay; without mitmproxy there is none."""
    found = list(importlib.metadata.entry_points(group=_RELAYS))
    try:
        importlib.metadata.version("mitmproxy")
    except importlib.metadata.PackageNotFoundError:
        found = []
    if not found:
        raise fail(_MISSING, USAGE)
    return found[0].module
