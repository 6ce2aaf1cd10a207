"""Replays over a real socket that do not go as they were recorded."""

import asyncio
import itertools

from tests.conftest import REPOSITORY
from twin.engine.csms import Csms, Script
from twin.engine.recording import station_links
from twin.engine.replay.player import Manner
from twin.io import websocket
from twin.io.driver import FrameLog, Live, Pace
from twin.io.formats import open_capture
from twin.io.replay_jobs import Job, result_of
from twin.io.replaying import Plan, replay
from twin.io.targets import target_of
from twin.model import Frame, Side

OUTAGE = REPOSITORY / "captures" / "twin-outage"
UNAVAILABLE = 503


async def test_a_csms_that_goes_away_for_good_is_a_verdict_and_no_error() -> None:
    """Whatever was played until then is judged, and why it ended is told."""
    ids, held = itertools.count(1), []
    csms = Csms(
        Script(interval_s=60),
        new_message_id=lambda: f"c{next(ids)}",
        new_transaction_id=lambda: next(ids),
    )

    def keep(frame: Frame) -> None:
        held.append(frame)
        if len(held) == 12:
            csms.close()
            asyncio.get_running_loop().call_soon(live.obey)

    live = Live(csms, Side.CSMS, "OTMK-0001", pace=Pace(), log=FrameLog(keep))
    came: list[str] = []

    def peer_of(path: str, authorization: str) -> websocket.Peer | int:
        came.append(path)
        return live if len(came) == 1 else UNAVAILABLE

    server = await websocket.listen("127.0.0.1", 0, peer_of)
    plan = Plan(station_id="OTMK-0001", target=target_of(server.url), manner=Manner(gate_us=1_000_000))
    frames = station_links(list(open_capture(OUTAGE).frames))
    outcome = await asyncio.to_thread(replay, frames, plan)
    live.stop()
    server.close()
    assert len(came) == 2
    result = result_of(Job(path=str(OUTAGE), station="OTMK-0001", name="outage"), outcome)
    assert not result.passed
    assert not result.error
    assert "503" in result.facts["link_lost"][0]
    assert result.diff.matched >= 4
    assert result.diff.divergences
