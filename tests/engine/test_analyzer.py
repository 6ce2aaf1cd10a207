"""Findings depend on nothing but the frames and their stamps: live equals offline, and why it does."""

import json
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.playbook import OTMK, SPEC, START_US, cp, cs, finding, meter, opened, play, silence, stamp
from twin.certificate.profile import Profile
from twin.engine.analyzer import Analyzer
from twin.model import Finding, Frame, Kind, Side
from twin.rules import RULES, SPEAKS_FOR, Found, Rule, Step


class Arrival(NamedTuple):
    """A frame ``after_us`` the one before; ``woken_after_us`` after that one somebody woke up, if at all."""

    after_us: int
    woken_after_us: int | None
    link: str
    kind: Kind
    sender: Side | None
    text: str | None


STATION_SAYS = [
    ("Heartbeat", {}),
    ("BootNotification", {"chargePointVendor": "MANAGEON", "chargePointModel": "OTM-K"}),
    *(
        ("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": status})
        for status in ("Charging", "Preparing", "Available")
    ),
    ("StartTransaction", {"connectorId": 1, "idTag": "A", "meterStart": 0, "timestamp": stamp()}),
    ("MeterValues", meter(1)),
]
CSMS_SAYS = [
    ("ClearCache", {}),
    ("UnlockConnector", {"connectorId": 1}),
    ("GetConfiguration", {}),
    ("Reset", {"type": "Hard"}),
    ("RemoteStartTransaction", {"connectorId": 1, "idTag": "A"}),
    ("RemoteStopTransaction", {"transactionId": 7}),
    ("ChangeAvailability", {"connectorId": 1, "type": "Inoperative"}),
]
ANSWERS = [{}, {"status": "Accepted"}, {"transactionId": 7, "idTagInfo": {"status": "Accepted"}}]

IDS = st.sampled_from("123")
STATION_CALLS = st.tuples(IDS, st.sampled_from(STATION_SAYS)).map(lambda x: json.dumps([2, x[0], *x[1]]))
CSMS_CALLS = st.tuples(IDS, st.sampled_from(CSMS_SAYS)).map(lambda x: json.dumps([2, x[0], *x[1]]))
REPLIES = st.tuples(IDS, st.sampled_from(ANSWERS)).map(lambda x: json.dumps([3, *x]))
SAID = st.one_of(
    st.tuples(st.just(Kind.TEXT), st.just(Side.STATION), STATION_CALLS | REPLIES),
    st.tuples(st.just(Kind.TEXT), st.just(Side.CSMS), CSMS_CALLS | REPLIES),
    st.sampled_from([(Kind.OPEN, None, None), (Kind.END, None, None), (Kind.GAP, None, None)]),
)
# Around nothing, a breath, the grace of a status (10 s), the two expiries (30 s, 60 s), a reboot, and beyond.
DELAYS_US = st.sampled_from(
    [0, 1, 1_000, 10_000_000, 29_999_999, 30_000_000, 30_000_001, 60_000_000, 61_000_000, 300_000_001]
)
ARRIVALS = st.lists(
    st.builds(
        lambda delay, woken, link, said: Arrival(delay, woken, link, *said),
        DELAYS_US,
        st.none() | DELAYS_US,
        st.sampled_from(["c1", "c2"]),
        SAID,
    ),
    max_size=25,
)


def live(
    arrivals: list[Arrival], analyzer: Analyzer, *, stamps_wait: bool = True
) -> tuple[list[Frame], list[Finding]]:
    """The recorder's loop on a clock of its own: frames are stamped as they come, wake-ups fall in between.

    ``stamps_wait``: a frame is never stamped earlier than the last wake-up (the third decision). Without it
    a frame is stamped when it arrived, though it was judged after a later wake-up.
    """
    now_us = START_US
    frames: list[Frame] = []
    found: list[Finding] = []
    for seq, (after_us, woken_after_us, link, kind, sender, text) in enumerate(arrivals, start=1):
        if woken_after_us is not None:
            found += analyzer.handle_timer(now_us + woken_after_us)
        now_us += after_us
        at_us = max(now_us, analyzer.seen_us) if stamps_wait else now_us
        now_us = at_us
        frame = Frame(
            seq=seq,
            at_us=at_us,
            mono_ns=at_us * 1000,
            link=link,
            station=link,
            kind=kind,
            sender=sender,
            text=text,
        )
        frames.append(frame)
        found += analyzer.receive(frame)
    return frames, found + analyzer.finish()


