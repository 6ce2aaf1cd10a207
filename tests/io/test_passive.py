"""Packets by hand: what a listener beside the path makes of them, and what it says it could not read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pcaps import ACK, ANSWER, CSMS, FIN, PSH, RST, START_US, STATION, SYN, Segment, Talk, request
from tests.wire_cases import frame, mask_of
from twin.io import clock
from twin.io.passive import Listener, Packet
from twin.io.passive_http import Head, read_head
from twin.io.passive_tcp import MAX_KEPT_BYTES
from twin.model import Side
from twin.protocol.tap import Stamp, Tap, TapOptions

NOW = clock.Now(1_790_000_100_000_000_000, 5_000_000_000_000)
CALL = '[2,"1","Heartbeat",{}]'
RESULT = '[3,"1",{"currentTime":"2026-09-21T14:13:20Z"}]'


def text(sender: Side, words: str) -> bytes:
    return frame(1, words.encode(), mask=mask_of(sender))


def packet(one: Segment) -> Packet:
    return Packet(
        wall_ns=one.at_us * 1000,
        source=one.source,
        target=one.target,
        seq=one.seq & 0xFFFFFFFF,
        ack=one.ack & 0xFFFFFFFF,
        flags=one.flags,
        size=len(one.data),
        data=one.data,
    )


def heard(segments: list[Segment], *, close: bool = True) -> tuple[list[Any], Listener]:
    """The items of a listener to all of it, ticks left out."""
    listener = Listener(NOW)
    for one in segments:
        listener.packet(packet(one))
    if close:
        listener.close()
    return [item for item in listener.take() if item[0] != "tick"], listener


def names(items: list[Any]) -> list[str]:
    return [item[0] for item in items]


def said(items: list[Any]) -> list[tuple[Side, str | None]]:
    """The texts, through the tap, as the recorder would get them."""
    tap = Tap(TapOptions())
    out: list[tuple[Side, str | None]] = []
    for item in items:
        if item[0] == "data":
            out += [
                (one.sender, one.text) for one in tap.feed(Side(item[2]), item[3], Stamp(item[4], item[5]))
            ]
    return out


def conversation() -> Talk:
    talk = Talk()
    talk.upgrade()
    talk.station(text(Side.STATION, CALL))
    talk.csms(text(Side.CSMS, RESULT))
    return talk


def test_a_conversation_is_what_the_addon_would_have_handed_over() -> None:
    talk = conversation()
    talk.goodbye()
    items, listener = heard(talk.segments)
    assert names(items) == ["open", "data", "data", "end"]
    _, conn, facts, wall_ns, _ = items[0]
    assert (conn, facts["path"], facts["subprotocol"]) == ("c1", "/ocpp/CP7", "ocpp1.6")
    assert facts["subprotocols_offered"] == ["ocpp1.6"]
    assert ["Host", "csms.example"] in facts["request_headers"]
    assert wall_ns == talk.segments[4].at_us * 1000
    assert said(items) == [(Side.STATION, CALL), (Side.CSMS, RESULT)]
    assert items[-1][2] == {"by": "station", "how": "FIN"}
    assert listener.site.books.seen_bytes == sum(len(item[3]) for item in items if item[0] == "data")


def test_stamps_are_the_packets_and_the_derived_clock_does_not_go_back() -> None:
    talk = conversation()
    talk.at_us -= 3_600_000_000  # the capturing host's clock was set back
    talk.station(text(Side.STATION, CALL))
    items, _ = heard(talk.segments)
    mono = [item[5] for item in items if item[0] == "data"]
    assert mono == sorted(mono)
    assert [item[4] for item in items if item[0] == "data"][-1] == talk.segments[-1].at_us * 1000


@given(st.data())
def test_segments_in_any_order_twice_and_overlapping_give_the_same_frames(data: st.DataObject) -> None:
    talk = Talk(numbers=(2**32 - 50, 2**32 - 900))
    talk.upgrade()
    head = len(talk.segments)
    sends = ((Side.STATION, talk.station), (Side.CSMS, talk.csms))
    for index in range(4):
        for sender, send in sends:
            send(text(sender, f'[2,"{index}","Heartbeat",{{}}]'))
    whole = talk.segments
    pieces: list[Segment] = []
    for one in whole[head:]:
        cut = data.draw(st.integers(1, len(one.data)))
        back = data.draw(st.integers(0, cut))
        pieces.append(with_data(one, 0, one.data[:cut]))
        if cut < len(one.data):
            pieces.append(with_data(one, cut - back, one.data[cut - back :]))
    again = data.draw(st.lists(st.sampled_from(pieces), max_size=3))
    talk.segments = whole[:head] + [
        timed(one, whole[-1].at_us + order)
        for order, one in enumerate(data.draw(st.permutations(pieces + again)))
    ]
    talk.at_us = whole[-1].at_us + 100
    talk.goodbye()
    items, _ = heard(talk.segments)
    expected, _ = heard(whole)
    for side in Side:
        assert [one for one in said(items) if one[0] is side] == [
            one for one in said(expected) if one[0] is side
        ]
    assert "lost" not in names(items)


@given(st.data())
def test_what_was_not_captured_is_counted_and_the_books_are_exact(data: st.DataObject) -> None:
    talk = conversation()
    for index in range(6):
        talk.station(text(Side.STATION, f'[2,"s{index}","Heartbeat",{{}}]'))
        talk.csms(text(Side.CSMS, f'[3,"s{index}",{{}}]'))
    talk.goodbye()
    head, tail = talk.segments[:5], talk.segments[5:]
    kept = head + [one for one in tail if not one.data or data.draw(st.booleans())]
    items, listener = heard(kept)
    passed = sum(len(one.data) for one in tail)
    lost = sum(item[5] for item in items if item[0] == "lost")
    given_out = sum(len(item[3]) for item in items if item[0] == "data")
    assert (given_out, lost) == (sum(len(one.data) for one in kept[5:]), passed - given_out)
    assert listener.site.books.seen_bytes == given_out + lost
    assert all(item[3] == "not_captured" for item in items if item[0] == "lost")


def with_data(one: Segment, start: int, data: bytes) -> Segment:
    return Segment(
        source=one.source, target=one.target, seq=one.seq + start, ack=one.ack, flags=one.flags, data=data
    )


def timed(one: Segment, at_us: int) -> Segment:
    return Segment(
        at_us=at_us,
        source=one.source,
        target=one.target,
        seq=one.seq,
        ack=one.ack,
        flags=one.flags,
        data=one.data,
    )


# ---- handshakes


def test_a_refused_handshake_and_one_after_a_challenge_on_the_same_connection() -> None:
    talk = Talk()
    talk.connect()
    talk.station(request("/ocpp/CP7"))
    talk.csms(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nno!")
    talk.station(request("/ocpp/CP7", "Authorization: Basic Q1A3OnNlY3JldA==\r\n"))
    talk.csms(b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER.encode() + text(Side.CSMS, CALL))
    items, _ = heard(talk.segments)
    assert names(items) == ["refused", "open", "data", "end"]
    assert (items[0][2]["status"], items[0][2]["by"]) == (401, "csms")
    assert items[1][2]["basic_user"] == "CP7"
    assert said(items) == [(Side.CSMS, CALL)]


def test_a_handshake_in_single_bytes_with_frames_right_behind_it() -> None:
    talk = Talk()
    talk.connect()
    for byte in request("/ocpp/CP7"):
        talk.station(bytes((byte,)))
    for byte in ANSWER.encode() + text(Side.CSMS, CALL):
        talk.csms(bytes((byte,)))
    items, _ = heard(talk.segments)
    assert said(items) == [(Side.CSMS, CALL)]


def test_a_connection_that_ends_without_an_answer_was_refused() -> None:
    talk = Talk()
    talk.connect()
    talk.station(request("/ocpp/CP7"))
    talk.csms(flags=RST | ACK)
    items, _ = heard(talk.segments)
    assert names(items) == ["refused"]
    assert items[0][2]["why"] == "RST"


def test_a_csms_that_no_longer_listens_is_a_refusal() -> None:
    talk = conversation()
    talk.goodbye()
    again = Talk(("10.0.0.1", 50_001), at_us=talk.at_us)
    again.station(flags=SYN)
    again.csms(flags=RST | ACK)
    items, _ = heard(talk.segments + again.segments)
    assert names(items)[-2:] == ["end", "refused"]
    assert items[-1][2] == {"by": "csms", "why": "TCP connection refused"}


@pytest.mark.parametrize(("flags", "how"), [(FIN | ACK, "FIN"), (RST, "RST")])
def test_who_went_first_and_how_is_known(flags: int, how: str) -> None:
    talk = conversation()
    talk.csms(flags=flags)
    talk.station(flags=FIN | ACK)
    items, _ = heard(talk.segments)
    assert items[-1][2] == {"by": "csms", "how": how}


def test_a_reconnect_from_the_same_port_is_another_connection() -> None:
    first = conversation()
    second = Talk(at_us=first.at_us, numbers=(70_000, 80_000))
    second.upgrade("/ocpp/CP8")
    second.station(text(Side.STATION, CALL))
    items, _ = heard(first.segments + second.segments)
    assert [(item[0], item[1]) for item in items if item[0] != "data"] == [
        ("open", "c1"),
        ("end", "c1"),
        ("open", "c2"),
        ("end", "c2"),
    ]
    assert items[-1][2]["how"] == "the recording ended, the connection did not"


def test_what_is_sent_again_after_the_end_begins_nothing() -> None:
    talk = conversation()
    again = talk.segments[-2]
    talk.goodbye()
    talk.segments.append(timed(again, talk.at_us + 1_000))
    items, _ = heard(talk.segments)
    assert names(items) == ["open", "data", "data", "end"]


# ---- attached late


def test_a_syn_on_a_connection_that_is_late_begins_another() -> None:
    old, new = conversation(), Talk(at_us=START_US + 60_000_000, numbers=(70_000, 80_000))
    new.upgrade("/ocpp/CP8")
    items, _ = heard(old.segments[5:] + new.segments)
    opens = [item[2] for item in items if item[0] == "open"]
    assert [facts.get("path") for facts in opens] == [None, "/ocpp/CP8"]


def test_attached_late_it_begins_with_the_first_text_and_counts_what_came_before() -> None:
    talk = conversation()
    talk.csms(frame(9, b"", mask=None))
    talk.station(frame(10, b"", mask=mask_of(Side.STATION)))
    talk.csms(text(Side.CSMS, CALL))
    talk.station(text(Side.STATION, RESULT))
    items, listener = heard(talk.segments[7:])
    assert names(items) == ["open", "lost", "lost", "data", "data", "end"]
    assert items[0][2] == {"late": True}
    assert [item[2:6] for item in items[1:3]] == [
        ("csms", "late_start", 1, 2),
        ("station", "late_start", 1, 6),
    ]
    assert [item[2] for item in items if item[0] == "data"] == ["csms", "station"]
    assert listener.site.books.seen_bytes == sum(len(one.data) for one in talk.segments[7:])


def test_a_request_without_its_syn_is_a_whole_handshake() -> None:
    items, _ = heard(conversation().segments[3:])
    assert names(items) == ["open", "data", "data", "end"]
    assert "late" not in items[0][2]


def test_the_answer_was_not_captured_but_the_request_was() -> None:
    segments = conversation().segments
    items, _ = heard([one for one in segments if not one.data.startswith(b"HTTP")])
    assert names(items)[:2] == ["open", "lost"]
    assert (items[0][2]["path"], items[0][2]["late"]) == ("/ocpp/CP7", True)
    assert items[1][5] == len(ANSWER)


# ---- what cannot be read


def test_tls_is_told_and_counted_once_and_leaves_no_frames() -> None:
    told: list[str] = []
    listener = Listener(NOW, told.append)
    talk = Talk(("10.0.0.1", 50_000), ("10.0.0.2", 443))
    talk.connect()
    hello = b"\x16\x03\x01\x00\x05hello"
    talk.station(hello)
    talk.csms(b"\x16\x03\x03\x00\x05hello")
    talk.station(b"\x17\x03\x03\x00\x04data")
    talk.goodbye()
    for one in talk.segments:
        listener.packet(packet(one))
    items = [item for item in listener.take() if item[0] != "tick"]
    assert names(items) == ["gap"]
    assert items[0][1:3] == ("c1", {"reason": "tls", "chunks": 3, "bytes": 29})
    assert len(told) == 1
    assert "wss://" in told[0]
    assert listener.site.books.seen_bytes == 0


def test_tls_attached_late_is_tls() -> None:
    talk = Talk(("10.0.0.1", 50_000), ("10.0.0.2", 443))
    talk.station(b"\x17\x03\x03\x00\x04data")
    items, _ = heard(talk.segments)
    assert names(items) == ["gap"]


@pytest.mark.parametrize(
    "talked",
    [
        (b"SSH-2.0-x\r\n", b"SSH-2.0-y\r\n"),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nto the end"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b""),
        (b"\x00\xff\x81\x82", b"\x81\x05[2,1]"),
        (b"GET /ocpp HTTP/2\r\n\r\n", b""),
        (b"A" * 70_000, b""),
    ],
)
def test_other_protocols_are_no_frames(talked: tuple[bytes, bytes]) -> None:
    talk = Talk()
    talk.connect()
    talk.station(talked[0])
    talk.csms(talked[1])
    items, listener = heard(talk.segments)
    assert items == []
    assert listener.site.books.other == 1


def test_nothing_is_made_of_a_connection_that_never_speaks_ocpp() -> None:
    talk = Talk()
    talk.station(b"\x81\x05abcde" * 3)
    talk.csms(bytes(range(256)))
    items, listener = heard(talk.segments)
    assert items == []
    assert (listener.site.books.undecided, listener.site.books.undecided_bytes) == (1, 277)


# ---- hostile


@given(
    st.lists(
        st.builds(
            Packet,
            wall_ns=st.integers(-(2**70), 2**70),
            source=st.sampled_from([STATION, CSMS]),
            target=st.sampled_from([STATION, CSMS]),
            seq=st.integers(0, 2**32 - 1),
            ack=st.integers(0, 2**32 - 1),
            flags=st.integers(0, 255),
            size=st.integers(0, 70_000),
            data=st.sampled_from([b"", request("/x"), ANSWER.encode(), b"\x16\x03", b"\x81\x01["]),
        ),
        max_size=30,
    )
)
def test_any_packets_at_all_give_items(packets: list[Packet]) -> None:
    listener = Listener(NOW)
    for one in packets:
        listener.packet(one)
    listener.close()
    seen = sum(len(item[3]) for item in listener.take() if item[0] == "data")
    assert seen <= listener.site.books.seen_bytes


def test_a_flood_of_connections_is_bounded_and_told() -> None:
    listener = Listener(NOW)
    for index in range(30_000):
        source = (f"10.1.{index >> 8}.{index & 255}", 40_000)
        listener.packet(packet(Segment(source=source, flags=SYN, seq=index)))
    assert listener.forgotten == 20_000


def test_what_is_kept_of_all_connections_together_is_bounded() -> None:
    listener = Listener(NOW)
    peak = 0
    for index in range(600):
        talk = Talk((f"10.1.{index >> 8}.{index & 255}", 40_000))
        talk.connect()
        talk.station(b"GET /" + bytes(60_000))  # a head that never ends
        talk.station(b"lost")
        talk.station(bytes(60_000))
        for one in talk.segments:
            if one.data != b"lost":
                listener.packet(packet(one))
        peak = max(peak, listener.site.budget.used)
    assert 60_000 * 300 < peak <= MAX_KEPT_BYTES + 200_000
    listener.close()
    assert listener.site.budget.used == 0


def test_a_thousand_requests_and_answers_on_one_connection_do_not_pile_up() -> None:
    talk = Talk()
    talk.connect()
    talk.station(b"GET / HTTP/1.1\r\n\r\n" * 3_000)
    talk.csms(b"HTTP/1.1 204 No\r\n\r\n" * 3_000)
    talk.csms(b"HTTP/1.1 100 Go\r\n\r\n" * 3_000, flags=PSH | ACK)
    items, _ = heard(talk.segments)
    assert items == []


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_none_or_an_error(data: bytes) -> None:
    try:
        head = read_head(data)
    except ValueError:
        return
    assert head is None or isinstance(head, Head)
