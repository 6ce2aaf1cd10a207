"""How a Player behaves towards a live side that does not do as was recorded."""

import itertools
import json
from typing import Any

import pytest
from msgspec.structs import replace

from tests.engine.replay.replays import compared, replayed
from tests.playbook import BOOT, Happened, Play, after, cp, cs, ended, meter, play, stamp
from twin.engine.machine import Send, Stimulate
from twin.engine.recording import recording_of
from twin.engine.replay.binding import Space
from twin.engine.replay.diff import diff
from twin.engine.replay.models import csms_model, station_model
from twin.engine.replay.player import GATE_US, Manner, Player, Policy
from twin.engine.replay.script import dependents
from twin.engine.replay.timing import timing_of
from twin.engine.replay.warm import prologue_of
from twin.engine.virtual import converse
from twin.model import Frame, Kind, Side
from twin.protocol.codec import parse

SECOND_US = 1_000_000
REMOTE = {"idTag": "TAG", "connectorId": 1}
ACCEPTED = {"idTagInfo": {"status": "Accepted"}}


def recorded(remote: bool = False) -> Play:
    """A boot, a session (remotely started or not), and what the CSMS asked in between."""
    p = play().booted()
    if remote:
        p.csms("RemoteStartTransaction", REMOTE, {"status": "Accepted"})
    p.started(1, 7).station("MeterValues", meter(60, transaction=7), {})
    if remote:
        p.csms("RemoteStopTransaction", {"transactionId": 7}, {"status": "Accepted"})
    stop = {"transactionId": 7, "meterStop": 2000, "timestamp": stamp(61)}
    return p.station("StopTransaction", stop, {})


def station(frames: list[Frame], **manner: Any) -> Player:
    ids = itertools.count(1)
    return Player(frames, new_message_id=lambda: f"p{next(ids)}", manner=Manner(**manner))


def csms(frames: list[Frame], **manner: Any) -> Player:
    ids, numbers = itertools.count(1), itertools.count(900)
    return Player(
        frames,
        side=Side.CSMS,
        new_message_id=lambda: f"c{next(ids)}",
        new_transaction_id=lambda: next(numbers),
        manner=Manner(**manner),
    )


def said(player: Player) -> list[list[Any]]:
    return [json.loads(command.text) for command in player.take() if isinstance(command, Send)]


def answer(player: Player, message: list[Any], payload: dict[str, Any], now_us: int = 0) -> list[list[Any]]:
    player.receive(json.dumps([3, message[1], payload]), now_us)
    return said(player)


# ── gates ────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_goes_out_before_what_was_heard_before_it_is_heard_again() -> None:
    player = station(recorded().frames)
    player.connected(0)
    (boot,) = said(player)
    assert boot[2] == "BootNotification"
    player.receive('[3,"not mine",{}]', 1)
    assert said(player) == []
    (authorize,) = answer(player, boot, {"status": "Accepted", "currentTime": stamp(), "interval": 30})
    assert authorize[2] == "Authorize"


def test_a_silent_peer_is_waited_for_once_and_told() -> None:
    player = station(recorded().frames)
    player.connected(0)
    assert len(said(player)) == 1
    assert player.next_timer() == GATE_US
    player.handle_timer(GATE_US)
    assert [message[2] for message in said(player)] == ["Authorize"]
    assert len(player.gates_relaxed) == 1


def test_a_late_answer_settles_nothing_twice() -> None:
    player = station(recorded().frames)
    player.connected(0)
    (boot,) = said(player)
    player.handle_timer(GATE_US)
    (authorize,) = said(player)
    assert answer(player, boot, {"status": "Accepted"}, GATE_US + 1) == []
    assert [m[2] for m in answer(player, authorize, ACCEPTED, GATE_US + 2)] == ["StartTransaction"]