def offline(frames: list[Frame], analyzer: Analyzer) -> list[Finding]:
    return [finding for frame in frames for finding in analyzer.receive(frame)] + analyzer.finish()


def until(found: list[Finding], frames: list[Frame]) -> list[Finding]:
    """What was found up to the last frame: a wake-up after it is beyond the end of the capture."""
    return [one for one in found if not frames or one.at_us <= frames[-1].at_us]


@settings(deadline=None, max_examples=300)
@given(ARRIVALS, st.sampled_from([None, OTMK, SPEC]))
def test_live_findings_equal_offline_findings(arrivals: list[Arrival], profile: Profile | None) -> None:
    frames, found = live(arrivals, Analyzer(profile))
    assert until(found, frames) == offline(frames, Analyzer(profile))


# A CALL of the CSMS that is answered on the very edge of its 30 seconds, seen by a driver that woke up late.
def on_the_edge(woken_after_us: int | None, answered_after_us: int) -> list[Arrival]:
    call = Arrival(0, None, "c1", Kind.TEXT, Side.CSMS, '[2,"1","ClearCache",{}]')
    answer = Arrival(
        answered_after_us, woken_after_us, "c1", Kind.TEXT, Side.STATION, '[3,"1",{"status":"Accepted"}]'
    )
    return [call, answer]


class Forgetful(Analyzer):
    """Without the first decision: a frame is judged before the timers that were due by its stamp."""

    def steps(self, frame: Frame) -> list[Step]:
        return self._steps_of_link(frame)


class Restamping(Analyzer):
    """Without the second: a time-out carries the moment somebody woke up."""

    def timer_steps(self, now_us: int) -> list[Step]:
        steps = super().timer_steps(now_us)
        return [replace(step, event=replace(step.event, at_us=now_us)) for step in steps]


def agree(arrivals: list[Arrival], make: type[Analyzer], *, stamps_wait: bool = True) -> bool:
    frames, found = live(arrivals, make(), stamps_wait=stamps_wait)
    return found == offline(frames, make())


@pytest.mark.parametrize(
    ("broken", "stamps_wait", "woken_after_us", "answered_after_us"),
    [
        pytest.param(Forgetful, True, 30_000_000, 31_000_000, id="due timers fire before the frame"),
        pytest.param(Restamping, True, 30_500_000, 31_000_000, id="a time-out carries its due time"),
        pytest.param(Analyzer, False, 30_500_000, 29_900_000, id="no stamp before the last wake-up"),
    ],
)
def test_each_of_the_three_decisions_matters(
    broken: type[Analyzer], stamps_wait: bool, woken_after_us: int, answered_after_us: int
) -> None:
    arrivals = on_the_edge(woken_after_us, answered_after_us)
    assert agree(arrivals, Analyzer)
    assert not agree(arrivals, broken, stamps_wait=stamps_wait)


def test_a_time_out_carries_its_due_time_however_late_the_wake_up() -> None:
    p = play() << opened() << cs('[2,"9","ClearCache",{}]')
    due_us = p.at_us + 30_000_000
    assert p.analyzer.next_timer() == due_us
    assert p.analyzer.handle_timer(due_us - 1) == []
    (told,) = p.analyzer.handle_timer(due_us + 3_600_000_000)
    assert (told.rule, told.at_us, told.seq) == ("J010", due_us, p.seq)
    assert p.analyzer.next_timer() is None


def test_what_is_open_at_the_end_of_a_capture_is_no_finding() -> None:
    p = play().booted() << cs('[2,"9","ClearCache",{}]')
    assert p.analyzer.finish() == []
    assert p.analyzer.next_timer() is None


