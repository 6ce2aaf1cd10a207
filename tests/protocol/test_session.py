"""Pairing of CALLs and answers, held against a naive reading of the correlation rule, and case by case."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from twin.model import Event, EventKind, Frame, Kind, Side
from twin.protocol import codec
from twin.protocol.session import EXPIRY_US, Rpc

STATION, CSMS = Side.STATION, Side.CSMS
START_US = 1_000_000_000


class Link:
    """One Rpc, told frames by who said what and when (seconds after the start)."""

    def __init__(self) -> None:
        self.rpc = Rpc("c1")
        self.seq = 0

    def hears(
        self, seconds: float, kind: Kind, sender: Side | None = None, text: str | None = None, **more: Any
    ) -> list[Event]:
        self.seq += 1
        at_us = START_US + round(seconds * 1e6)
        frame = Frame(seq=self.seq, at_us=at_us, link="c1", kind=kind, sender=sender, text=text, **more)
        due = self.rpc.handle_timer(at_us)
        parsed = codec.parse(text) if text is not None else codec.parse("[]")
        return due + self.rpc.receive(frame, parsed)

    def call(self, seconds: float, sender: Side, message_id: str, action: str = "Heartbeat") -> Event:
        return self.hears(seconds, Kind.TEXT, sender, f'[2,"{message_id}","{action}",{{}}]')[-1]

    def answer(self, seconds: float, sender: Side, message_id: str) -> Event:
        return self.hears(seconds, Kind.TEXT, sender, f'[3,"{message_id}",{{}}]')[-1]


def opened() -> Link:
    link = Link()
    link.hears(0, Kind.OPEN)
    return link


# ── against an oracle ───────────────────────────────────────────────────────────────────────────


class Naive:
    """open-ocpp-trace v1.1, word for word: an answer belongs to the most recent preceding CALL with the same
    messageId and the opposite direction that is not yet answered. Ours adds that an expired CALL is gone."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, Side, str]] = []  # seq, at_us, sender, messageId
        self.answered: set[int] = set()

    def call(self, seq: int, at_us: int, sender: Side, message_id: str) -> None:
        self.calls.append((seq, at_us, sender, message_id))

    def answer(self, at_us: int, sender: Side, message_id: str) -> int | None:
        for seq, called_us, caller, called_id in reversed(self.calls):
            if seq in self.answered or (caller, called_id) != (sender.other, message_id):
                continue
            if called_us + EXPIRY_US[caller] > at_us:
                self.answered.add(seq)
                return seq
        return None


SAID = st.tuples(
    st.sampled_from(["call", "result", "error"]),
    st.sampled_from(list(Side)),
    st.sampled_from("123"),
    st.sampled_from([0, 1_000, 9_999_999, 29_999_999, 30_000_000, 60_000_000]),
)


@settings(deadline=None, max_examples=500)
@given(st.lists(SAID, max_size=40))
def test_pairing_is_the_correlation_rule_of_open_ocpp_trace(said: list[tuple[str, Side, str, int]]) -> None:
    link, naive = opened(), Naive()
    at_us = START_US
    for what, sender, message_id, later_us in said:
        at_us += later_us
        seconds = (at_us - START_US) / 1e6
        if what == "call":
            event = link.call(seconds, sender, message_id)
            naive.call(link.seq, at_us, sender, message_id)
            assert event.kind is EventKind.CALLED
            continue
        text = (
            f'[3,"{message_id}",{{}}]' if what == "result" else f'[4,"{message_id}","GenericError","",{{}}]'
        )
        event = link.hears(seconds, Kind.TEXT, sender, text)[-1]
        wanted = naive.answer(at_us, sender, message_id)
        assert (event.asked.frame.seq if event.asked else None) == wanted
        kinds = {"result": EventKind.ANSWERED, "error": EventKind.REFUSED}
        assert event.kind is (EventKind.ORPHANED if wanted is None else kinds[what])