def test_an_answer_follows_its_call_as_long_after_it_as_it_did() -> None:
    from twin.engine.replay.timing import Timing

    slow = play().booted() << cs('[2,"x","ClearCache",{}]') << after(7) << cp('[3,"x",{"status":"Accepted"}]')
    player = station(slow.frames, timing=Timing("original"), expect_calls=True)
    player.connected(0)
    (boot,) = said(player)
    answer(player, boot, {"status": "Accepted"}, 1000)
    player.receive('[2,"live","ClearCache",{}]', 2 * SECOND_US)
    assert said(player) == []
    assert player.next_timer() == 9 * SECOND_US
    player.handle_timer(9 * SECOND_US)
    assert said(player) == [[3, "live", {"status": "Accepted"}]]


def test_the_time_of_day_of_an_answer_is_that_of_the_replay() -> None:
    player = csms(play().booted().frames, shift=True)
    day_us = 86_400 * SECOND_US
    first = play().booted().frames[0].at_us
    player.connected(first + day_us)
    player.receive(
        '[2,"b","BootNotification",{"chargePointVendor":"v","chargePointModel":"m"}]', first + day_us
    )
    ((_, _, payload),) = said(player)
    assert payload["currentTime"][:10] > stamp()[:10]


# ── matching ─────────────────────────────────────────────────────────────────────────────────────


def test_each_recorded_call_is_consumed_once_first_in_first_out() -> None:
    p = play().booted()
    for status in ("Accepted", "Rejected"):
        p.csms("ClearCache", {}, {"status": status})
    player = station(p.frames)
    player.connected(0)
    said(player)
    for number, wanted in enumerate(("Accepted", "Rejected")):
        player.receive(f'[2,"{number}","ClearCache",{{}}]', 1)
        assert said(player) == [[3, str(number), {"status": wanted}]]
    player.receive('[2,"2","ClearCache",{}]', 2)
    assert [message[:3] for message in said(player)] == [[4, "2", "GenericError"]]
    (miss,) = player.misses
    assert (miss.action, miss.consumed, miss.changes) == ("ClearCache", True, ())


def test_a_reused_message_id_is_a_call_of_its_own() -> None:
    p = play().booted().csms("ClearCache", {}, {"status": "Accepted"})
    p.csms("ClearCache", {}, {"status": "Rejected"})
    player = station(p.frames)
    player.connected(0)
    said(player)
    for wanted in ("Accepted", "Rejected"):
        player.receive('[2,"same","ClearCache",{}]', 1)
        assert said(player) == [[3, "same", {"status": wanted}]]


def test_a_call_in_the_wrong_direction_is_no_candidate() -> None:
    p = play().booted().station("DataTransfer", {"vendorId": "x"}, {"status": "Accepted"})
    player = station(p.frames)
    player.connected(0)
    said(player)
    player.receive('[2,"1","DataTransfer",{"vendorId":"x"}]', 1)
    assert [message[:3] for message in said(player)] == [[4, "1", "GenericError"]]


def test_a_miss_names_the_closest_call_and_the_fields_that_differ() -> None:
    p = play().booted().csms("ChangeConfiguration", {"key": "A", "value": "1"}, {"status": "Accepted"})
    p.csms("ChangeConfiguration", {"key": "B", "value": "2"}, {"status": "Rejected"})
    player = station(p.frames)
    player.connected(0)
    said(player)
    for key, value in (("A", "1"), ("B", "2"), ("B", "3")):
        player.receive(json.dumps([2, key + value, "ChangeConfiguration", {"key": key, "value": value}]), 1)
    (miss,) = player.misses
    assert miss.closest_seq == p.frames[5].seq
    assert [(c.path, c.recorded, c.replayed) for c in miss.changes] == [("request/value", "2", "3")]
    assert miss.fields == 3


def test_recorded_silence_is_answered_with_silence() -> None:
    p = play().booted() << cs('[2,"x","ClearCache",{}]')
    player = station(p.frames)
    player.connected(0)
    said(player)
    player.receive('[2,"1","ClearCache",{}]', 1)
    assert said(player) == []


