"""A capture file's packets through tshark: bytes in, TCP segments out, while the file still grows.

tshark knows the link types, VLANs, tunnels and both file formats. Nothing above TCP is dissected, so what a
peer sends meets no dissector; and it is a process of its own with a bounded address space.
"""

import os
import resource
import selectors
import subprocess
from typing import Self

from twin.io.passive import Packet

_FIELDS = (
    "frame.time_epoch",
    "ip.src",
    "ipv6.src",
    "tcp.srcport",
    "ip.dst",
    "ipv6.dst",
    "tcp.dstport",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.flags",
    "tcp.len",
    "tcp.payload",
)
_SEGMENTS = "tcp && !icmp && !icmpv6"  # an error of ICMP quotes the header of somebody's segment
_NOTHING_ABOVE = "tcp.port==1-65535,data"  # what is in a segment meets no dissector
_TCP_OPTIONS = (
    "analyze_sequence_numbers",
    "calculate_timestamps",
    "desegment_tcp_streams",
    "relative_sequence_numbers",
    "track_bytes_in_flight",
)
_MEMORY_BYTES = 4 << 30
_LONGEST_LINE = 4 << 20  # a segment of 64 KiB is 128 KiB of hexadecimal digits
_READ_BYTES = 1 << 18
_NO_CONFIG = "/nonexistent/wireshark"  # nobody's preferences
_QUIET = ("Running as user", "Capturing on")


def command(tshark: str) -> list[str]:
    """tshark, reading a capture file from standard input and writing one line a TCP segment."""
    words = [tshark, "-r", "-", "-n", "-l", "-Y", _SEGMENTS, "-d", _NOTHING_ABOVE]
    words += [word for name in _TCP_OPTIONS for word in ("-o", f"tcp.{name}:FALSE")]
    words += ["-T", "fields", "-E", "occurrence=l", "-E", "separator=/t"]
    return words + [word for name in _FIELDS for word in ("-e", name)]


class Dissector:
    """One tshark for one file. ``moved`` counts bytes it took and gave: one that stands still is stuck."""

    def __init__(self, tshark: str) -> None:
        self.ended = False
        self.moved = 0
        self.unreadable = 0  # lines that are no segment
        self.why = ""
        self._process = subprocess.Popen(
            command(tshark),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", "WIRESHARK_CONFIG_DIR": _NO_CONFIG},
            start_new_session=True,  # an interrupt of the terminal is ours to handle
        )
        resource.prlimit(self._process.pid, resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        self._stdin, self._stdout, self._stderr = stdin, stdout, stderr
        self._pending = memoryview(b"")
        self._line = bytearray()
        self._ready = selectors.DefaultSelector()
        for pipe in (stdin, stdout, stderr):
            os.set_blocking(pipe.fileno(), False)
        self._ready.register(stdout, selectors.EVENT_READ)
        self._ready.register(stderr, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()
        self._ready.close()
        for pipe in (self._stdin, self._stdout, self._stderr):
            pipe.close()

    @property
    def hungry(self) -> bool:
        """Whether it took all that it was given."""
        return not self._pending

    def give(self, data: bytes) -> None:
        """More of the file; only when ``hungry``."""
        self._pending = memoryview(data)
        if data:
            self._ready.register(self._stdin, selectors.EVENT_WRITE)

    def finish(self) -> None:
        """The file ends here."""
        if self._pending:
            self._ready.unregister(self._stdin)
            self._pending = memoryview(b"")
        self._stdin.close()

    def stop(self, why: str) -> None:
        """It is stuck."""
        self._process.kill()
        self.why, self.ended = why, True

    def pump(self, timeout_s: float) -> list[Packet]:
        """Move what can be moved; the packets that came of it."""
        for key, _ in self._ready.select(timeout_s):
            if key.fileobj is self._stdin:
                self._write()
            elif key.fileobj is self._stdout:
                self._read()
            else:
                self._complaint()
        return self._packets()

    def _write(self) -> None:
        try:
            written = os.write(self._stdin.fileno(), self._pending)
        except BrokenPipeError:  # it has seen enough, and says why on standard error
            written = len(self._pending)
        self.moved += written
        self._pending = self._pending[written:]
        if not self._pending:
            self._ready.unregister(self._stdin)

    def _read(self) -> None:
        data = os.read(self._stdout.fileno(), _READ_BYTES)
        self.moved += len(data)
        self._line += data
        if len(self._line) > _LONGEST_LINE and b"\n" not in self._line:
            self.stop("a packet of more than 4 MiB")
        if not data:
            self._ready.unregister(self._stdout)
            self._process.wait()
            while self._complaint():
                pass
            if not self._process.returncode:
                self.why = ""  # it only remarked on something
            self.ended = True

    def _complaint(self) -> bool:
        """The last thing it said that is no mere remark; whether there may be more."""
        try:
            said = os.read(self._stderr.fileno(), _READ_BYTES)
        except BlockingIOError:
            return False
        if not said and self._stderr in self._ready.get_map():
            self._ready.unregister(self._stderr)
        for line in said.decode(errors="replace").splitlines():
            if line.strip() and not line.startswith(_QUIET):
                self.why = line.strip()[:200]
        return bool(said)

    def _packets(self) -> list[Packet]:
        *lines, rest = self._line.split(b"\n")
        self._line = rest
        packets: list[Packet] = []
        for line in lines:
            try:
                packets.append(packet_of(line))
            except ValueError:
                self.unreadable += 1
        return packets


def packet_of(line: bytes | bytearray) -> Packet:
    """One line of tshark; raises ``ValueError`` for what is none."""
    at, ip_from, ip6_from, port_from, ip_to, ip6_to, port_to, seq, ack, flags, size, data = line.decode(
        "ascii"
    ).split("\t")
    seconds, _, fraction = at.partition(".")
    wall_ns = int(seconds) * 10**9 + int(f"{fraction:0<9}"[:9] or 0)
    return Packet(
        wall_ns=wall_ns,
        # in a tunnel both families are there: only whether two ends are the same matters
        source=(ip_from + ip6_from, int(port_from)),
        target=(ip_to + ip6_to, int(port_to)),
        seq=int(seq),
        ack=int(ack or 0),
        flags=int(flags, 16),
        size=int(size or 0),
        data=bytes.fromhex(data.replace(":", "")),
    )
