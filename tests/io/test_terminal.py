"""Whoever holds a terminal must not hold the process that prints to it."""

import os
import threading
from collections.abc import Iterator

import pytest

from twin.io.terminal import Unhurried

DEADLINE_S = 30.0
PICTURE = "x" * 4_000 + "\n"


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends; a pipe holds its writer just as a terminal does."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def until(reading: int, word: bytes) -> bytes:
    said = b""
    while word not in said:
        said += os.read(reading, 65_536)
    return said


def test_what_is_read_arrives_whole_and_in_order(terminal: tuple[int, int]) -> None:
    reading, writing = terminal
    stream = Unhurried(writing)
    print("one \udc80 ü", file=stream, flush=True)
    print("two", file=stream, flush=True)
    assert until(reading, b"two\n") == "one \\udc80 ü\ntwo\n".encode()
    assert stream.drain(DEADLINE_S)


def test_a_held_terminal_holds_nobody_and_what_was_left_out_is_said(terminal: tuple[int, int]) -> None:
    reading, writing = terminal
    stream = Unhurried(writing)
    for _ in range(1_000):  # 4 MB into a pipe of 64 KiB
        stream.write(PICTURE)
    assert not stream.drain(0.01)
    said = bytearray()
    reader = threading.Thread(target=lambda: said.extend(until(reading, b"the end\n")))
    reader.start()
    assert stream.drain(DEADLINE_S)
    stream.write("the end\n")
    reader.join(DEADLINE_S)
    whole = said.count(PICTURE.encode())
    assert f"({1_000 - whole} lines or pictures were not shown)\nthe end\n".encode() in said
    assert 0 < whole < 200


def test_a_terminal_that_is_gone_raises_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = Unhurried(writing)
    for _ in range(3):
        stream.write(PICTURE)
        assert stream.drain(DEADLINE_S)
    assert not stream.isatty()
    assert stream.fileno() == writing