def test_a_recorded_refusal_is_answered_with_a_refusal() -> None:
    player = station(play().booted().csms("ClearCache", {}, "NotSupported").frames)
    player.connected(0)
    said(player)
    player.receive('[2,"1","ClearCache",{}]', 1)
    ((kind, message_id, code, *_),) = said(player)
    assert (kind, message_id, code) == (4, "1", "NotSupported")


# ── policies ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", [Policy.LENIENT, Policy.EXTEND])
@pytest.mark.parametrize("side", list(Side))
def test_a_model_answers_what_no_recording_covers(policy: Policy, side: Side) -> None:
    ids = itertools.count(1)
    model = (
        csms_model(lambda: f"m{next(ids)}", lambda: next(ids))
        if side is Side.CSMS
        else station_model(lambda: f"m{next(ids)}")
    )
    make = csms if side is Side.CSMS else station
    player = make(recorded().frames, policy=policy, model=model)
    player.connected(0)
    player.take()
    call = (
        '[2,"1","DataTransfer",{"vendorId":"x"}]'
        if side is Side.CSMS
        else '[2,"1","GetConfiguration",{"key":["HeartbeatInterval"]}]'
    )
    player.receive(call, 3_600 * SECOND_US)
    (command,) = [one for one in player.take() if isinstance(one, Send)]
    assert json.loads(command.text)[:2] == [3, "1"]
    assert command.facts == {"synthetic": policy.value}
    assert [miss.action for miss in player.misses] == [json.loads(call)[2]]


def test_what_a_model_answered_is_set_aside_and_fails_nothing() -> None:
    frames = recorded().frames
    more = (recorded() << cs('[2,"z","ClearCache",{}]') << cp('[3,"z",{"status":"Accepted"}]')).frames
    marked = [*more[:-1], replace(more[-1], facts={"synthetic": "lenient"})]
    assert not diff(frames, more).equal
    aside = diff(frames, marked).set_aside({})
    assert aside.equal
    assert [one.action for one in aside.answered] == ["ClearCache"]


def test_the_station_at_rest_answers_as_the_certified_one() -> None:
    ids = itertools.count(1)
    model = station_model(lambda: f"m{next(ids)}")
    told = json.loads(model('[2,"1","GetConfiguration",{}]', 10**15) or "")
    keys = {row["key"]: row.get("value") for row in told[2]["configurationKey"]}
    assert keys["NumberOfConnectors"] == "20"
    refused = json.loads(model('[2,"2","ReserveNow",{}]', 10**15 + 1) or "")
    assert refused[0] == 4


# ── stimuli ──────────────────────────────────────────────────────────────────────────────────────


def test_a_recorded_call_is_offered_when_its_gate_opens_with_the_live_ids() -> None:
    player = station(recorded(remote=True).frames, stimulate=True)
    player.connected(0)
    (boot,) = said(player)
    player.receive(json.dumps([3, boot[1], {"status": "Accepted"}]), 1)
    (wanted,) = [one for one in player.take() if isinstance(one, Stimulate)]
    assert (wanted.action, wanted.payload) == ("RemoteStartTransaction", REMOTE)
    player.receive('[2,"live","RemoteStartTransaction",{"idTag":"TAG","connectorId":1}]', 2)
    done, authorize = said(player)
    assert done == [3, "live", {"status": "Accepted"}]
    (start,) = answer(player, authorize, ACCEPTED)
    (values,) = answer(player, start, {"transactionId": 4711, **ACCEPTED})
    player.receive(json.dumps([3, values[1], {}]), 3)
    (stop,) = [one for one in player.take() if isinstance(one, Stimulate)]
    assert (stop.action, stop.payload) == ("RemoteStopTransaction", {"transactionId": 4711})
    assert player.transactions == {7: 4711}


