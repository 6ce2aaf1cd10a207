"""The load of relay_latency.py as a process of its own: stations that call when it is time, come what may.

Says its CSMS port, is told the relay's port, opens the connections, says ``ready``, is told calls per second
and seconds, and says round trips as JSON: p50 and p99 in milliseconds.
"""

import json
import selectors
import socket
import statistics
import sys
import time

from _relay_load import MASK, Pair

CALL = (
    b'[2,"%012d","StatusNotification",'
    b'{"connectorId":3,"errorCode":"NoError","info":"%s","status":"Preparing"}]'
)
FILL = b"x" * 100
REPLY = b'[3,"%012d",{}]'


def call(number: int) -> bytes:
    text = CALL % (number, FILL)
    return bytes((0x81, 0x80 | 126)) + len(text).to_bytes(2) + MASK + text


def reply(number: int) -> bytes:
    text = REPLY % number
    return bytes((0x81, len(text))) + text


CALL_BYTES, REPLY_BYTES = len(call(0)), len(reply(0))


class End:
    """One connection: what has arrived at either side of the frame that is due."""

    def __init__(self, pair: Pair) -> None:
        self.station, self.csms = pair.station, pair.csms
        self.at_csms, self.at_station = bytearray(), bytearray()


def drive(ends: list[End], per_s: int, seconds: float) -> list[float]:
    """Milliseconds of every round trip; a call is sent when it is due, not when the last was answered."""
    sent_ns: dict[int, int] = {}
    took_ms: list[float] = []
    count = int(per_s * seconds)
    with selectors.DefaultSelector() as ready:
        for end in ends:
            ready.register(end.csms, selectors.EVENT_READ, (end, True))
            ready.register(end.station, selectors.EVENT_READ, (end, False))
        began_ns = time.perf_counter_ns()
        number = 0
        while len(took_ms) < count:
            now_ns = time.perf_counter_ns()
            while number < count and began_ns + number * 1_000_000_000 // per_s <= now_ns:
                sent_ns[number] = time.perf_counter_ns()
                ends[number % len(ends)].station.sendall(call(number))
                number += 1
            due_ns = began_ns + number * 1_000_000_000 // per_s
            wait_s = max(0.0, (due_ns - time.perf_counter_ns()) / 1e9) if number < count else 30.0
            events = ready.select(wait_s)
            assert events or number < count, "nothing arrived for 30 s"
            for key, _ in events:
                end, csms = key.data
                if csms:
                    answer(end)
                else:
                    took_ms += answered(end, sent_ns)
    return took_ms


def answer(end: End) -> None:
    held = end.at_csms
    held += end.csms.recv(65_536)
    while len(held) >= CALL_BYTES:
        mask, text = held[4:8], held[8:24]
        plain = bytes(byte ^ mask[place & 3] for place, byte in enumerate(text))
        del held[:CALL_BYTES]
        end.csms.sendall(reply(int(plain[4:16])))


def answered(end: End, sent_ns: dict[int, int]) -> list[float]:
    held, took_ms = end.at_station, []
    held += end.station.recv(65_536)
    now_ns = time.perf_counter_ns()
    while len(held) >= REPLY_BYTES:
        number = int(held[6:18])
        del held[:REPLY_BYTES]
        took_ms.append((now_ns - sent_ns.pop(number)) / 1e6)
    return took_ms


def main() -> None:
    connections = int(sys.argv[1])
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        say(listener.getsockname()[1])
        relay_port = int(sys.stdin.readline())
        ends = [End(Pair(relay_port, listener, number)) for number in range(connections)]
        drive(ends, 200, 1.0)  # warm
        say("ready")
        per_s, seconds = sys.stdin.readline().split()
        took_ms = drive(ends, int(per_s), float(seconds))
        cuts = statistics.quantiles(took_ms, n=100)
        say(json.dumps({"p50": cuts[49], "p99": cuts[98], "trips": len(took_ms)}))


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
