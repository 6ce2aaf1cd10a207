"""What looks like an id and is bound nowhere is told; what the table knows, and what is none, is not."""

import json
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.engine.replay.replays import PEER_SESSIONS
from tests.playbook import play
from twin.engine.recording import station_links
from twin.engine.replay.audit import suspects
from twin.engine.replay.binding import SPOTS, Space
from twin.engine.replay.identities import Needs, add_needs
from twin.io.formats import open_capture
from twin.model import Frame

GOLDEN = sorted(path for path in (REPOSITORY / "captures").iterdir() if path.is_dir())


def frames_of(path: Path) -> list[Frame]:
    return station_links(list(open_capture(path).frames))


def vendor(*, quoted: bool) -> list[Frame]:
    """A CSMS that gives every charging a number of its own, in its own fields."""
    p = play().booted()
    for number in (7_001, 7_002, 7_003):
        given, used = {"session": number}, {"session": number, "kwh": number % 10}
        data = [json.dumps(one) if quoted else one for one in (given, used)]
        p.csms("DataTransfer", {"vendorId": "v", "data": data[0]}, {"status": "Accepted"})
        p.station("DataTransfer", {"vendorId": "v", "data": data[1]}, {"status": "Accepted"})
    return p.frames


@pytest.mark.parametrize("quoted", [False, True])
def test_a_vendors_number_is_found_also_within_a_text(quoted: bool) -> None:
    (found,) = suspects(vendor(quoted=quoted))
    assert (found.born, found.used) == ("DataTransfer/request/data/session",) * 2
    assert (found.values, found.example) == (3, "7001")


def test_what_an_answer_gives_and_a_later_call_says_is_found_and_an_echo_is_not() -> None:
    p, echo = play().booted(), play().booted()
    for number in (7_001, 7_002, 7_003):
        p.station("DataTransfer", {"vendorId": "v"}, {"status": "Accepted", "data": f"s{number}"})
        p.station("DataTransfer", {"vendorId": "v", "data": f"s{number}"}, {"status": "Accepted"})
        echo.station(
            "DataTransfer",
            {"vendorId": "v", "data": f"s{number}"},
            {"status": "Accepted", "data": f"s{number}"},
        )
    (found,) = suspects(p.frames)
    assert (found.born, found.used) == ("DataTransfer/answer/data", "DataTransfer/request/data")
    assert suspects(echo.frames) == []


def test_it_stands_in_what_a_csms_must_know() -> None:
    needs = Needs()
    add_needs(needs, vendor(quoted=True))
    assert needs.unbound == [
        "DataTransfer/request/data/session -> DataTransfer/request/data/session (3 values, 7001)"
    ]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_of_what_the_table_knows_nothing_is_told(path: Path) -> None:
    assert suspects(frames_of(path)) == []


@pytest.mark.corpus
@pytest.mark.parametrize("name", PEER_SESSIONS)
def test_nor_of_sessions_of_other_people(name: str, corpora: Path) -> None:
    assert suspects(frames_of(corpora / "peer-sessions" / f"{name}.jsonl")) == []


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_without_the_table_it_would_find_the_transactions(path: Path) -> None:
    """And nothing else: it is the table that makes it silent, not that it sees nothing."""
    others = tuple(spot for spot in SPOTS if spot.space is not Space.TRANSACTION)
    used = {one.used.split("/")[0] for one in suspects(frames_of(path), others)}
    assert used == ({"MeterValues", "StopTransaction"} if len(recorded_ids(path)) > 1 else set())


def recorded_ids(path: Path) -> set[int]:
    ids = {
        json.loads(f.text or "0")[2].get("transactionId")
        for f in frames_of(path)
        if '"transactionId"' in (f.text or "") and (f.text or "")[:3] == "[3,"
    }
    return {one for one in ids if isinstance(one, int) and one >= 100}