def test_without_a_hook_what_depends_on_it_is_not_stimulated() -> None:
    frames = recorded(remote=True).frames
    player = station(frames)
    silent = csms(play().booted().frames)
    again = converse(player, silent, station_id="CP1", start_us=frames[0].at_us)
    assert player.finished
    assert len(player.not_stimulated) == 2
    found = diff(frames, again).set_aside(player.unstimulated)
    assert found.divergences == ()
    assert sorted(one.action for one in found.unstimulated) == [
        "Authorize",
        "MeterValues",
        "RemoteStartTransaction",
        "RemoteStopTransaction",
        "StartTransaction",
        "StopTransaction",
    ]


def test_only_a_remote_start_has_dependents_and_only_its_own_transaction() -> None:
    p = recorded(remote=True)
    p.started(2, 8).station("MeterValues", meter(60, connector=2, transaction=8), {})
    recording = recording_of(p.frames)
    calls = [x for x in recording.exchanges if x.call.sender is Side.CSMS]
    by_seq = {x.call.frame.seq: x for x in recording.exchanges if x.call.frame}
    depends = [by_seq[seq].call.action for seq in sorted(dependents(recording, calls[0]))]
    assert depends == ["Authorize", "StartTransaction", "MeterValues", "StopTransaction"]
    assert dependents(recording, calls[1]) == set()


def test_a_csms_that_calls_of_itself_after_all_is_no_missing_stimulus() -> None:
    p = play().booted().csms("ClearCache", {}, {"status": "Accepted"})
    player = station(p.frames)
    player.connected(0)
    said(player)
    player.handle_timer(GATE_US)
    player.handle_timer(2 * GATE_US)
    player.receive('[2,"1","ClearCache",{}]', 2 * GATE_US + 1)
    assert player.not_stimulated == []


def test_nobody_is_sent_where_the_recording_said() -> None:
    """Diagnostics and firmware: the recorded URL may be somebody's."""
    p = play().booted().csms("GetDiagnostics", {"location": "ftp://somebody.example/x", "retries": 1}, {})
    player = csms(p.frames)
    player.connected(0)
    player.receive(json.dumps([2, "b", "BootNotification", json.loads(p.frames[1].text or "")[3]]), 1)
    _, (_, _, action, payload) = said(player)
    assert (action, payload["retries"]) == ("GetDiagnostics", 1)
    assert payload["location"].startswith("ftp://127.0.0.1/")
    station, again = replayed(p.frames)
    assert station.finished
    assert compared(p.frames, again).equal


# ── connections ──────────────────────────────────────────────────────────────────────────────────


def test_a_link_that_the_csms_ended_is_left_by_whoever_plays_it_when_it_does_not() -> None:
    p = play().booted() << ended(by="csms", abrupt=True) << Happened(kind=Kind.OPEN, facts={}, link="c2")
    p.station("Heartbeat", {}, {"currentTime": stamp()})
    player = station(p.frames)
    player.connected(0)
    (boot,) = said(player)
    player.receive(json.dumps([3, boot[1], {"status": "Accepted"}]), 1)
    assert player.take() == []
    player.handle_timer(1 + GATE_US)
    (close,) = player.take()
    assert type(close).__name__ == "Close"
    assert len(player.gates_relaxed) == 1


def test_a_station_that_is_gone_for_good_is_waited_for_so_long_and_no_longer() -> None:
    player = csms(recorded().frames)
    assert player.next_timer() is None  # nobody has come yet: there is no hurry
    player.connected(0)
    player.disconnected(5)
    due_us = player.next_timer()
    assert due_us is not None
    assert GATE_US <= due_us <= 5 + 2 * GATE_US
    player.handle_timer(due_us)
    assert player.finished
    assert player.next_timer() is None
    assert len(player.gates_relaxed) == 5  # every CALL of the station


