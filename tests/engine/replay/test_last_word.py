"""When all is said: what the other side still says, who ends it and why, and that it does end."""

import json

import pytest
from msgspec.structs import replace

from tests.engine.replay.replays import compared, replayed
from tests.engine.replay.test_manners import answer, csms, said, station
from tests.playbook import Happened, Play, after, play, stamp
from twin.engine.machine import Close, Connect
from twin.engine.recording import recording_of
from twin.engine.replay.diff import Comparison, diff
from twin.engine.replay.links import Ends
from twin.engine.replay.player import GATE_US, Player
from twin.engine.replay.script import attempts_beside, dependents
from twin.engine.replay.timing import timing_of
from twin.model import Frame, Kind, Side
from twin.protocol.timestamps import SECOND_US

RESET = '[2,"x","Reset",{"type":"Hard"}]'


def beat(times: int = 1) -> Play:
    p = play().booted()
    for _ in range(times):
        p.station("Heartbeat", {}, {"currentTime": stamp(1)})
    return p


def played_to_its_end(player: Player) -> None:
    """Everything is answered at time 0."""
    player.connected(0)
    messages = said(player)
    while messages:
        messages = answer(player, messages[0], {"status": "Accepted"})


@pytest.mark.parametrize(("linger_us", "heard"), [(0, 0), (250_000, 1)])
def test_who_has_said_all_listens_for_a_while(linger_us: int, heard: int) -> None:
    player = station(beat().frames, linger_us=linger_us)
    player.connected(0)
    (boot,) = said(player)
    (heartbeat,) = answer(player, boot, {"status": "Accepted"})
    player.receive(json.dumps([3, heartbeat[1], {}]), 0)
    left = [one for one in player.take() if isinstance(one, Close)]
    assert bool(left) is not bool(linger_us)
    if linger_us:
        assert player.next_timer() == linger_us
        player.receive(RESET, 1_000)
        player.handle_timer(linger_us)
        assert any(isinstance(one, Close) for one in player.take())
    assert len(player.misses) == heard
    assert player.finished


def test_at_its_own_pace_it_stays_as_long_as_was_recorded() -> None:
    frames = (beat() << after(6) << Happened(Kind.END, facts={"by": "station"})).frames
    player = station(frames, timing=timing_of("original"))
    player.connected(0)
    while not player.finished:
        due_us = player.next_timer()
        assert due_us is not None
        player.handle_timer(due_us)
        for message in said(player):
            player.receive(json.dumps([3, message[1], {}]), due_us)
    assert due_us >= 6 * SECOND_US


# ── ends for a reason ────────────────────────────────────────────────────────────────────────────


def closed(code: int, sender: Side = Side.CSMS) -> list[Frame]:
    p = beat() << Happened(Kind.CLOSE, sender=sender, facts={"code": code})
    return (p << Happened(Kind.END, facts={"abrupt": False, "by": sender.value})).frames


@pytest.mark.parametrize(
    ("recorded_code", "live_code", "equal"),
    [(1008, 1008, True), (1008, 1011, False), (1000, 1001, True), (1000, 1011, False), (1008, 1000, False)],
)
def test_an_end_for_a_reason_is_compared_even_if_it_is_the_last(
    recorded_code: int, live_code: int, equal: bool
) -> None:
    found = diff(closed(recorded_code), closed(live_code), comparison=Comparison(ends=Ends.BUT_LAST))
    assert found.equal is equal


def test_a_link_that_was_given_up_as_dead_is_no_end_for_a_reason() -> None:
    """As libraries do where no pong has come: nobody is waited for to do it again."""
    frames = closed(1011)
    (close,) = [frame for frame in frames if frame.kind is Kind.CLOSE]
    silent = [
        replace(f, facts={"code": 1011, "reason": "keepalive ping timeout"}) if f is close else f
        for f in frames
    ]
    player = station(silent)
    played_to_its_end(player)
    assert player.finished
    assert diff(silent, closed(1000), comparison=Comparison(ends=Ends.BUT_LAST)).equal


def test_it_is_played_and_waited_for() -> None:
    _, again = replayed(closed(1008))
    (close,) = [frame for frame in again if frame.kind is Kind.CLOSE]
    assert (close.sender, close.facts["code"]) == (Side.CSMS, 1008)
    player = station(closed(1008))
    played_to_its_end(player)
    assert not player.finished
    assert player.next_timer() == GATE_US


def test_an_end_that_nobody_recorded_is_said_where_it_came() -> None:
    """Where the recording goes on and the live CSMS threw the station out."""
    short = beat().frames
    found = diff(short, closed(1011), comparison=Comparison(ends=Ends.BUT_LAST)).divergences
    assert [(one.changes[0].path, one.changes[0].replayed) for one in found] == [
        ("connection/end", "closed by csms with 1011")
    ]
    assert found[0].recorded_seq is None


