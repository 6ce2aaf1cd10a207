"""A capture played against itself is itself: every golden capture in every timing, every peer session."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.engine.replay.digest import digest
from tests.engine.replay.replays import PEER_SESSIONS, compared, replayed
from tests.peers import peer_python
from twin.engine.recording import station_links
from twin.engine.replay.links import links_of
from twin.engine.replay.timing import timing_of
from twin.io.formats import open_capture
from twin.io.replay_jobs import sessions_of
from twin.model import Frame, Kind, Side

GOLDEN = sorted(path for path in (REPOSITORY / "captures").iterdir() if path.is_dir())
MODES = ("causal", "original", "x10", "max-gap=2", "virtual")


def frames_of(path: Path) -> list[Frame]:
    return station_links(list(open_capture(path).frames))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_every_golden_capture_in_every_timing(path: Path, mode: str) -> None:
    frames = frames_of(path)
    timing = timing_of(mode)
    station, again = replayed(frames, timing)
    assert station.finished
    assert station.left == 0
    assert (station.gates_relaxed, station.misses, station.not_stimulated) == ([], [], [])
    assert (station.unbound, station.conflicts) == ([], [])
    found = compared(frames, again, timed=mode in ("original", "virtual"))
    assert found.divergences == ()
    texts = sum(frame.kind is Kind.TEXT and frame.sender is Side.STATION for frame in frames)
    assert sum(frame.kind is Kind.TEXT and frame.sender is Side.STATION for frame in again) == texts


@pytest.mark.corpus
@pytest.mark.parametrize("mode", ["causal", "virtual"])
@pytest.mark.parametrize("name", PEER_SESSIONS)
def test_every_peer_session(corpora: Path, name: str, mode: str) -> None:
    for _, frames in sessions_of(corpora / "peer-sessions" / f"{name}.jsonl"):
        station, again = replayed(frames, timing_of(mode))
        assert station.finished
        assert compared(frames, again, timed=mode == "virtual").divergences == ()


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_a_capture_does_not_differ_from_itself(path: Path) -> None:
    frames = frames_of(path)
    assert compared(frames, frames, timed=True).equal


def test_connections_go_as_they_went() -> None:
    """A refusal, a Close by the CSMS with its code, an end without one: all are played."""
    frames = frames_of(REPOSITORY / "captures" / "twin-connections")
    _, again = replayed(frames, timing_of("virtual"))
    links = links_of(again)
    assert [(link.refused, link.status) for link in links] == [(True, 401), (False, None), (False, None)]
    assert (links[1].by, links[1].code, links[1].abrupt) == ("csms", 1012, False)
    assert sum(frame.kind is Kind.PING for frame in again) == 3
    outage = frames_of(REPOSITORY / "captures" / "twin-outage")
    _, again = replayed(outage)
    assert [link.abrupt for link in links_of(again)][:2] == [link.abrupt for link in links_of(outage)][:2]


@pytest.mark.parametrize("path", GOLDEN[1:], ids=lambda path: path.name)
def test_a_hundred_virtual_replays_are_one(path: Path) -> None:
    assert digest(path, 100) == digest(path)


def told_by(python: Path | str, path: Path, seed: str) -> str:
    """The digest as another process gives it."""
    done = subprocess.run(
        (python, "-m", "tests.engine.replay.digest", str(path)),
        env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_one_hash_whatever_the_hash_seed(seed: str) -> None:
    assert told_by(sys.executable, GOLDEN[-1], seed) == digest(GOLDEN[-1])


@pytest.mark.peer
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_one_hash_in_the_oldest_python_too(path: Path) -> None:
    assert told_by(peer_python("python-3.12"), path, "7") == digest(path)
