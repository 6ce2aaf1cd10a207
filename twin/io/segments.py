"""Writing our own capture: append-only segments that survive kills and full disks.

Every line carries the hash of the line before it, over all segments. What was synced stays; what could not be
written waits in a bounded buffer and goes into a new segment when the disk is back.
"""

import contextlib
import errno
import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from twin import __version__
from twin.io.files import Files, publish, write_whole
from twin.io.lines import Lines
from twin.io.manifest import (
    FORMAT_NAME,
    MANIFEST,
    VERSION,
    chain_start,
    encoded,
    seal_of,
    segment_name,
    segment_number,
    segments_of,
)
from twin.io.recovery import Recovered, last_seq, recover
from twin.io.seal import Signer, Tree
from twin.io.seal import encoded as encoded_seal
from twin.io.settings import Store
from twin.model import Frame
from twin.protocol.timestamps import format_us

COMMIT_NS = 250_000_000  # group commit: a kill loses at most this much
_COMMIT_BYTES = 1 << 20
_MOST_WAITING = 8 << 20  # bytes kept for a disk that may come back
_RETRY_NS = 1_000_000_000
_STEPS = 4  # segments in a quota, at least
_SEALED = ("first_seq", "last_seq", "lines", "bytes", "root", "first_prev", "last_hash")


class _Waiting(msgspec.Struct, frozen=True):
    """A line that is not synced yet."""

    frame: Frame
    line: bytes
    hash: bytes


class _Segment(msgspec.Struct):
    """The segment in progress; everything counted here is synced."""

    number: int
    fd: int
    first_prev: str
    opened_ns: int
    tree: Tree = msgspec.field(default_factory=Tree)
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0

    @property
    def name(self) -> str:
        return segment_name(self.number)