def test_one_connection_more_tells_how_the_one_before_it_ended() -> None:
    more = beat() << Happened(Kind.END, facts={"abrupt": True, "by": "csms"})
    more = more << Happened(Kind.OPEN, link="c2")
    later = diff(closed(1008), [*closed(1011), replace(more.frames[-1], seq=99)])
    assert [one.kind for one in later.divergences] == ["changed", "extra"]  # as they came
    found = diff(beat().frames, more.frames, comparison=Comparison(ends=Ends.BUT_LAST)).divergences
    assert [(one.kind, one.changes[0].replayed) for one in found] == [("extra", "dropped by csms")]


# ── it ends ──────────────────────────────────────────────────────────────────────────────────────


def test_a_csms_that_lets_in_and_throws_out_is_not_asked_for_ever() -> None:
    player = station(beat(20).frames)
    now_us, came = 0, [0]
    while not player.finished:
        player.connected(now_us)
        player.take()
        player.disconnected(now_us)
        commands = player.take()
        if not any(isinstance(one, Connect) for one in commands) and not player.finished:
            due_us = player.next_timer()
            assert due_us is not None
            now_us = due_us
            player.handle_timer(now_us)
            assert any(isinstance(one, Connect) for one in player.take())
        came.append(now_us)
        assert len(came) < 20
    assert 5 <= len(came) <= 9
    assert came[-1] > 5 * SECOND_US  # later every time
    assert "in a row ended" in player.ended_early
    assert player.left


def test_what_comes_gives_it_patience_again() -> None:
    """A link that drops after every answer is played to its end, however often it drops."""
    player = station(beat(12).frames)
    now_us = 0
    player.connected(now_us)
    for _ in range(40):
        for message in said(player):
            player.receive(json.dumps([3, message[1], {}]), now_us)
            player.disconnected(now_us)
            player.take()
            break
        if player.finished:
            break
        player.connected(now_us)
    assert player.finished
    assert not player.ended_early


def test_a_station_that_comes_again_and_again_and_says_nothing_is_waited_for_no_longer() -> None:
    player = csms(beat().frames)
    for second in range(0, 120, 2):
        player.connected(second * SECOND_US)
        player.disconnected((second + 1) * SECOND_US)
        due_us = player.next_timer()
        if due_us is not None and due_us <= (second + 2) * SECOND_US:
            player.handle_timer(due_us)
        if player.finished:
            break
    assert player.finished
    assert second <= 2 * GATE_US / SECOND_US


# ── what goes with what ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("seconds", "states", "goes_with_it"),
    [(20, [], True), (3_600, [], False), (20, ["Preparing"], True), (20, ["Preparing", "Available"], False)],
)
def test_a_start_long_after_a_remote_start_is_a_start_of_its_own(
    seconds: int, states: list[str], goes_with_it: bool
) -> None:
    p = play().booted()
    p.csms("RemoteStartTransaction", {"connectorId": 1, "idTag": "TAG0001"}, {"status": "Accepted"})
    for status in states:
        p.station("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": status}, {})
    p << after(seconds)
    start = {"connectorId": 1, "idTag": "TAG0001", "meterStart": 0, "timestamp": stamp(seconds)}
    p.station("StartTransaction", start, {"transactionId": 7, "idTagInfo": {"status": "Accepted"}})
    recording = recording_of(p.frames)
    (stimulus,) = [x for x in recording.exchanges if x.call.sender is Side.CSMS]
    assert bool(dependents(recording, stimulus)) is goes_with_it


def test_a_call_at_the_very_end_may_have_been_answered() -> None:
    cut = play().booted().station("Heartbeat", {}).frames
    whole = beat().frames
    assert diff(cut, whole).equal
    later = (play().booted().station("Heartbeat", {}) << after(40)).station(
        "DataTransfer", {"vendorId": "x"}, {}
    )
    answered = (beat() << after(40)).station("DataTransfer", {"vendorId": "x"}, {})
    assert not diff(later.frames, answered.frames).equal  # in the middle it was not


def test_an_attempt_beside_an_open_connection_is_none_of_the_script() -> None:
    refusal = Happened(Kind.REFUSED, link="r1", facts={"status": 503})
    beside = (beat() << refusal << Happened(Kind.PING, link="c1", sender=Side.STATION)).frames
    assert attempts_beside(beside) == [frame.seq for frame in beside if frame.kind is Kind.REFUSED]
    assert attempts_beside((beat() << refusal).frames) == []


def test_a_refusal_does_not_use_up_the_end_of_the_next_connection() -> None:
    p = beat() << Happened(Kind.CLOSE, sender=Side.STATION, facts={"code": 1000})
    p = p << Happened(Kind.END) << Happened(Kind.REFUSED, link="r1", facts={"status": 503})
    p = p << Happened(Kind.OPEN, link="c2") << Happened(Kind.END, facts={"abrupt": True, "by": "csms"})
    p = p << Happened(Kind.OPEN, link="c3")
    frames = p.station("StatusNotification", {"connectorId": 1, "errorCode": "NoError"}, {}).frames
    player, again = replayed(frames)
    assert compared(frames, again).equal
    assert player.finished
