"""A replayed session passes through the recording relay into a third-party CSMS, which accepts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.peers import start_csms
from tests.peers.stations import DEADLINE_S, recording
from twin.io.formats import open_capture
from twin.model import CallError, Kind, Side
from twin.protocol import codec

SESSION = REPOSITORY / "captures" / "otmk-shaped-demo"


@pytest.mark.peer
def test_a_third_party_csms_accepts_a_replayed_session_through_the_proxy(tmp_path: Path) -> None:
    capture = tmp_path / "through.capture"
    with start_csms() as url, recording(url, capture) as address:
        played = subprocess.run(
            (sys.executable, "-m", "twin", "replay", str(SESSION), "--csms", f"ws://{address}", "--json"),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
            env={**os.environ, "NO_COLOR": "1"},
        )
    assert played.returncode in (0, 1), played.stderr
    told = json.loads(played.stdout)
    assert told["played_to_the_end"]
    assert told["gates_relaxed"] == []
    assert told["id_conflicts"] == []

    sent = [frame for frame in open_capture(SESSION).frames if frame.sender is Side.STATION]
    calls = sum(frame.text is not None and frame.text.startswith("[2,") for frame in sent)
    frames = list(open_capture(capture).frames)
    messages = [(f.sender, codec.parse(f.text).message) for f in frames if f.kind is Kind.TEXT and f.text]
    answers = [message for sender, message in messages if sender is Side.CSMS]
    assert len([m for m in answers if not isinstance(m, CallError)]) >= calls
    assert not [m for m in answers if isinstance(m, CallError)]