@settings(deadline=None, max_examples=300)
@given(st.lists(SAID, max_size=40))
def test_every_call_ends_exactly_once(said: list[tuple[str, Side, str, int]]) -> None:
    link = opened()
    at_us, events = START_US, []
    for what, sender, message_id, later_us in said:
        at_us += later_us
        text = f'[2,"{message_id}","A",{{}}]' if what == "call" else f'[3,"{message_id}",{{}}]'
        events += link.hears((at_us - START_US) / 1e6, Kind.TEXT, sender, text)
    events += link.hears((at_us - START_US) / 1e6, Kind.END)
    ends = [event.asked.frame.seq for event in events if event.asked and event.kind is not EventKind.CALLED]
    calls = [event.frame.seq for event in events if event.frame and event.kind is EventKind.CALLED]
    assert sorted(ends) == sorted(calls)
    assert link.rpc.pending() == []
    assert link.rpc.next_timer() is None


# ── the cases, one by one ───────────────────────────────────────────────────────────────────────


def test_an_answer_knows_its_call_its_action_and_how_long_it_took() -> None:
    link = opened()
    asked = link.call(1, STATION, "a", "Heartbeat")
    event = link.answer(1.25, CSMS, "a")
    assert (event.kind, event.action, event.took_us) == (EventKind.ANSWERED, "Heartbeat", 250_000)
    assert event.asked is asked.asked


def test_latency_is_read_from_the_monotonic_clock_where_both_frames_have_one() -> None:
    link = opened()
    link.hears(1, Kind.TEXT, STATION, '[2,"a","Heartbeat",{}]', mono_ns=5_000_000_000)
    event = link.hears(9, Kind.TEXT, CSMS, '[3,"a",{}]', mono_ns=5_040_000_000)[-1]
    assert event.took_us == 40_000  # the wall clock stepped by eight seconds


def test_both_sides_may_use_one_id_at_the_same_time() -> None:
    link = opened()
    link.call(0, STATION, "a", "Heartbeat")
    assert link.call(0, CSMS, "a", "Reset").outstanding == 0  # crossing CALLs are legal
    assert link.answer(0, STATION, "a").action == "Reset"
    assert link.answer(0, CSMS, "a").action == "Heartbeat"


def test_a_side_cannot_answer_itself() -> None:
    link = opened()
    link.call(0, STATION, "a")
    event = link.answer(0, STATION, "a")
    assert (event.kind, event.why) == (EventKind.ORPHANED, "unknown")


def test_an_id_used_again_points_at_its_first_use() -> None:
    link = opened()
    first = link.call(0, STATION, "a", "Heartbeat")
    again = link.call(1, STATION, "a", "Heartbeat")
    other = link.call(2, STATION, "a", "Authorize")
    assert (first.earlier_seq, first.earlier_same) == (None, False)
    assert first.frame is not None
    assert (again.earlier_seq, again.earlier_same) == (first.frame.seq, True)
    assert other.earlier_same is False
    assert [event.outstanding for event in (first, again, other)] == [0, 1, 2]


def test_the_newest_call_is_answered_first() -> None:
    link = opened()
    calls = [link.call(n, STATION, "a") for n in range(2)]
    answers = [link.answer(3, CSMS, "a") for _ in range(3)]
    assert [event.asked for event in answers] == [calls[1].asked, calls[0].asked, None]
    assert answers[2].why == "second"


def test_expiry_is_per_side_and_stamped_with_the_due_time() -> None:
    link = opened()
    link.call(0, STATION, "s")
    link.call(0, CSMS, "c")
    assert link.rpc.next_timer() == START_US + 30_000_000
    told = [(event.kind, event.sender, event.why, event.at_us) for event in link.rpc.handle_timer(1 << 60)]
    assert told == [
        (EventKind.TIMED_OUT, CSMS, "expired", START_US + 30_000_000),
        (EventKind.TIMED_OUT, STATION, "expired", START_US + 60_000_000),
    ]