def test_two_stations_do_not_know_of_each_other() -> None:
    analyzer = Analyzer(OTMK)
    boot = '[2,"1","BootNotification",{"chargePointVendor":"MANAGEON","chargePointModel":"OTM-K"}]'
    beat = '[2,"1","Heartbeat",{}]'
    for seq, (link, text) in enumerate([("c1", boot), ("c2", beat)], start=1):
        place = {"link": link, "station": link, "kind": Kind.TEXT, "sender": Side.STATION}
        assert analyzer.receive(Frame(seq=seq, at_us=START_US, text=text, **place)) == []  # type: ignore[arg-type]  # four fields of Frame
    assert analyzer.state_of("c1").vendor == "MANAGEON"
    assert analyzer.state_of("c2").vendor == ""


def test_what_is_told_of_one_station_is_told_of_another_too() -> None:
    analyzer = Analyzer(SPEC)
    told = []
    for seq, link in enumerate(["c1", "c2", "c1"], start=1):
        place = {"link": link, "station": link, "kind": Kind.TEXT, "sender": Side.STATION}
        frame = Frame(seq=seq, at_us=START_US, text=f'[2,"{seq}","Bogus",{{}}]', **place)  # type: ignore[arg-type]  # four fields of Frame
        told += [(one.rule, one.station) for one in analyzer.receive(frame) if one.rule == "J015"]
    assert told == [("J015", "c1"), ("J015", "c2")]
    assert analyzer.occurrences["J015"] == 3


def test_a_gap_on_no_link_makes_every_link_unknown() -> None:
    p = play().booted().started()
    p.analyzer.receive(Frame(seq=99, at_us=p.at_us, link="", kind=Kind.GAP))
    assert p.analyzer.state_of("CP1").transactions == {}
    assert p.analyzer.next_timer() is None


def test_the_profile_is_the_one_that_boot_identifies() -> None:
    p = play()
    assert p.analyzer.profile_of("CP1").name == "spec"
    p.booted()
    assert p.analyzer.profile_of("CP1").name == "octoflex-otm-k"
    p.station("BootNotification", {"chargePointVendor": "Other", "chargePointModel": "X"})
    assert p.analyzer.profile_of("CP1").name == "spec"


def test_who_speaks_for_whom_is_about_rules_that_could_meet() -> None:
    ids = {rule.id for rule in RULES}
    assert set(SPEAKS_FOR) | set().union(*SPEAKS_FOR.values()) <= ids
    assert all(speaker not in silent for speaker, silent in SPEAKS_FOR.items())


@pytest.mark.parametrize("flawed", [False, True])
def test_a_flawed_rule_hears_only_messages_with_defects(flawed: bool) -> None:
    heard: list[str] = []

    def listen(step: Step) -> list[Found]:
        """Note what was heard.

        A rule of this test. Pitfalls: none.
        """
        heard.append(step.event.action)
        return []

    on = tuple((kind, "") for kind in {on[0] for rule in RULES for on in rule.on})
    listener = Rule("X001", listen, RULES[0].severity, None, "RFC 8259", on, flawed=flawed)
    analyzer = Analyzer(SPEC, (listener,))
    for seq, text in enumerate(['[2,"1","Heartbeat",{}]', '[2,"2","Authorize"]'], start=1):
        place = {"link": "c1", "kind": Kind.TEXT, "sender": Side.STATION}
        analyzer.receive(Frame(seq=seq, at_us=START_US, text=text, **place))  # type: ignore[arg-type]  # three fields of Frame
    assert heard == (["Authorize"] if flawed else ["Heartbeat", "Authorize"])


def test_a_conversation_on_a_new_link_starts_afresh() -> None:
    p = play().booted() << cp('[2,"9","Heartbeat",{}]') << opened() << cp('[2,"9","Heartbeat",{}]')
    p >> silence("B011")
    p << cs('[3,"9",{"currentTime":"2026-09-21T14:13:20Z"}]') << cs("[3,9]")
    p >> finding("J004", "error", "csms")
