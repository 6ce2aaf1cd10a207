"""A divergence is cut down to what still shows it; what differs between equal runs becomes a proposal."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.conftest import REPOSITORY
from tests.engine.replay.replays import replayed
from tests.playbook import Play, after, meter, play, stamp
from twin.engine.recording import recording_of, station_links
from twin.engine.replay.baseline import Baseline, baseline_of, document_of
from twin.engine.replay.diff import Comparison, diff
from twin.engine.replay.fields import Matchers, rules_of
from twin.engine.replay.identities import Needs, add_needs, identities_of
from twin.engine.replay.noise import ENOUGH, Learned, as_toml, learn
from twin.engine.replay.shrinking import shrink
from twin.io.formats import open_capture
from twin.model import Frame, Kind, Side

GOLDEN = sorted(path for path in (REPOSITORY / "captures").iterdir() if path.is_dir())
MOST_FRAMES = 20


def frames_of(path: Path) -> list[Frame]:
    return station_links(list(open_capture(path).frames))


def with_answer(frames: list[Frame], action: str, change: Any) -> list[Frame]:
    """The frames with the last answer to ``action`` changed; ``None`` drops it."""
    exchange = [x for x in recording_of(frames).exchanges if x.call.action == action and x.answer][-1]
    assert exchange.answer is not None
    seq = exchange.answer.frame.seq if exchange.answer.frame else 0
    if change is None:
        return [frame for frame in frames if frame.seq != seq]
    return [
        replace(frame, text=json.dumps(change(json.loads(frame.text or "")))) if frame.seq == seq else frame
        for frame in frames
    ]


def refused(message: list[Any]) -> list[Any]:
    return [4, message[1], "InternalError", "", {}]


def emptied(message: list[Any]) -> list[Any]:
    return [3, message[1], {"idTagInfo": {"status": "Invalid"}, "transactionId": 1}]


FAULTS = {
    "a refused status": ("StatusNotification", refused),
    "a lost answer": ("Heartbeat", None),
    "an invalid tag at the start": ("StartTransaction", emptied),
    "a stop that is refused": ("StopTransaction", refused),
}


def cases() -> list[tuple[Path, str]]:
    """Every golden capture with every fault that it has an exchange for."""
    found = []
    for path in GOLDEN:
        answered = {x.call.action for x in recording_of(frames_of(path)).exchanges if x.answer}
        found += [(path, fault) for fault, (action, _) in FAULTS.items() if action in answered]
    return found


def test_there_are_golden_cases_enough() -> None:
    assert len(cases()) == 4 * len(GOLDEN) - 2  # one of them has no transaction


@pytest.mark.parametrize(("path", "fault"), cases(), ids=lambda one: getattr(one, "name", one))
def test_a_divergence_of_a_golden_capture_fits_in_twenty_frames(path: Path, fault: str) -> None:
    frames = frames_of(path)
    action, change = FAULTS[fault]
    _, again = replayed(with_answer(frames, action, change))
    whole = diff(frames, again, comparison=Comparison(timed=False))
    assert whole.divergences
    first = whole.divergences[0]
    small = shrink(frames, again, first, Matchers(), whole)
    assert len(small.recorded) <= MOST_FRAMES
    assert len(small.replayed) <= MOST_FRAMES
    assert small.divergence.signature == first.signature
    kept = diff(small.recorded, small.replayed, comparison=Comparison(timed=False)).divergences
    assert first.signature in [one.signature for one in kept]


def test_two_that_changed_places_need_both() -> None:
    pair = []
    for order in (("Available", "Preparing"), ("Preparing", "Available")):
        p = play().booted()
        for status in order:
            p.station("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": status}, {})
        pair.append(p.frames)
    whole = diff(*pair, comparison=Comparison(timed=False))
    assert [one.kind for one in whole.divergences] == ["order"]
    small = shrink(*pair, whole.divergences[0], Matchers(), whole)
    texts = [frame for frame in small.recorded if frame.kind is Kind.TEXT]
    assert len(texts) == 4
    assert {frame.sender for frame in texts} == set(Side)


# ── noise ────────────────────────────────────────────────────────────────────────────────────────


def noisy(offset: float, count: int = ENOUGH + 2) -> Play:
    p = play().booted().started()
    for number in range(count):
        sample = {"value": f"{1000 + number * 10 + offset:g}", "measurand": "Energy.Active.Import.Register"}
        p.station("MeterValues", meter(60 * number, sample), {})
    return p.station("DataTransfer", {"vendorId": "v", "data": f"run {offset}"}, {"status": "Accepted"})


def test_what_differs_between_equal_runs_is_proposed_and_nothing_is_applied() -> None:
    one, other = noisy(0).frames, noisy(1.25).frames
    learned = learn(one, other, Matchers())
    assert learned.beyond == ()
    proposals = {(p.action, p.path): p for p in learned.proposals}
    value = proposals["MeterValues", "request/meterValue/*/sampledValue/*/value"]
    assert (value.how, value.tolerance, value.differing, value.enough) == ("numeric", 1.3, ENOUGH + 2, True)
    data = proposals["DataTransfer", "request/data"]
    assert (data.how, data.enough) == ("type", False)
    assert not diff(one, other).equal  # still: a proposal is no rule
    text = as_toml(learned, ("a", "b"))
    assert "Insufficient" in text
    approved = Matchers(rules_of(tomllib.loads(text), "matchers.toml"))
    assert diff(one, other, approved).equal
    assert not diff(one, noisy(9).frames, approved).equal  # more than the noise


def differing(action: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]], later_s: float = 0) -> Learned:
    """What is learnt of two runs that asked this, the other one so much later."""
    sides = [play().booted(), play().booted() << after(later_s)]
    for pair in pairs:
        for side, payload in zip(sides, pair, strict=True):
            side.station(action, payload, {})
    return learn(sides[0].frames, sides[1].frames, Matchers())


def sampled(value: str) -> dict[str, Any]:
    return {"connectorId": 1, "meterValue": [{"timestamp": stamp(1), "sampledValue": [{"value": value}]}]}


def shown(at_s: float, zone: str = "Z") -> dict[str, Any]:
    at = stamp(at_s).replace("Z", zone)
    return {"connectorId": 1, "errorCode": "NoError", "status": "Available", "timestamp": at}


DAY_S = 86_400


@pytest.mark.parametrize(
    ("action", "pair", "later_s", "how", "tolerance"),
    [
        ("MeterValues", (sampled("100.0"), sampled("100")), 0, "numeric", 0),  # the same number
        ("MeterValues", (sampled("1e999"), sampled("1")), 0, "type", 0),
        ("StatusNotification", (shown(0), shown(DAY_S - 5)), DAY_S, "time", 5),  # not a day
        ("StatusNotification", (shown(0), shown(0, "+00:00")), 0, "type", 0),
        ("Authorize", ({"idTag": "0012345678"}, {"idTag": "12345679"}), 0, "type", 0),  # a name of digits
        ("DataTransfer", ({"vendorId": "x", "data": 1}, {"vendorId": "x", "data": 3}), 0, "numeric", 2),
    ],
)
def test_the_weakest_kind_that_covers_it_and_no_weaker_one(
    action: str, pair: Any, later_s: float, how: str, tolerance: float
) -> None:
    learned = differing(action, [pair], later_s)
    (proposal,) = learned.proposals
    assert (proposal.how, proposal.tolerance) == (how, pytest.approx(tolerance, abs=0.3))
    approved = Matchers(rules_of(tomllib.loads(as_toml(learned, ("a", "b"))), "matchers.toml"))
    one, other = play().booted(), play().booted() << after(later_s)
    one.station(action, pair[0], {})
    other.station(action, pair[1], {})
    assert diff(one.frames, other.frames, approved).equal


def test_equal_runs_propose_nothing() -> None:
    assert learn(noisy(0).frames, noisy(0).frames, Matchers()) == Learned(proposals=())


def test_what_is_there_only_sometimes_gets_no_rule() -> None:
    pair = [
        play().booted().station("DataTransfer", {"vendorId": "v"} | more, {}).frames
        for more in ({}, {"data": "x"})
    ]
    learned = learn(*pair, Matchers())
    assert [one.how for one in learned.proposals] == [""]
    assert tomllib.loads(as_toml(learned, ("a", "b"))) == {}


def test_what_no_rule_of_a_field_covers_is_said() -> None:
    one, other = noisy(0), noisy(1).station("Heartbeat", {}, {"currentTime": stamp(9_000)})
    learned = learn(one.frames, other.frames, Matchers())
    assert learned.beyond == (("extra Heartbeat", 1),)
    text = as_toml(learned, ("a", "b"))
    assert "# 1 times: extra Heartbeat" in text
    assert rules_of(tomllib.loads(text), "matchers.toml")


# ── baseline ─────────────────────────────────────────────────────────────────────────────────────


def test_only_what_is_new_fails_and_what_has_vanished_is_told() -> None:
    frames = frames_of(REPOSITORY / "captures" / "twin-refused")
    worse = with_answer(frames, "StatusNotification", refused)
    known = baseline_of(document_of([("night", diff(frames, worse))]), "known.json")
    found, gone = known.apply("night", diff(frames, worse))
    assert (found.equal, len(found.known), gone) == (True, 1, [])
    both = with_answer(worse, "Heartbeat", refused)
    found, gone = known.apply("night", diff(frames, both))
    assert [one.action for one in found.divergences] == ["Heartbeat"]
    found, gone = known.apply("night", diff(frames, frames))
    assert found.equal
    assert len(gone) == 1
    assert "StatusNotification" in gone[0]
    elsewhere, _ = known.apply("another", diff(frames, worse))
    assert not elsewhere.equal


def test_the_same_fault_once_more_than_known_is_new() -> None:
    frames = frames_of(REPOSITORY / "captures" / "twin-refused")
    once = with_answer(frames, "StatusNotification", refused)
    known = baseline_of(document_of([("night", diff(frames, once))]), "known.json")
    again = [
        replace(frame, text=json.dumps(refused(json.loads(frame.text))))
        if frame.text and frame.sender is Side.CSMS and frame.text.endswith(",{}]")
        else frame
        for frame in frames
    ]
    found, _ = known.apply("night", diff(frames, again))
    assert not found.equal


@pytest.mark.parametrize("document", [None, [], {}, {"version": 2}, {"version": 1, "sessions": {"a": 1}}])
def test_what_is_no_baseline_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match=r"known\.json"):
        baseline_of(document, "known.json")
    assert Baseline().apply("x", diff([], []))[0].equal


# ── identities ───────────────────────────────────────────────────────────────────────────────────


def opened(facts: dict[str, Any]) -> Frame:
    return Frame(seq=1, at_us=1, link="c1", station="CP9", kind=Kind.OPEN, facts=facts)


def test_needs_say_who_connects_which_tags_are_presented_and_what_must_be_stimulated() -> None:
    needs = Needs()
    add_needs(needs, frames_of(REPOSITORY / "captures" / "twin-refused"))
    add_needs(needs, frames_of(REPOSITORY / "captures" / "twin-remote"))
    assert (needs.stations, needs.passwords) == (["OTMK-0001"], [])
    add_needs(needs, [opened({"auth": {"scheme": "Basic", "user_is_identity": True}})])
    assert needs.passwords == ["CP9"]
    assert needs.tags["TAG0001"] == "Blocked"
    assert needs.tags["TAG0005"] == "Accepted"
    assert needs.stimuli["RemoteStartTransaction"] == 2
    assert needs.stimuli["Reset"] == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[station]\na = 'b'", "unknown table"),
        ("[stations]\na = 1", "expected texts"),
        ("workers = 'x'", "list of station ids"),
        ("[tags]\na = 'x'\nb = 'x'", "stands for two"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        identities_of(tomllib.loads(text), "ids.toml")


def test_a_mapped_tag_is_sent_live_and_compared_as_recorded() -> None:
    stop = {"transactionId": 7, "meterStop": 2, "idTag": "TAG", "timestamp": stamp(1)}
    p = play().booted().started().station("StopTransaction", stop, {"idTagInfo": {"status": "Accepted"}})
    station, again = replayed(p.frames, tags={"TAG": "REAL-1"})
    assert station.finished
    said = [json.loads(frame.text) for frame in again if frame.text and frame.sender is Side.STATION]
    tags = {message[3]["idTag"] for message in said if message[0] == 2 and "idTag" in message[3]}
    assert tags == {"REAL-1"}
