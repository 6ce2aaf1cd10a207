"""Every file call of a recording goes through one object, so that a test can make the n-th of them fail."""

import contextlib
import fcntl
import os
from pathlib import Path

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Files:
    """The real thing. Files are 0600, directories 0700; each call may raise ``OSError``."""

    def make_directory(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def open_new(self, path: Path) -> int:
        """A descriptor to append to a file that must not exist yet."""
        return os.open(path, _NEW, 0o600)

    def lock_directory(self, path: Path) -> int:
        """A descriptor with the only lock on a directory; ``BlockingIOError`` if another process has it."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise BlockingIOError(error.errno, "another process is recording there") from error
        return fd

    def is_at(self, fd: int, path: Path) -> bool:
        """Whether ``path`` still is the file that ``fd`` writes to."""
        try:
            return os.path.samestat(os.fstat(fd), path.lstat())
        except FileNotFoundError:
            return False

    def cut(self, path: Path, size: int) -> None:
        """Make a file that exists shorter, and sync it."""
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)

    def write(self, fd: int, data: memoryview) -> int:
        return os.write(fd, data)

    def datasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def close(self, fd: int) -> None:
        os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self, path: Path) -> int:
        """What a user may still write on this file system."""
        held = os.statvfs(path)
        return held.f_bavail * held.f_frsize


def write_whole(files: Files, fd: int, data: bytes | bytearray) -> None:
    """All of it, or ``OSError``."""
    view = memoryview(data)
    while view:
        view = view[files.write(fd, view) :]


def publish(files: Files, path: Path, data: bytes) -> None:
    """A file that is there whole and synced, or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        files.unlink(fresh)
    fd = files.open_new(fresh)
    try:
        write_whole(files, fd, data)
        files.datasync(fd)
    finally:
        files.close(fd)
    files.rename(fresh, path)
    files.sync_directory(path.parent)