def test_an_answer_in_the_moment_of_expiry_is_late() -> None:
    link = opened()
    link.call(0, CSMS, "a")
    link.call(0, CSMS, "b")
    assert link.answer(29.999999, STATION, "a").kind is EventKind.ANSWERED
    late = link.answer(30, STATION, "b")
    assert (late.kind, late.why) == (EventKind.ORPHANED, "late")


def test_what_is_open_when_the_link_ends_timed_out_then() -> None:
    link = opened()
    link.call(1, STATION, "b")
    link.call(2, CSMS, "a")
    assert [e.kind for e in link.hears(3, Kind.CLOSE, CSMS)] == [EventKind.CLOSED]  # answers may still come
    *out, closed = link.hears(4, Kind.END)
    assert [(e.action, e.sender, e.why, e.at_us) for e in out] == [
        ("Heartbeat", STATION, "link ended", START_US + 4_000_000),
        ("Heartbeat", CSMS, "link ended", START_US + 4_000_000),
    ]
    assert closed.kind is EventKind.CLOSED


def test_near_the_start_of_a_capture_an_answer_may_belong_to_a_call_nobody_saw() -> None:
    link = Link()  # no handshake was seen
    assert link.answer(0, CSMS, "a").why == "edge"
    assert link.answer(60, CSMS, "b").why == "edge"
    assert link.answer(60.000001, CSMS, "c").why == "unknown"
    assert link.answer(60.000001, STATION, "d").why == "unknown"
    late = Link()
    late.hears(0, Kind.OPEN, facts={"late": True})  # the connection was open before anybody listened
    assert late.answer(1, CSMS, "a").why == "edge"


def test_after_a_gap_the_same_holds_and_nothing_times_out() -> None:
    link = opened()
    link.call(1, STATION, "a")
    assert [event.kind for event in link.hears(2, Kind.GAP)] == [EventKind.RESET]
    assert link.rpc.next_timer() is None
    assert link.answer(3, CSMS, "a").why == "edge"
    assert link.call(4, STATION, "a").earlier_seq is None


def test_a_new_handshake_forgets_what_the_old_one_used() -> None:
    link = opened()
    link.call(1, STATION, "a")
    link.hears(2, Kind.OPEN)
    again = link.call(3, STATION, "a")
    assert (again.earlier_seq, again.outstanding) == (None, 0)


def test_frames_that_say_nothing_of_ocpp_are_told_as_what_they_are() -> None:
    link = opened()
    assert [event.kind for event in link.hears(0, Kind.PING, STATION)] == [EventKind.NOTED]
    assert [event.kind for event in link.hears(0, Kind.BINARY, STATION)] == [EventKind.MALFORMED]
    (undecodable,) = link.hears(0, Kind.UNDECODABLE, STATION, facts={"why": "utf8"})
    assert (undecodable.kind, undecodable.why) == (EventKind.MALFORMED, "utf8")
    (text,) = link.hears(0, Kind.TEXT, STATION, "no JSON")
    assert (text.kind, text.why) == (EventKind.MALFORMED, "text")


def test_memory_of_a_link_that_stays_open_is_bounded() -> None:
    link = opened()
    for number in range(5_000):
        link.call(number, STATION, f"{number}")
        link.answer(number, CSMS, f"{number}")
    assert link.answer(5_000, CSMS, "4999").why == "second"
    assert link.answer(5_000, CSMS, "0").why == "unknown"  # long ago, and forgotten


def test_a_flood_of_one_id_is_paired_newest_first_and_expires_oldest_first() -> None:
    link, number = opened(), 32_000  # quadratic time would be minutes
    for at in range(number):
        link.call(1 + at / 1e6, STATION, "a")
    assert link.answer(2, CSMS, "a").kind is EventKind.ANSWERED
    expired = link.rpc.handle_timer(START_US + 100_000_000)
    assert [event.asked.frame.seq for event in expired if event.asked] == list(range(2, number + 1))
    assert link.rpc.pending() == []
