"""A word to systemd: ready, alive, stopping (sd_notify(3)); without systemd nothing happens."""

import os
import socket
from collections.abc import Mapping


def notify(text: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send ``READY=1``, ``WATCHDOG=1``, ``STATUS=…`` to whoever started us; whether anybody listens."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
            end.settimeout(1)
            end.sendto(text.encode(), f"\0{address[1:]}" if address[0] == "@" else address)
    except OSError:  # a supervisor that is gone is no reason to stop
        return False
    return True


def watchdog_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """How often to say ``WATCHDOG=1``: half of what systemd allows; ``None`` if it does not ask."""
    allowed_us = environ.get("WATCHDOG_USEC", "")
    return int(allowed_us) / 2e6 if allowed_us.isdecimal() and int(allowed_us) else None