class CaptureWriter:
    """Appends frames to a capture directory of its own. Whole lines only; the caller says when to commit.

    ``head`` adds to the manifest's fixed part (vantage, mode, ...). With ``resume`` a capture that a proxy
    left is gone on with, in a new segment; without it, ``FileExistsError`` if the directory holds anything.
    ``recovered`` says what was found. Raises ``ValueError`` where another head forbids going on, and
    ``BlockingIOError`` where another process is writing. Once made, it never raises for the disk's sake.
    """

    def __init__(
        self,
        directory: Path,
        *,
        created_us: int,
        vantage: str,
        head: Mapping[str, Any] = {},
        policy: Store | None = None,
        files: Files | None = None,
        signer: Signer | None = None,
        resume: bool = False,
    ) -> None:
        self._files = files or Files()
        self._policy = policy or Store()
        self._signer = signer
        self._files.make_directory(directory)
        self._lock = self._files.lock_directory(directory)
        self.directory = directory
        self.problem = ""
        self.lines = 0
        self.bytes = 0
        self.recovered: Recovered | None = None
        self._lines = Lines()
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._committed_ns = 0
        self._retry_ns = 0
        self._now_us = created_us
        self._stale = True  # the manifest does not say how things stand
        self._totals: Mapping[str, Any] = {}
        self._entries: list[dict[str, Any]] = []
        self._previous_seal = ""
        self._epoch = 0
        self._leftovers: dict[Path, int] = {}  # what the disk would not cut to this size; 0: remove it
        self._runs = [format_us(created_us)]
        self._head: dict[str, Any] = {
            "format": FORMAT_NAME,
            "version": VERSION,
            "capture_id": str(uuid.uuid4()),
            "created": format_us(created_us),
            "vantage": vantage,
            "tool": {"twin": __version__},
            **head,
        }
        try:
            self._go_on(directory) if resume else check_directory(directory)
            found = self.recovered
            self._prev = found.last_hash if found and found.last_seq else chain_start(self._head)
            self._segment: _Segment | None = None
            self._publish_manifest(None)  # before the first line, which follows from it
            self._segment = self._begin(found.last_number + 1 if found else 1, 0)
            self._publish_manifest(None)
        except BaseException:
            self._files.close(self._lock)
            raise

    # ---- what the recorder does

    @property
    def segment(self) -> str:
        """The name of the segment in progress, "" while there is none."""
        return self._segment.name if self._segment else ""

    def free_bytes(self) -> int | None:
        """What the file system has left; ``None`` where it does not say."""
        try:
            return self._files.free_bytes(self.directory)
        except OSError:
            return None

    def write(self, frame: Frame) -> bool:
        """Append one frame, which reaches the disk with the next commit. False: it never will."""
        if self.problem and (self.problem == "quota" or self._waiting_bytes >= _MOST_WAITING):
            return False
        line = self._lines.line(frame, self._prev)
        digest = hashlib.sha256(line).digest()
        self._prev = digest.hex()
        self._waiting.append(_Waiting(frame, line, digest))
        self._waiting_bytes += len(line) + 1
        self.lines += 1
        self.bytes += len(line) + 1
        self._now_us = frame.at_us
        if self._waiting_bytes >= _COMMIT_BYTES and not self.problem:
            self._store(self._committed_ns)
        return True

    def commit(self, mono_ns: int) -> bool:
        """Write and sync what waits, at most every 250 ms of ``mono_ns``; whether nothing waits any more."""
        if self.problem:
            return self.problem != "quota" and mono_ns >= self._retry_ns and self._store(mono_ns)
        if mono_ns - self._committed_ns < COMMIT_NS:
            return False
        if self._waiting and not self._store(mono_ns):
            return False
        self._committed_ns = mono_ns
        segment = self._segment
        if segment is not None and segment.tree.leaves:
            full = segment.bytes >= self._segment_bytes
            segment.opened_ns = segment.opened_ns or mono_ns
            if full or mono_ns - segment.opened_ns >= self._policy.segment_s * 1e9:
                self.rotate(mono_ns)
        return not self._waiting

    def rotate(self, mono_ns: int) -> None:
        """Sync and seal this segment and begin the next."""
        segment = self._segment
        if (self._waiting and not self._store(mono_ns)) or segment is None or not segment.tree.leaves:
            return
        try:
            self._finish(segment, "rotated")
            self._keep_quota()
            self._segment = self._begin(segment.number + 1, mono_ns)
            self._publish_manifest(None)
        except OSError as error:
            self._fail(error, mono_ns)

    def close(self, closed_us: int, totals: Mapping[str, Any] = {}) -> list[Frame]:
        """Sync and seal everything; the frames that could not be stored after all."""
        if self._lock < 0:
            return []
        self._totals = totals
        if self._waiting:
            self._store(self._committed_ns)
        left = [waiting.frame for waiting in self._waiting]
        try:
            self._tidy()
            if self._segment is not None:
                self._finish(self._segment, "stopped")
            else:
                self._seal()
            self._publish_manifest(closed_us)
        except OSError as error:
            self.problem = self.problem or f"disk: {error.strerror or error}"
        self._close_quietly(self._lock)
        self._lock = -1
        return left

    def tell(self, totals: Mapping[str, Any]) -> None:
        """What the manifest is to say when it is next published."""
        self._totals = totals

    # ---- the segment in progress

    @property
    def _segment_bytes(self) -> int:
        size, quota = self._policy.segment_bytes, self._policy.quota_bytes
        return min(size, max(1, quota // _STEPS)) if quota else size

    def _begin(self, number: int, mono_ns: int) -> _Segment:
        """A new, empty segment; it follows the last line that is synced."""
        path = self.directory / segment_name(number)
        prev = self._waiting[0].line if self._waiting else None
        fd = self._files.open_new(path)
        try:
            self._files.sync_directory(self.directory)
        except OSError:
            self._close_quietly(fd)
            self._leftovers[path] = 0
            raise
        first_prev = _prev_of(prev) if prev is not None else self._prev
        return _Segment(number=number, fd=fd, first_prev=first_prev, opened_ns=mono_ns)

    def _store(self, mono_ns: int) -> bool:
        """Write and sync all that waits, into a new segment if the last one is out; whether that worked."""
        segment = self._segment
        self._tidy()
        try:
            if segment is None:
                self._hold_directory()
                segment = self._segment = self._begin(self._next_number(), mono_ns)
            elif not self._files.is_at(segment.fd, self.directory / segment.name):
                raise OSError(errno.ENOENT, "the capture was removed")
            data = b"\n".join([waiting.line for waiting in self._waiting]) + b"\n" if self._waiting else b""
            write_whole(self._files, segment.fd, data)
            self._files.datasync(segment.fd)
        except OSError as error:
            self._fail(error, mono_ns)
            return False
        for waiting in self._waiting:
            segment.tree.add(waiting.hash)
        if self._waiting:
            segment.first_seq = segment.first_seq or self._waiting[0].frame.seq
            segment.last_seq = self._waiting[-1].frame.seq
        segment.bytes += len(data)
        self._waiting, self._waiting_bytes = [], 0
        self.problem = ""
        if self._stale:
            self._try_to_publish()
        return self._within_quota()

    def _fail(self, error: OSError, mono_ns: int) -> None:
        """The disk is out: what was synced is cut to whole lines, the rest waits for a new segment."""
        self.problem = f"disk: {error.strerror or error}"
        self._retry_ns = mono_ns + _RETRY_NS
        self._stale = True
        segment, self._segment = self._segment, None
        if segment is None:
            return
        self._close_quietly(segment.fd)
        self._leftovers[self.directory / segment.name] = segment.bytes
        if segment.tree.leaves:
            self._entries.append(self._entry(segment, "disk fault"))
        self._tidy()

    def _tidy(self) -> None:
        """Cut and remove what should be; what the disk refuses is tried again with the next commit."""
        for path, size in list(self._leftovers.items()):
            try:
                self._files.cut(path, size) if size else self._files.unlink(path)
            except FileNotFoundError:
                pass
            except OSError:
                continue
            del self._leftovers[path]

    def _hold_directory(self) -> None:
        """The directory, made again and locked again if somebody removed it."""
        self._files.make_directory(self.directory)
        if not self._files.is_at(self._lock, self.directory):
            lock, self._lock = self._lock, self._files.lock_directory(self.directory)
            self._close_quietly(lock)

    def _finish(self, segment: _Segment, closed_by: str) -> None:
        """Close a segment for good: compressed if asked for, then sealed; from then on it never changes."""
        self._segment = None
        self._stale = True
        self._close_quietly(segment.fd)
        if not segment.tree.leaves and self._entries:  # nothing in it; but a capture has one segment at least
            self._files.unlink(self.directory / segment.name)
            return
        entry = self._entry(segment, closed_by)
        self._entries.append(entry)
        if self._policy.compress:
            self._compress(entry)
        self._seal()

    def _compress(self, entry: dict[str, Any]) -> None:
        path = self.directory / entry["name"]
        packed = path.with_name(f"{path.name}.zst")
        data = zstandard.ZstdCompressor(level=3).compress(path.read_bytes())
        publish(self._files, packed, data)
        self._files.unlink(path)
        entry |= {"name": packed.name, "stored_bytes": len(data)}

    def _seal(self) -> None:
        """Seal what is closed and whole and has no seal yet, oldest first."""
        if self._signer is None:
            return
        for entry in self._entries:
            if entry.keys() & {"sealed", "removed", "damaged"}:
                continue
            path = self.directory / entry["name"]
            if path in self._leftovers:  # it changes once more, and seals come in order
                return
            seal = self._signer.seal(
                capture_id=self._head["capture_id"],
                segment=segment_name(segment_number(path)),
                previous=self._previous_seal,
                epoch=self._epoch + 1,
                sealed_at=format_us(self._now_us),
                **{name: entry[name] for name in _SEALED},
            )
            publish(self._files, seal_of(path), encoded_seal(seal))
            self._epoch += 1
            self._previous_seal = entry["sealed"] = seal.hash()

    def _entry(self, segment: _Segment, closed_by: str) -> dict[str, Any]:
        return {
            "name": segment.name,
            "first_seq": segment.first_seq,
            "last_seq": segment.last_seq,
            "lines": segment.tree.leaves,
            "bytes": segment.bytes,
            "stored_bytes": segment.bytes,
            "root": segment.tree.root().hex(),
            "first_prev": segment.first_prev,
            "last_hash": _prev_of(self._waiting[0].line) if self._waiting else self._prev,
            "closed_by": closed_by,
        }

    def _next_number(self) -> int:
        numbers = [segment_number(Path(entry["name"])) for entry in self._entries]
        return max([0, *numbers, *map(segment_number, segments_of(self.directory))]) + 1

    # ---- quota

    def _within_quota(self) -> bool:
        quota = self._policy.quota_bytes
        if quota and self._policy.on_quota == "stop" and self._held_bytes() >= quota:
            self.problem = "quota"
            return False
        return True

    def _held_bytes(self) -> int:
        closed = sum(int(entry["stored_bytes"]) for entry in self._entries if "removed" not in entry)
        return closed + (self._segment.bytes if self._segment else 0)

    def _keep_quota(self) -> None:
        """Remove the oldest segments until the next one fits; what they held is still told of.

        The manifest says so first, so that a kill in between leaves no segment missing without a word.
        """
        quota = self._policy.quota_bytes
        if not quota or self._policy.on_quota == "stop":
            return
        gone = []
        for entry in self._entries:
            if self._held_bytes() + self._segment_bytes <= quota:
                break
            if "removed" not in entry:
                entry["removed"] = "quota"
                gone.append(self.directory / entry["name"])
        if gone:
            self._try_to_publish()  # a full disk may refuse: then room comes first
            self._leftovers |= dict.fromkeys(gone, 0)
            self._tidy()

    # ---- the manifest

    def _go_on(self, directory: Path) -> None:
        """Take over what an earlier writer left, if it left anything."""
        found = recover(directory, self._files)
        if found is None:
            check_directory(directory)
            return
        for name in ("format", "vantage", "redaction"):
            if name in found.head and found.head[name] != self._head.get(name):
                raise ValueError(
                    f"it is a capture with another {name} ({found.head[name]}); record to another directory"
                )
        self.recovered = found
        self._head = found.head or self._head
        self._entries = found.entries
        self._runs = [*found.runs, *self._runs]
        self._previous_seal, self._epoch = found.previous_seal, found.epoch
        self.lines = sum(int(entry.get("lines", 0)) for entry in found.entries)
        self.bytes = sum(int(entry.get("bytes", 0)) for entry in found.entries)
        self._seal()

    def _publish_manifest(self, closed_us: int | None) -> None:
        segment = self._segment
        open_one = [{"name": segment.name, "first_prev": segment.first_prev}] if segment else []
        manifest = {
            **self._head,
            "closed": format_us(closed_us) if closed_us is not None else None,
            "runs": self._runs,
            "segments": [*self._entries, *open_one],
            "totals": dict(self._totals),
        }
        if self._signer is not None:
            signed = {"key_id": self._signer.key_id, "public_key": self._signer.public_key}
            manifest["signature"] = signed | {"value": self._signer.sign(manifest)}
        publish(self._files, self.directory / MANIFEST, encoded(manifest))
        self._stale = False

    def _try_to_publish(self) -> None:
        with contextlib.suppress(OSError):  # it stays stale, and is tried again with the next commit
            self._publish_manifest(None)

    def _close_quietly(self, fd: int) -> None:
        with contextlib.suppress(OSError):
            self._files.close(fd)


class _Prev(msgspec.Struct):
    prev: str = ""
    meta: dict[str, Any] = {}


_decode_prev = msgspec.json.Decoder(_Prev).decode


def _prev_of(line: bytes) -> str:
    held = _decode_prev(line)
    return str(held.prev or held.meta["prev"])


def check_directory(directory: Path) -> None:
    """Raise ``FileExistsError`` unless a new capture can be made there."""
    if not directory.exists():
        return
    if not directory.is_dir() or {path.name for path in directory.iterdir()} - {f".{MANIFEST}.new"}:
        raise FileExistsError("it exists and is not empty; a capture is never appended to")


def next_connection(directory: Path) -> int:
    """The number of the next connection in this capture: above every one in it (there is a line for each)."""
    return last_seq(directory) + 1


def write_capture(
    frames: Iterable[Frame],
    directory: Path,
    *,
    vantage: str,
    head: Mapping[str, Any] = {},
    totals: Callable[[], Mapping[str, Any]] = dict,
) -> CaptureWriter:
    """Write all frames as a new, closed capture. Its dates are those of its frames.

    ``totals`` is asked when all are written: what the manifest is to say of where they came from.
    """
    writer: CaptureWriter | None = None
    last_us = 0
    for frame in frames:
        if writer is None:
            writer = CaptureWriter(directory, created_us=frame.at_us, vantage=vantage, head=head)
        if not writer.write(frame):
            raise OSError(f"{directory}: {writer.problem}")
        last_us = max(last_us, frame.at_us)
    if writer is None:
        writer = CaptureWriter(directory, created_us=0, vantage=vantage, head=head)
    if writer.close(last_us, {"lines": writer.lines, **totals()}) or writer.problem:
        raise OSError(f"{directory}: {writer.problem}")
    return writer
