"""A capture is played again, in process and over a real socket, and compared with itself."""

import itertools
import json
import queue
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.engine.replay.replays import compared, replayed
from twin.engine.csms import Csms
from twin.engine.recording import station_links
from twin.engine.replay.diff import diff
from twin.engine.replay.player import Player
from twin.engine.virtual import converse
from twin.io.formats import open_capture
from twin.model import Call, Frame
from twin.protocol import codec

SESSION = REPOSITORY / "captures" / "otmk-shaped-demo"
DEADLINE_S = 90
DANGEROUS = ("--dangerous", "ChangeConfiguration", "--dangerous", "UnlockConnector")


@pytest.fixture(scope="module")
def session() -> list[Frame]:
    return station_links(list(open_capture(SESSION).frames))


def test_the_demo_session_replays_without_divergence_under_other_ids(session: list[Frame]) -> None:
    player, frames = replayed(session)
    assert player.finished
    assert (player.gates_relaxed, player.misses, player.not_stimulated, player.unbound) == ([], [], [], [])
    assert player.conflicts == []
    found = compared(session, frames)
    assert found.divergences == ()
    assert found.matched == 323
    used = {
        message.payload["transactionId"]
        for frame in frames
        if frame.text and isinstance(message := codec.parse(frame.text).message, Call)
        if message.action in ("MeterValues", "StopTransaction") and "transactionId" in message.payload
    }
    assert used
    assert min(used) > 900_000


def test_a_replay_is_the_same_every_time(session: list[Frame]) -> None:
    assert replayed(session)[1] == replayed(session)[1]


def test_both_sides_over_a_real_socket(tmp_path: Path) -> None:
    twin = (sys.executable, "-m", "twin")
    command = (*twin, "replay", str(SESSION), "--as", "csms", "--listen", "127.0.0.1:0", *DANGEROUS)
    lines: queue.Queue[str] = queue.Queue()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as csms:
        assert csms.stderr is not None
        reader = threading.Thread(target=lambda: [lines.put(line) for line in csms.stderr or ()])
        reader.start()
        url = lines.get(timeout=DEADLINE_S).removeprefix("listening ").strip()
        played = subprocess.run(
            (*twin, "replay", str(SESSION), "--csms", url, "--expect-calls", "--json",
             "-o", str(tmp_path / "new")),
            capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip
        assert csms.wait(DEADLINE_S) == 0  # it has seen the whole recording too
        reader.join(DEADLINE_S)
    assert played.returncode == 0, played.stdout + played.stderr
    told = json.loads(played.stdout)
    assert told["equal"]
    assert told["matched"] == 323
    assert diff(list(open_capture(SESSION).frames), list(open_capture(tmp_path / "new").frames)).equal


def test_calls_that_nobody_makes_come_are_reported_apart(session: list[Frame]) -> None:
    player = Player(session, new_message_id=iter(map(str, range(10**6))).__next__)
    silent = Csms(new_message_id=lambda: "never", new_transaction_id=itertools.count(1).__next__)
    frames = converse(player, silent, station_id="CP1", start_us=0)
    assert player.finished
    assert len(player.not_stimulated) == 7
    found = diff(session, frames).set_aside(player.unstimulated)
    assert len(found.unstimulated) == 7
    assert {(d.kind, d.stream.split()[0]) for d in found.unstimulated} == {("missing", "CSMS")}
    assert not [d for d in found.divergences if d.kind == "missing"]
