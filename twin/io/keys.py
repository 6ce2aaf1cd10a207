"""Secret keys of a site: 32 random bytes in hex, made on first use, readable by their owner alone."""

import os
import secrets
import stat
from pathlib import Path

KEY_BYTES = 32


def load_or_create(path: Path, what: str) -> bytes:
    """The key in ``path``, made if there is none. ``what`` names it in errors.

    Raises ``ValueError``, saying what to do, for a file that holds no key or that others can read.
    """
    try:
        return _read(path, what)
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = secrets.token_bytes(KEY_BYTES)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return _read(path, what)  # another recorder was quicker
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return key


def _read(path: Path, what: str) -> bytes:
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise ValueError(f"{path} can be read by others; run: chmod 600 {path}")
        held = file.read(2 * KEY_BYTES + 2)
    try:
        key = bytes.fromhex(held.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} is no {what} (expected {2 * KEY_BYTES} hex digits)")
    return key
