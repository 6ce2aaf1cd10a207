"""The load of relay.py as a process of its own: stations and a CSMS on raw sockets, one CALL at a time each.

Says its CSMS port, is told the relay's port, opens the connections, says ``ready``, is told how many round
trips to make, says ``done``. Every frame that arrives is compared with what was sent.
"""

import base64
import hashlib
import selectors
import socket
import sys

ID = 12
CALL = (
    b'[2,"%012d","StatusNotification",{"connectorId":3,"errorCode":"NoError","info":"benchmark of the relay",'
    b'"status":"Preparing","timestamp":"2026-11-24T10:15:30Z","vendorId":"Manageon"}]'
)
REPLY = b'[3,"%012d",{}]'
MASK = bytes(4)  # the identity: a relay may choose another, the payload stays
KEY = base64.b64encode(bytes(16)).decode()
ACCEPT = base64.b64encode(
    hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode(), usedforsecurity=False).digest()
).decode()
REQUEST = (
    "GET /ocpp/CP{} HTTP/1.1\r\nHost: csms\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
)
ANSWER = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
).encode()


def call(number: int) -> bytes:
    text = CALL % number
    return bytes((0x81, 0x80 | 126)) + len(text).to_bytes(2) + MASK + text


def reply(number: int) -> bytes:
    text = REPLY % number
    return bytes((0x81, len(text))) + text


def head(end: socket.socket) -> None:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += end.recv(4096)


class Pair:
    """One station and its CSMS: how many round trips are left, and what has arrived of the frame due."""

    def __init__(self, relay_port: int, listener: socket.socket, number: int) -> None:
        self.station = socket.create_connection(("127.0.0.1", relay_port))
        self.station.sendall(REQUEST.format(number).encode())
        self.csms, _ = listener.accept()
        head(self.csms)
        self.csms.sendall(ANSWER)
        head(self.station)
        for end in (self.station, self.csms):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = 0
        self.left = 0
        self.came = bytearray()

    def begin(self, left: int) -> None:
        self.left = left
        self.station.sendall(call(self.number))

    def at_csms(self) -> bool:
        self.came += self.csms.recv(4096)
        sent = call(self.number)
        if len(self.came) == len(sent):
            mask, text = self.came[4:8], self.came[8:]
            plain = bytes(byte ^ mask[place & 3] for place, byte in enumerate(text[:24]))
            assert plain == sent[8:32], self.came
            self.came.clear()
            self.csms.sendall(reply(self.number))
        return False

    def at_station(self) -> bool:
        """Whether this pair is done."""
        self.came += self.station.recv(4096)
        if len(self.came) < len(reply(self.number)):
            return False
        assert bytes(self.came) == reply(self.number), self.came
        self.came.clear()
        self.number += 1
        self.left -= 1
        if self.left:
            self.station.sendall(call(self.number))
        return not self.left


def drive(pairs: list[Pair], trips: int) -> None:
    with selectors.DefaultSelector() as ready:
        for pair in pairs:
            ready.register(pair.csms, selectors.EVENT_READ, pair.at_csms)
            ready.register(pair.station, selectors.EVENT_READ, pair.at_station)
        for pair in pairs:
            pair.begin(trips)
        busy = len(pairs)
        while busy:
            events = ready.select(30)
            assert events, "nothing arrived for 30 s"
            for key, _ in events:
                busy -= key.data()


def main() -> None:
    connections = int(sys.argv[1])
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        say(listener.getsockname()[1])
        relay_port = int(sys.stdin.readline())
        pairs = [Pair(relay_port, listener, number) for number in range(connections)]
        drive(pairs, 2)  # warm
        say("ready")
        for line in sys.stdin:
            drive(pairs, int(line))
            say("done")


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
