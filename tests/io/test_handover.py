"""The queue between proxy and recorder: never waits, loses nothing in silence, survives what it is given."""

import os
from collections import Counter
from threading import Thread

import pytest

from twin.io.handover import Handover, Item, items_of

type Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Pipe:
    return os.pipe()


def all_items(fd: int) -> list[Item]:
    return [item for item in items_of(fd) if item[0] != "tick"]


def test_items_arrive_whole_and_in_order(pipe: Pipe) -> None:
    handover = Handover(pipe[1])
    handover.say(("open", "c1", {"path": "/CP7"}, 1, 2))
    for number in range(1000):
        handover.data("c1", "station", bytes([number % 256]) * number, number, number)
    handover.say(("end", "c1", {}, 3, 4))
    reader = Thread(target=handover.close)
    reader.start()
    items = all_items(pipe[0])
    reader.join()
    assert items[0] == ("open", "c1", {"path": "/CP7"}, 1, 2)
    assert [len(item[3]) for item in items[1:-1]] == list(range(1000))
    assert items[-1] == ("end", "c1", {}, 3, 4)


@pytest.mark.parametrize("limits", [{"max_items": 5}, {"max_bytes": 500_000}])
def test_what_does_not_fit_is_dropped_and_counted_to_the_byte(pipe: Pipe, limits: dict[str, int]) -> None:
    handover = Handover(pipe[1], **limits)
    sent = 50
    for number in range(sent):  # nobody reads: the pipe fills, then the queue
        handover.data("c1", "station" if number % 2 else "csms", bytes(100_000), number, number)
    counters = handover.counters
    assert counters.seen_chunks == sent
    assert counters.dropped_chunks["queue_full"] > 0
    handover.say(("end", "c1", {}, 98, 99))
    closing = Thread(target=handover.close)
    closing.start()
    items = all_items(pipe[0])
    closing.join()
    told: Counter[str] = Counter()
    for item in items:
        if item[0] == "lost":
            told["chunks"] += item[4]
            told["bytes"] += item[5]
    recorded = sum(item[0] == "data" for item in items)
    assert told["chunks"] == counters.dropped_chunks["queue_full"] == sent - recorded
    assert told["bytes"] == counters.dropped_bytes["queue_full"] == told["chunks"] * 100_000
    assert items[-1][0] == "end"


def test_a_recorder_that_is_gone_costs_nothing_but_the_record(pipe: Pipe) -> None:
    os.close(pipe[0])
    handover = Handover(pipe[1])
    while not handover.counters.dropped_chunks["recorder_down"]:
        handover.data("c1", "station", b"x", 0, 0)
    before = handover.counters.seen_chunks
    handover.data("c1", "station", b"x", 0, 0)
    assert handover.counters.seen_chunks == before + 1
    handover.close()


def test_facts_that_cannot_travel_become_a_fault(pipe: Pipe) -> None:
    handover = Handover(pipe[1])
    handover.say(("open", "c1", {"path": "\udcff"}, 1, 2))
    handover.say(("end", "c1", {}, 3, 4))
    handover.close()
    fault, end = all_items(pipe[0])
    assert fault[:4] == ("fault", "handover of open", "UnicodeEncodeError", 1)
    assert end[0] == "end"


@pytest.mark.parametrize("wire", [b"\x00\x00\x00\x01\xc0", b"\xff\xff\xff\xff", b"\x00\x00\x00\x02\x91\xa0"])
def test_what_is_no_item_is_refused(pipe: Pipe, wire: bytes) -> None:
    os.write(pipe[1], wire)
    os.close(pipe[1])
    with pytest.raises(ValueError, match="recorder's pipe"):
        list(items_of(pipe[0]))


def test_a_pipe_that_ends_inside_an_item_ends_the_reading(pipe: Pipe) -> None:
    os.write(pipe[1], b"\x00\x00\x00\x09abc")
    os.close(pipe[1])
    assert list(items_of(pipe[0])) == []
