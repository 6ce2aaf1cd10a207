"""A word to systemd through a real socket, named and abstract; without one nothing happens."""

import socket
from pathlib import Path

import pytest

from twin.io.sd_notify import notify, watchdog_s


@pytest.mark.parametrize("abstract", [False, True])
def test_what_is_said_arrives(tmp_path: Path, abstract: bool) -> None:
    name = f"@{tmp_path}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name[1:]}" if abstract else name)
        systemd.settimeout(30)
        assert notify("READY=1\nSTATUS=listening", {"NOTIFY_SOCKET": name})
        assert systemd.recv(100) == b"READY=1\nSTATUS=listening"


@pytest.mark.parametrize(
    "environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nothing/there"}, {"NOTIFY_SOCKET": "x"}]
)
def test_nobody_listening_is_no_fault(environ: dict[str, str]) -> None:
    assert not notify("READY=1", environ)


@pytest.mark.parametrize(("said", "every_s"), [("30000000", 15.0), ("", None), ("x", None), ("0", None)])
def test_the_watchdog_is_fed_twice_as_often_as_asked(said: str, every_s: float | None) -> None:
    assert watchdog_s({"WATCHDOG_USEC": said}) == every_s
