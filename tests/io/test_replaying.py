"""Replays over a real socket that do not go as they were recorded."""

import asyncio
import itertools
import json
from typing import Any

import msgspec
import pytest

from tests.conftest import REPOSITORY
from tests.playbook import Happened, Play, play
from twin.engine.csms import Csms, Script
from twin.engine.recording import station_links
from twin.engine.replay.player import Manner, Player
from twin.io import websocket
from twin.io.driver import FrameLog, Live, Pace
from twin.io.formats import open_capture
from twin.io.redact import hushed
from twin.io.replay_jobs import Job, result_of
from twin.io.replaying import Outcome, Plan, not_played, replay
from twin.io.targets import target_of
from twin.model import Frame, Kind, Side

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


def outcome_of(p: Play, **manner: Any) -> Outcome:
    return replay(p.frames, Plan(station_id="CP1", manner=Manner(**manner)))


def test_mapped_tags_are_live_in_the_capture_and_recorded_in_the_verdict() -> None:
    p = play().booted().station("Authorize", {"idTag": "TAG0001"}, {"idTagInfo": {"status": "Accepted"}})
    p.started(1, 7)
    outcome = outcome_of(p, tags={"TAG0001": "LIVE-1"})
    assert outcome.diff.equal
    texts = [frame.text or "" for frame in outcome.replayed]
    assert sum('"LIVE-1"' in text for text in texts) == 1
    assert not any("TAG0001" in text for text in texts)


@pytest.mark.parametrize("recorded", ["hunter2hunter2", "**************"])
def test_a_secret_is_neither_kept_nor_told_nor_a_difference(recorded: str) -> None:
    """Whether the recorder had taken it out or not: the live one is compared without it."""
    asked = {"key": "AuthorizationKey", "value": recorded}
    p = play().booted().csms("ChangeConfiguration", asked, {"status": "Accepted"})
    outcome = outcome_of(p)
    assert outcome.diff.equal
    told = json.dumps(msgspec.to_builtins(result_of(Job(path="x", station="CP1", name="x"), outcome)))
    assert "hunter2" not in told + "".join(frame.text or "" for frame in outcome.replayed)


def test_a_secret_that_no_recording_covers_is_told_without_it() -> None:
    player = Player(play().booted().frames, new_message_id=lambda: "p", manner=Manner(hushed=hushed))
    player.connected(0)
    asked = {"key": "AuthorizationKey", "value": "hunter2hunter2"}
    player.receive(json.dumps([2, "x", "ChangeConfiguration", asked]), 0)
    (miss,) = player.misses
    assert miss.payload == {"key": "AuthorizationKey", "value": "*" * 14}


def test_what_cannot_be_played_is_told_with_the_reason() -> None:
    p = play().booted()
    p = p << Happened(Kind.REFUSED, link="r1", facts={"status": 503})
    p = p << Happened(Kind.PING, link="c1", sender=Side.STATION)
    unknown = Frame(seq=90, at_us=p.at_us, link="c1", kind=Kind.TEXT, station="CP1", text="{}")
    assert list(not_played([*p.frames, unknown]).values()) == [
        "of an unknown side",
        "an attempt beside an open connection",
    ]
    assert outcome_of(p).diff.equal