def test_a_second_live_id_for_two_transactions_is_a_conflict() -> None:
    p = recorded().started(2, 8)
    player = station(p.frames)
    player.connected(0)
    (message,) = said(player)
    for _ in range(9):
        payload = {"transactionId": 5, **ACCEPTED}
        after_it = answer(player, message, payload if message[2] == "StartTransaction" else {})
        if not after_it:
            break
        (message,) = after_it
    (conflict,) = player.conflicts
    assert (conflict.space, conflict.value, conflict.first, conflict.second) == (Space.TRANSACTION, 5, 7, 8)


# ── a capture that begins in the middle ──────────────────────────────────────────────────────────


def middle() -> list[Frame]:
    """The last half of a session: samples and the end of a transaction that nobody saw begin."""
    whole = recorded().frames
    begin = next(place for place, frame in enumerate(whole) if frame.text and '"MeterValues"' in frame.text)
    return [whole[0], *whole[begin:]]


def test_the_prologue_boots_and_starts_and_is_never_compared() -> None:
    frames = middle()
    first = prologue_of(frames)
    actions = [json.loads(frame.text or "")[2] for frame in first if frame.sender is Side.STATION]
    assert actions == ["BootNotification", "StartTransaction"]
    held = first + frames
    player = station(held)
    other = csms(recorded().frames)
    again = converse(player, other, station_id="CP1", start_us=frames[0].at_us)
    assert player.finished
    assert player.transactions == {7: 900}
    texts = [json.loads(frame.text) for frame in again if frame.text and frame.sender is Side.STATION]
    assert {text[3]["transactionId"] for text in texts if "transactionId" in text[3]} == {900}
    assert diff(held, again).divergences == ()
    assert player.unbound == []


def test_a_capture_that_begins_cold_has_none() -> None:
    assert prologue_of(recorded().frames) == []
    assert prologue_of([]) == []


def test_every_text_of_a_prologue_is_valid() -> None:
    for frame in prologue_of(middle()):
        parsed = parse(frame.text or "")
        assert parsed.message is not None
        assert parsed.defects == ()
        assert frame.seq < 1


# ── an end in any case ───────────────────────────────────────────────────────────────────────────


def ticked(player: Player, until_us: int, say: str = "", every_us: int = 10 * SECOND_US) -> int:
    """Its timers, and ``say`` from the other side again and again; how many timers it took."""
    timers, next_us = 0, every_us
    while not player.finished:
        due_us = player.next_timer()
        assert due_us is not None
        if say and next_us <= due_us:
            player.receive(say.replace("{n}", str(next_us)), next_us)
            next_us += every_us
        else:
            player.handle_timer(due_us)
            timers += 1
        player.take()
        assert max(due_us, next_us) < until_us
        assert timers < 10_000
    return timers


@pytest.mark.parametrize("junk", ["hello", '[2,"{n}","Heartbeat",{}]', '[3,"{n}",{}]'])
def test_who_says_only_other_things_is_silent(junk: str) -> None:
    frames = recorded().frames
    beside = csms(frames)
    beside.connected(0)
    ticked(beside, 3600 * SECOND_US, junk)
    assert beside.gates_relaxed
    other = station(frames, expect_calls=True)
    other.connected(0)
    ticked(other, 3600 * SECOND_US, junk)
    assert other.left or other.gates_relaxed


def test_a_csms_that_answers_nothing_is_left_after_a_few_gates() -> None:
    p = play().booted()
    for _ in range(1000):
        p.station("Heartbeat", {}, {"currentTime": stamp()})
    player = station(p.frames)
    player.connected(0)
    ticked(player, 600 * SECOND_US)
    assert player.left > 900
    assert "no answer" in player.ended_early


