"""The queue between proxy and recorder: never waits, loses nothing in silence, survives what it is given."""

import os
from collections import Counter
from queue import Queue
from threading import Thread

import pytest

from twin.io.handover import Channel, Handover, Item, items_of

type Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Pipe:
    return os.pipe()


def all_items(fd: int) -> list[Item]:
    return [item for batch in items_of(fd) for item in batch if item[0] not in ("tick", "hello")]


def closing(handover: Handover) -> Thread:
    thread = Thread(target=handover.close)
    thread.start()
    return thread


def test_items_arrive_whole_and_in_order(pipe: Pipe) -> None:
    handover = Handover(lambda: Channel(pipe[1]))
    wire = handover.wire("c1")
    handover.opened(wire, {"path": "/CP7"}, 1, 2)
    for number in range(1000):
        handover.data(wire, True, bytes([number % 256]) * number, number, number)
    handover.ended(wire, {}, 3, 4)
    reader = closing(handover)
    items = all_items(pipe[0])
    reader.join()
    assert items[0] == ("open", "c1", {"path": "/CP7"}, 1, 2)
    assert [len(item[3]) for item in items[1:-1]] == list(range(1000))
    assert items[-1] == ("end", "c1", {}, 3, 4)


@pytest.mark.parametrize("limits", [{"max_items": 5}, {"max_bytes": 500_000}])
def test_what_does_not_fit_is_dropped_and_counted_to_the_byte(pipe: Pipe, limits: dict[str, int]) -> None:
    handover = Handover(lambda: Channel(pipe[1]), **limits)  # type: ignore[arg-type]  # by name, integers
    wire = handover.wire("c1")
    handover.opened(wire, {}, 0, 0)
    sent = 50
    for number in range(sent):  # nobody reads: the pipe fills, then the queue
        handover.data(wire, bool(number % 2), bytes(100_000), number, number)
    counters = handover.counters
    assert counters.seen_chunks == sent
    assert counters.dropped_chunks["queue_full"] > 0
    handover.ended(wire, {}, 98, 99)
    reader = closing(handover)
    items = all_items(pipe[0])
    reader.join()
    told: Counter[str] = Counter()
    for item in items:
        if item[0] == "lost":
            told["chunks"] += item[4]
            told["bytes"] += item[5]
    recorded = sum(item[0] == "data" for item in items)
    assert told["chunks"] == counters.dropped_chunks["queue_full"] == sent - recorded
    assert told["bytes"] == counters.dropped_bytes["queue_full"] == told["chunks"] * 100_000
    assert items[-1][0] == "end"


class Recorders:
    """Recorders that come one after the other; each reads until it is told to go."""

    def __init__(self) -> None:
        self.pipes: Queue[int] = Queue()

    def connect(self) -> Channel:
        read, write = os.pipe()
        self.pipes.put(read)
        return Channel(write)

    def next(self) -> int:
        return self.pipes.get(timeout=30)


def test_a_new_recorder_is_told_all_that_passed(pipe: Pipe) -> None:
    recorders = Recorders()
    handover = Handover(recorders.connect, max_items=10_000_000)  # full, it would be another reason to drop
    wire, gone = handover.wire("c1"), handover.wire("c2")
    handover.opened(wire, {"path": "/CP7"}, 0, 0)
    handover.opened(gone, {"path": "/CP8"}, 0, 0)
    handover.data(wire, True, b"12345", 1, 1)
    handover.data(gone, False, b"123", 1, 1)
    os.close(recorders.next())  # dies with whatever it had read
    while not handover.counters.dropped_chunks["recorder_down"]:
        handover.data(wire, True, b"1", 2, 2)
    handover.drop(wire, False, "addon_fault", 7, 2)
    handover.ended(gone, {}, 3, 3)
    second = recorders.next()
    while handover.restarts == 0:
        handover.tick(4, 4)
    handover.data(wire, True, b"again", 5, 5)
    reader = closing(handover)
    items = [item for batch in items_of(second) for item in batch]
    reader.join()
    name, restarts, wires, *_ = items[0]
    up, down = handover.counters.seen_bytes - len(b"again") - 7 - 3, 0
    assert (name, restarts) == ("hello", 1)
    assert [[*one[:3], one[3][1], one[3][3]] for one in wires] == [
        ["c2", {"path": "/CP8"}, True, 0, 3],
        ["c1", {"path": "/CP7"}, False, up, down],
    ]
    assert [(item[0], *item[2:5]) for item in items if item[0] == "lost"] == [
        ("lost", "csms", "addon_fault", 1)
    ]
    assert [item[3] for item in items if item[0] == "data"] == [b"again"]
    assert items[-1][0] == "tick"


def test_a_recorder_that_takes_nothing_is_replaced() -> None:
    recorders = Recorders()
    handover = Handover(recorders.connect, hung_s=0.2)
    wire = handover.wire("c1")
    handover.opened(wire, {}, 0, 0)
    first = recorders.next()
    handover.data(wire, True, bytes(1 << 20), 1, 1)
    second = recorders.next()  # while the first still holds its end open
    reader = closing(handover)
    items = [item for batch in items_of(second) for item in batch]
    reader.join()
    os.close(first)
    assert items[0][1] == 1
    assert items[0][2][0][3] == [1, 1 << 20, 0, 0]


def test_no_recorder_at_all_costs_nothing_but_the_record() -> None:
    def connect() -> Channel:
        raise OSError("no process to be had")

    handover = Handover(connect)
    wire = handover.wire("c1")
    while not handover.counters.dropped_chunks["recorder_down"]:
        handover.data(wire, True, b"x", 0, 0)
    before = handover.counters.seen_chunks
    handover.data(wire, True, b"x", 0, 0)
    assert handover.counters.seen_chunks == before + 1
    assert handover.close() is None


def test_facts_that_cannot_travel_become_a_fault(pipe: Pipe) -> None:
    handover = Handover(lambda: Channel(pipe[1]))
    wire = handover.wire("c1")
    handover.opened(wire, {"path": "\udcff"}, 1, 2)
    handover.ended(wire, {}, 3, 4)
    handover.close()
    fault, end = all_items(pipe[0])
    assert fault[:4] == ("fault", "handover of open", "cannot be encoded", 1)
    assert end[0] == "end"


@pytest.mark.parametrize(
    "wire", [b"\x00\x00\x00\x01\xc0", b"\xff\xff\xff\xff", b"\x00\x00\x00\x03\x91\x91\xa0"]
)
def test_what_is_no_item_is_refused(pipe: Pipe, wire: bytes) -> None:
    os.write(pipe[1], wire)
    os.close(pipe[1])
    with pytest.raises(ValueError, match="recorder's pipe"):
        list(items_of(pipe[0]))


def test_a_pipe_that_ends_inside_an_item_ends_the_reading(pipe: Pipe) -> None:
    os.write(pipe[1], b"\x00\x00\x00\x09abc")
    os.close(pipe[1])
    assert list(items_of(pipe[0])) == []