@pytest.mark.parametrize("timing", ["causal", "original", "virtual"])
def test_an_answer_that_takes_longer_than_the_gate_is_no_busy_loop(timing: str) -> None:
    """Authorize is answered after 35 s; then the CSMS asks something and gets no answer."""
    frames = play().booted().station("Authorize", {"idTag": "A"}, ACCEPTED).frames
    late = replace(frames[-1], at_us=frames[-1].at_us + 35 * SECOND_US)
    asks = '[2,"q","GetConfiguration",{}]'
    call = replace(late, seq=late.seq + 1, sender=Side.CSMS, text=asks, at_us=late.at_us + SECOND_US)
    held = [*frames[:-1], late, call]
    player, again = replayed(held, timing_of(timing))
    assert player.finished
    assert compared(held, again).equal
    alone = csms(held, timing=timing_of(timing))
    alone.connected(0)
    alone.receive('[2,"b","BootNotification",' + json.dumps(BOOT) + "]", 0)
    alone.receive('[2,"a","Authorize",{"idTag":"A"}]', 1)
    assert ticked(alone, 3600 * SECOND_US) < 20


def test_an_end_that_nobody_recorded_comes_after_the_last_message_of_its_link() -> None:
    p = play().booted().station("Heartbeat", {}, {"currentTime": stamp()})
    first = p.frames
    again = play().booted().station("Heartbeat", {}, {"currentTime": stamp()}).frames
    apart_us = 60 * SECOND_US
    second = [
        replace(frame, seq=frame.seq + len(first), at_us=frame.at_us + apart_us, link="later")
        for frame in again
    ]
    held = [frame for frame in (*first, *second) if frame.kind is not Kind.END]
    player, live = replayed(held)
    assert player.gates_relaxed == []
    assert compared(held, live).divergences == ()


def test_only_the_first_boot_may_be_one_that_the_capture_began_after() -> None:
    frames = [frame for frame in recorded().frames if "BootNotification" not in (frame.text or "")]
    player = csms(frames, model=csms_model(lambda: "m", lambda: 5))
    player.connected(0)
    boots = [
        f'[2,"b{n}","BootNotification",{json.dumps(BOOT | {"firmwareVersion": str(n)})}]' for n in range(7)
    ]
    for number, text in enumerate(boots):
        player.receive(text, number)
    assert len(player.misses) == 6


def test_misses_are_counted_and_not_all_kept() -> None:
    player = csms(recorded().frames)
    player.connected(0)
    for number in range(1500):
        player.receive(f'[2,"{number}","DataTransfer",{{"vendorId":"{number}"}}]', number)
    assert len(player.misses) == 1000
    assert player.more_misses == 500


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("GetDiagnostics", {"location": "ftp://operator.example/up"}),
        ("UpdateFirmware", {"location": "ftp://operator.example/fw", "retrieveDate": stamp()}),
        ("GetLog", {"logType": "DiagnosticsLog", "requestId": 1,
                    "log": {"remoteLocation": "ftp://operator.example/up"}}),
        ("SignedUpdateFirmware", {"requestId": 1, "firmware": {"location": "ftp://operator.example/fw"}}),
    ],
)  # fmt: skip
def test_no_station_is_sent_where_the_recording_said(action: str, payload: dict[str, Any]) -> None:
    frames = play().csms(action, payload, {"status": "Accepted"}).frames
    player = csms(frames)
    player.connected(0)
    (sent,) = said(player)
    assert "operator.example" not in json.dumps(sent)
    assert "127.0.0.1" in json.dumps(sent)
    assert compared(frames, replayed(frames)[1]).equal


def test_elsewhere_no_two_calls_go_out_at_once() -> None:
    p = play().booted()
    for _ in range(20):
        p.station("Heartbeat", {}, {"currentTime": stamp()})
    _, again = replayed(p.frames, least_gap_us=20_000)
    sent = [f.at_us for f in again if f.sender is Side.STATION and f.kind is Kind.TEXT]
    assert len(sent) == 21
    assert min(b - a for a, b in itertools.pairwise(sent)) >= 20_000
    assert compared(p.frames, again).equal
