"""The tap against an oracle on clean streams, and by itself on everything that no oracle survives."""

import zlib
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason

from tests.wire_cases import CALL, CASES, MASK, Case, Said, frame, said
from twin.model import Kind, Side
from twin.protocol import tap as tap_module
from twin.protocol.tap import Breach, DeflateOptions, Item, Stamp, Tap, TapOptions, Why, parse_extensions

PLAIN = TapOptions()
DEFLATE = TapOptions(deflate=DeflateOptions())
TEXT = Said(Kind.TEXT, CALL.decode())
OTHER = b'[3,"no word of the call",{}]'


def at(chunk: int) -> Stamp:
    return Stamp(1_000 + chunk, chunk)


def hear(sender: Side, *chunks: bytes, options: TapOptions = PLAIN, end: bool = True) -> list[Item]:
    tap = Tap(options)
    items = [item for number, chunk in enumerate(chunks) for item in tap.feed(sender, chunk, at(number))]
    return items + tap.finish(at(len(chunks))) if end else items


def sliced(wire: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    return [wire[start:stop] for start, stop in pairwise(places)]


def timeless(items: list[Item]) -> list[tuple[object, ...]]:
    """Items without what depends on the chunks."""
    for item in items:
        item.facts["wire"].pop("first_mono_ns", None)
    return [(item.kind, item.sender, item.text, item.data, item.facts) for item in items]


def wire_bytes(items: list[Item]) -> int:
    return sum(item.facts["wire"]["bytes"] for item in items)


# ---- clean streams: wsproto is the oracle

AGREED = [
    None,
    "permessage-deflate",
    "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; client_max_window_bits=9; server_max_window_bits=10",
    'permessage-deflate; server_no_context_takeover; client_max_window_bits="12"',
]
type Event = Message | Ping | Pong

MESSAGES = st.lists(
    st.one_of(
        st.text(max_size=400).map(lambda text: TextMessage(data=text)),
        st.binary(max_size=400).map(lambda data: BytesMessage(data=data)),
        st.sampled_from([20_000, 70_000]).map(lambda size: TextMessage(data='[2,"1","é"' * (size // 10))),
        st.binary(max_size=125).map(lambda data: Ping(payload=data)),
        st.binary(max_size=125).map(lambda data: Pong(payload=data)),
    ),
    max_size=8,
)


def _extensions(agreed: str | None) -> list[PerMessageDeflate]:
    if agreed is None:
        return []
    extension = PerMessageDeflate()
    extension.finalize(agreed.replace('"', ""))
    return [extension]


def _cut_in_two(events: list[Event], every: int, *, ping_between: bool) -> list[Event]:
    out: list[Event] = []
    for number, event in enumerate(events):
        if isinstance(event, TextMessage | BytesMessage) and number % every == 0 and len(event.data) > 1:
            half = len(event.data) // 2
            out.append(type(event)(data=event.data[:half], message_finished=False))
            out += [Ping(payload=b"between")] * ping_between
            out.append(type(event)(data=event.data[half:]))
        else:
            out.append(event)
    return out


def _oracle(sender: Side, agreed: str | None, wire: bytes) -> list[tuple[Kind, object]]:
    role = ConnectionType.SERVER if sender is Side.STATION else ConnectionType.CLIENT
    reader = Connection(role, extensions=_extensions(agreed))
    reader.receive_data(wire)
    heard: list[tuple[Kind, object]] = []
    parts: list[str | bytes | bytearray] = []
    for event in reader.events():
        match event:
            case TextMessage() | BytesMessage():
                parts.append(event.data)
                if event.message_finished:
                    kind = Kind.TEXT if isinstance(event, TextMessage) else Kind.BINARY
                    heard.append((kind, type(parts[0])().join(parts)))
                    parts = []
            case Ping():
                heard.append((Kind.PING, event.payload))
            case Pong():
                heard.append((Kind.PONG, event.payload))
            case CloseConnection():
                heard.append((Kind.CLOSE, (event.code, event.reason)))
    return heard


def _content(item: Item) -> object:
    if item.kind is Kind.CLOSE:
        return item.facts["code"], item.facts["reason"]
    return item.text if item.kind is Kind.TEXT else item.data


@pytest.mark.parametrize("agreed", AGREED)
@pytest.mark.parametrize("sender", Side)
@given(events=MESSAGES, every=st.integers(1, 3), cuts=st.lists(st.integers(0, 1 << 20), max_size=8))
def test_a_clean_stream_is_read_as_wsproto_reads_it(
    sender: Side, agreed: str | None, events: list[Event], every: int, cuts: list[int]
) -> None:
    role = ConnectionType.CLIENT if sender is Side.STATION else ConnectionType.SERVER
    writer = Connection(role, extensions=_extensions(agreed))
    # wsproto 1.3.2 forgets that a message is compressed when a ping comes between its fragments
    cut = _cut_in_two(events, every, ping_between=agreed is None)
    wire = b"".join(writer.send(event) for event in cut)
    wire += writer.send(CloseConnection(code=CloseReason.GOING_AWAY, reason="restart"))
    options = TapOptions(deflate=parse_extensions(agreed))

    items = hear(sender, *sliced(wire, cuts), options=options)

    assert [(item.kind, _content(item)) for item in items] == _oracle(sender, agreed, wire)
    assert not any("violations" in item.facts["wire"] for item in items)
    assert wire_bytes(items) == len(wire)


# ---- what no oracle survives

LEGAL_AND_NOT = st.builds(
    frame,
    st.integers(0, 15),
    st.one_of(st.binary(max_size=140), st.just(CALL)),
    mask=st.sampled_from([None, MASK, b"\0\0\0\0"]),
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 4, 2, 7]),
    width=st.sampled_from([None, None, 2, 8]),
)
STREAMS = st.one_of(
    st.lists(LEGAL_AND_NOT, max_size=10).map(b"".join),
    st.binary(max_size=300),
    st.tuples(st.lists(LEGAL_AND_NOT, max_size=4).map(b"".join), st.binary(max_size=40)).map(b"".join),
)
OPTIONS = st.sampled_from(
    [
        PLAIN,
        DEFLATE,
        TapOptions(max_message_bytes=20),
        TapOptions(max_message_bytes=20, deflate=DeflateOptions(client_no_context_takeover=True)),
    ]
)


@given(
    sender=st.sampled_from(Side),
    wire=STREAMS,
    options=OPTIONS,
    cuts=st.lists(st.integers(0, 1 << 12), max_size=30),
)
def test_any_bytes_in_any_slices_say_the_same_and_are_counted_once(
    sender: Side, wire: bytes, options: TapOptions, cuts: list[int]
) -> None:
    whole = hear(sender, wire, options=options)
    assert timeless(whole) == timeless(hear(sender, *sliced(wire, cuts), options=options))
    assert timeless(whole) == timeless(
        hear(sender, *(wire[i : i + 1] for i in range(len(wire))), options=options)
    )
    assert wire_bytes(whole) == len(wire)
    assert Why.DECODER_FAULT not in [item.facts.get("why") for item in whole]
    msgspec.json.encode(whole)


@given(
    wire=STREAMS,
    options=OPTIONS,
    late=st.booleans(),
    steps=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60)), max_size=12),
)
def test_fed_and_lost_bytes_are_each_told_once(
    wire: bytes, options: TapOptions, late: bool, steps: list[tuple[int, int]]
) -> None:
    tap = Tap(msgspec.structs.replace(options, late=late))
    items: list[Item] = []
    place = lost = 0
    for fed, missed in steps:
        items += tap.feed(Side.STATION, wire[place : place + fed], at(0))
        items += tap.lost(Side.STATION, len(wire[place + fed : place + fed + missed]), at(0))
        lost += len(wire[place + fed : place + fed + missed])
        place += fed + missed
    items += tap.feed(Side.STATION, wire[place:], at(0)) + tap.finish(at(0))
    assert wire_bytes(items) == len(wire)
    assert sum(item.facts["wire"].get("lost", 0) for item in items) == lost
    assert Why.DECODER_FAULT not in [item.facts.get("why") for item in items]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.sender}: {case.name}")
def test_a_violation_is_a_fact_and_never_a_stop(case: Case) -> None:
    items = hear(case.sender, case.wire)
    assert tuple(said(item) for item in items) == case.says
    assert wire_bytes(items) == len(case.wire)


def test_there_are_sixteen_cases_for_each_side() -> None:
    assert [len({case.name for case in CASES if case.sender is side}) for side in Side] == [16, 16]


def test_every_violation_has_a_case() -> None:
    told = {violation for case in CASES for line in case.says for violation in line.violations}
    assert told == set(Breach) - {Breach.LENGTH_OVER_63_BITS}


def test_a_length_over_63_bits_is_named() -> None:
    [item] = hear(Side.CSMS, frame(0x2, b"abc", mask=None, width=8, declared=1 << 63))
    assert said(item) == Said(Kind.UNDECODABLE, "cut off", ("length over 63 bits",))
    assert (item.data, item.facts["declared"]) == (b"abc", 1 << 63)


def test_the_longest_declared_length_can_be_written_down() -> None:
    wire = frame(0x2, b"abc", mask=None, fin=False) + frame(
        0x0, b"d", mask=None, width=8, declared=(1 << 64) - 1
    )
    [item] = hear(Side.CSMS, wire)
    assert item.data == b"abcd"
    msgspec.json.encode(item)


def test_a_close_keeps_code_and_reason_and_a_broken_reason_its_bytes() -> None:
    [close] = hear(Side.CSMS, frame(0x8, b"\x03\xe9restart", mask=None))
    assert (close.facts["code"], close.facts["reason"], close.data) == (1001, "restart", None)
    [broken] = hear(Side.CSMS, frame(0x8, b"\x03\xe9\xff", mask=None))
    assert (broken.facts["reason"], broken.data) == ("�", b"\x03\xe9\xff")
    assert broken.facts["wire"]["violations"] == [Breach.INVALID_UTF8]
    [empty] = hear(Side.CSMS, frame(0x8, b"", mask=None))
    assert (empty.facts["code"], empty.facts["reason"]) == (None, "")


def test_flaws_are_seen_in_a_chunk_of_one_whole_frame_too() -> None:
    [wide] = hear(Side.STATION, frame(0x1, CALL, mask=MASK, width=2))
    assert said(wide).violations == (Breach.NON_MINIMAL_LENGTH,)
    _, after = hear(Side.STATION, frame(0x8, b"", mask=MASK), frame(0x1, CALL, mask=MASK))
    assert said(after).violations == (Breach.AFTER_CLOSE,)


def test_a_violation_of_every_fragment_is_named_once() -> None:
    [text] = hear(Side.STATION, frame(0x1, CALL[:5], mask=None, fin=False) + frame(0x0, CALL[5:], mask=None))
    assert said(text) == TEXT._replace(violations=(Breach.UNMASKED,))


# ---- stamps and fragments


def test_an_item_has_the_stamp_of_the_chunk_that_completed_it() -> None:
    wire = frame(0x1, CALL, mask=MASK)
    first, second = hear(Side.STATION, wire[:3], wire[3:] + wire[:1], wire[1:])
    assert (first.stamp, first.facts["wire"]["first_mono_ns"]) == (at(1), 0)
    assert (second.stamp, second.facts["wire"]["first_mono_ns"]) == (at(2), 1)
    [whole] = hear(Side.STATION, wire)
    assert "first_mono_ns" not in whole.facts["wire"]


def test_fragments_are_joined_and_a_ping_between_them_keeps_its_place() -> None:
    wire = (
        frame(0x1, CALL[:5], mask=MASK, fin=False)
        + frame(0x9, b"hi", mask=MASK)
        + frame(0x0, b"", mask=MASK, fin=False)
        + frame(0x0, CALL[5:], mask=MASK)
    )
    ping, text = hear(Side.STATION, wire)
    assert (said(ping), said(text)) == (Said(Kind.PING, 2), TEXT)
    assert text.facts["wire"] == {"bytes": len(wire) - 8, "fragments": [5, 0, 17], "deflate": False}


def test_a_long_list_of_fragments_is_counted_not_kept() -> None:
    parts = [frame(0x1, b"", mask=None, fin=False)] + [frame(0x0, b"", mask=None, fin=False)] * 1999
    [text] = hear(Side.CSMS, b"".join(parts) + frame(0x0, CALL, mask=None))
    assert said(text) == TEXT
    assert (len(text.facts["wire"]["fragments"]), text.facts["wire"]["fragment_count"]) == (1024, 2001)


def test_the_two_directions_do_not_know_each_other() -> None:
    tap = Tap(PLAIN)
    station, csms = frame(0x1, CALL, mask=MASK), frame(0x1, CALL, mask=None)
    assert tap.feed(Side.STATION, station[:9], at(0)) == []
    assert [said(item) for item in tap.feed(Side.CSMS, csms, at(1))] == [TEXT]
    assert [said(item) for item in tap.feed(Side.STATION, station[9:], at(2))] == [TEXT]
    assert tap.finish(at(3)) == []


# ---- caps


def test_above_the_cap_the_head_is_kept_and_the_rest_counted() -> None:
    small = TapOptions(max_message_bytes=4)
    [text] = hear(Side.STATION, frame(0x1, "abcé€".encode(), mask=MASK), options=small)
    assert text.text == "abc"  # not half an é
    assert (text.facts["truncated"], text.facts["bytes"]) == (True, 8)
    [data] = hear(Side.CSMS, frame(0x2, bytes(70_000), mask=None), options=small)
    assert (data.data, data.facts["bytes"]) == (bytes(4), 70_000)
    [ping] = hear(Side.CSMS, frame(0x9, bytes(70_000), mask=None), options=small)
    assert (ping.data, ping.facts["bytes"]) == (bytes(4), 70_000)


def deflated(*texts: bytes, bits: int = 15, fin_block: bool = False) -> list[bytes]:
    engine = zlib.compressobj(wbits=-bits)
    if fin_block:
        return [engine.compress(text) + engine.flush(zlib.Z_FINISH) for text in texts]
    return [(engine.compress(text) + engine.flush(zlib.Z_SYNC_FLUSH))[:-4] for text in texts]


def test_a_bomb_is_cut_at_the_cap_and_a_small_one_leaves_the_window_right() -> None:
    options = TapOptions(deflate=DeflateOptions(), max_message_bytes=1000)
    messages = deflated(b"[" * 9_000, CALL, b"[" * 1_000_000, CALL)
    wire = b"".join(frame(0x1, message, mask=None, rsv=4) for message in messages)
    small, text, bomb, after = hear(Side.CSMS, wire, options=options)
    assert (small.text, small.facts["bytes"]) == ("[" * 1000, 9_000)
    assert said(text) == TEXT
    assert (bomb.text, bomb.facts["truncated"], "bytes" in bomb.facts) == ("[" * 1000, True, False)
    assert said(after) == Said(Kind.UNDECODABLE, "inflate")


@pytest.mark.parametrize("size", [999, 1000, 1001])
def test_the_cap_is_exact_for_inflated_text(size: int) -> None:
    options = TapOptions(deflate=DeflateOptions(), max_message_bytes=1000)
    wire = b"".join(frame(0x1, part, mask=None, rsv=4) for part in deflated(b"x" * size, CALL))
    first, second = hear(Side.CSMS, wire, options=options)
    assert first.text == "x" * min(size, 1000)
    assert first.facts.get("bytes") == (1001 if size == 1001 else None)
    assert said(second) == TEXT


# ---- deflate that is broken


def test_broken_deflate_is_kept_as_it_came_and_loses_the_window_only_with_takeover() -> None:
    [good] = deflated(CALL)
    wire = frame(0x1, b"\xff\xff\xff", mask=MASK, rsv=4) + frame(0x1, good, mask=MASK, rsv=4)
    broken, after = hear(Side.STATION, wire, options=DEFLATE)
    assert (said(broken), broken.data) == (Said(Kind.UNDECODABLE, "inflate"), b"\xff\xff\xff")
    assert said(after) == Said(Kind.UNDECODABLE, "inflate")
    fresh = TapOptions(deflate=DeflateOptions(client_no_context_takeover=True))
    assert [said(item).word for item in hear(Side.STATION, wire, options=fresh)] == ["inflate", CALL.decode()]


def test_messages_that_are_not_compressed_pass_a_lost_window() -> None:
    wire = frame(0x1, b"\xff\xff\xff", mask=None, rsv=4) + frame(0x1, CALL, mask=None)
    assert [said(item).word for item in hear(Side.CSMS, wire, options=DEFLATE)] == ["inflate", CALL.decode()]


def test_a_final_block_is_legal_and_bytes_behind_it_are_not() -> None:
    [message] = deflated(CALL, fin_block=True)  # RFC 7692 §7.2.3.4
    for tail in (b"", b"\x00"):
        assert [
            said(item)
            for item in hear(Side.CSMS, frame(0x1, message + tail, mask=None, rsv=4), options=DEFLATE)
        ] == [TEXT]
    [item] = hear(Side.CSMS, frame(0x1, message + b"more", mask=None, rsv=4), options=DEFLATE)
    assert said(item) == Said(Kind.UNDECODABLE, "inflate")


def test_a_ping_between_the_fragments_of_a_compressed_message_changes_nothing() -> None:
    first, second = deflated(CALL, CALL)
    wire = frame(0x1, first[:4], mask=MASK, rsv=4, fin=False) + frame(0x9, b"", mask=MASK)
    wire += frame(0x0, first[4:], mask=MASK) + frame(0x1, second, mask=MASK, rsv=4)
    assert [said(item) for item in hear(Side.STATION, wire, options=DEFLATE)] == [
        Said(Kind.PING, 0),
        TEXT,
        TEXT,
    ]


def test_a_compressed_bit_on_a_continuation_is_a_violation() -> None:
    [message] = deflated(CALL)
    wire = frame(0x1, message[:4], mask=None, rsv=4, fin=False) + frame(0x0, message[4:], mask=None, rsv=4)
    [item] = hear(Side.CSMS, wire, options=DEFLATE)
    assert said(item) == TEXT._replace(violations=("reserved bits",))


def test_after_a_final_block_the_window_starts_anew() -> None:
    parts = [part for _ in range(2) for part in deflated(CALL, fin_block=True)]
    wire = b"".join(frame(0x1, part, mask=None, rsv=4) for part in parts)
    assert [said(item) for item in hear(Side.CSMS, wire, options=DEFLATE)] == [TEXT, TEXT]


def test_a_compressed_message_that_never_ends_takes_the_window_with_it() -> None:
    first, unended, last = deflated(CALL * 20, OTHER, OTHER)
    wire = frame(0x1, first, mask=None, rsv=4) + frame(0x1, unended[:5], mask=None, rsv=4, fin=False)
    wire += frame(0x1, last, mask=None, rsv=4)
    assert [said(item).word for item in hear(Side.CSMS, wire, options=DEFLATE)][1:] == ["cut off", "inflate"]


def test_whole_messages_lost_take_the_window_with_them() -> None:
    first, unseen, last = deflated(CALL * 20, OTHER, OTHER)
    tap = Tap(DEFLATE)
    tap.feed(Side.CSMS, frame(0x1, first, mask=None, rsv=4), at(0))
    tap.lost(Side.CSMS, len(unseen) + 2, at(1))
    [after] = tap.feed(Side.CSMS, frame(0x1, last, mask=None, rsv=4), at(2))
    assert said(after) == Said(Kind.UNDECODABLE, "inflate")


@pytest.mark.parametrize(
    ("header", "options"),
    [
        (None, None),
        ("", None),
        ("x-webkit-deflate-frame", None),
        ("permessage-deflate", DeflateOptions()),
        ("foo; a=1, Permessage-Deflate;server_max_window_bits=9", DeflateOptions(server_max_window_bits=9)),
        ('permessage-deflate; client_max_window_bits="10"', DeflateOptions(client_max_window_bits=10)),
        ("permessage-deflate; client_max_window_bits=99; server_max_window_bits=x", DeflateOptions()),
        ("permessage-deflate; client_no_context_takeover", DeflateOptions(client_no_context_takeover=True)),
    ],
)
def test_extensions_of_the_handshake(header: str | None, options: DeflateOptions | None) -> None:
    assert parse_extensions(header) == options


@given(st.text())
def test_any_extension_header_is_read(header: str) -> None:
    parse_extensions("permessage-deflate;" + header)


# ---- lost bytes


def test_bytes_lost_inside_a_payload_are_skipped_exactly() -> None:
    wire = frame(0x1, CALL, mask=MASK)
    tap = Tap(PLAIN)
    assert tap.feed(Side.STATION, wire[:10], at(0)) == []
    assert tap.lost(Side.STATION, 5, at(1)) == []
    cut, whole = tap.feed(Side.STATION, wire[15:] + wire, at(2))
    assert (cut.text, cut.facts["truncated"], cut.facts["bytes"]) == (CALL[:4].decode(), True, len(CALL))
    assert cut.facts["wire"]["lost"] == 5
    assert said(whole) == TEXT


def test_bytes_lost_up_to_the_end_of_a_frame_complete_it() -> None:
    wire = frame(0x1, CALL, mask=MASK)
    tap = Tap(PLAIN)
    tap.feed(Side.STATION, wire[:10], at(0))
    [cut] = tap.lost(Side.STATION, len(wire) - 10, at(1))
    assert (cut.text, cut.stamp) == (CALL[:4].decode(), at(1))
    assert [said(item) for item in tap.feed(Side.STATION, wire, at(2))] == [TEXT]


def test_bytes_lost_over_a_header_put_one_direction_out_of_step_until_a_frame_starts_a_chunk() -> None:
    wire = frame(0x1, CALL, mask=MASK)
    tap = Tap(PLAIN)
    tap.feed(Side.STATION, frame(0x1, b"[2,", mask=MASK, fin=False) + wire[:1], at(0))
    message, hole = tap.lost(Side.STATION, 7, at(1))
    assert (said(message), message.data) == (Said(Kind.UNDECODABLE, "lost bytes"), b"[2,")
    assert hole.facts["wire"] == {"bytes": 8, "fragments": [], "deflate": False, "lost": 7}
    [astray] = tap.feed(Side.STATION, wire[8:] + wire, at(2))
    assert (said(astray), astray.data) == (Said(Kind.UNDECODABLE, "out of step"), wire[8:] + wire)
    assert [said(item) for item in tap.feed(Side.CSMS, frame(0x1, CALL, mask=None), at(2))] == [TEXT]
    assert [said(item) for item in tap.feed(Side.STATION, wire[:20], at(3))] == []
    assert [said(item) for item in tap.feed(Side.STATION, wire[20:], at(4))] == [TEXT]


@pytest.mark.parametrize(
    "chunk",
    [
        b"",
        b"\x81",
        frame(0x1, CALL, mask=None),  # a station masks
        frame(0x1, b"{}", mask=MASK),  # no OCPP-J message
        frame(0x3, b"", mask=MASK),
        frame(0x0, CALL, mask=MASK),
        frame(0x9, b"", mask=MASK) + b"\x00",
        frame(0x2, bytes(50), mask=MASK)[:-1],
        frame(0x1, CALL, mask=MASK, width=8, declared=1 << 40),
    ],
)
def test_what_is_no_plausible_start_stays_out_of_step(chunk: bytes) -> None:
    items = hear(Side.STATION, chunk, options=TapOptions(late=True))
    assert [said(item).word for item in items] == (["out of step"] if chunk else [])


def test_nobody_is_blamed_for_a_message_that_began_unseen() -> None:
    wire = frame(0x9, b"", mask=None) + frame(0x0, b"rest]", mask=None) + frame(0x1, CALL, mask=None)
    late = TapOptions(late=True)
    assert [said(item) for item in hear(Side.CSMS, wire, options=late)] == [
        Said(Kind.PING, 0),
        Said(Kind.UNDECODABLE, "lost bytes"),
        TEXT,
    ]
    for seen in (wire, frame(0x1, CALL, mask=None)):
        *_, last = hear(Side.CSMS, seen, frame(0x0, b"", mask=None), options=late)
        assert said(last).violations == (Breach.CONTINUATION_WITHOUT_START,)


def test_a_hole_loses_the_window_of_its_direction_only_with_takeover() -> None:
    first, second = deflated(CALL, CALL)
    one, two = frame(0x1, first, mask=None, rsv=4), frame(0x1, second, mask=None, rsv=4)
    tap = Tap(DEFLATE)
    tap.feed(Side.CSMS, one[:6], at(0))
    tap.lost(Side.CSMS, 2, at(1))
    cut, after = tap.feed(Side.CSMS, one[8:] + two, at(2))
    assert cut.facts["truncated"] is True
    assert said(after) == Said(Kind.UNDECODABLE, "inflate")


# ---- a bug of ours


def test_a_fault_of_the_decoder_stays_in_its_direction_and_keeps_the_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def bug(*_: object) -> bytes:
        raise RecursionError

    tap = Tap(PLAIN)
    good, wire = frame(0x9, b"", mask=MASK), frame(0x1, CALL, mask=MASK)
    with monkeypatch.context() as patch:
        patch.setattr(tap_module, "unmask", bug)
        ping, fault = tap.feed(Side.STATION, good + wire, at(0))
    assert said(ping) == Said(Kind.PING, 0)
    assert (said(fault), fault.data) == (Said(Kind.UNDECODABLE, "decoder fault"), wire)
    assert fault.facts["what"] == "RecursionError"
    [later] = tap.feed(Side.STATION, wire, at(1))
    assert (said(later), later.data) == (Said(Kind.UNDECODABLE, "decoder fault"), wire)
    [hole] = tap.lost(Side.STATION, 9, at(2))
    assert hole.facts["wire"]["lost"] == hole.facts["wire"]["bytes"] == 9
    assert [said(item) for item in tap.feed(Side.CSMS, frame(0x1, CALL, mask=None), at(3))] == [TEXT]
    assert tap.finish(at(4)) == []


def test_many_small_fragments_in_small_chunks_make_one_text() -> None:
    parts = [frame(0x0, b"x", mask=MASK, fin=False)] * 100_000
    wire = frame(0x1, b"[", mask=MASK, fin=False) + b"".join(parts) + frame(0x0, b"]", mask=MASK)
    [text] = hear(Side.STATION, *(wire[place : place + 3] for place in range(0, len(wire), 3)))
    assert text.text == f"[{'x' * 100_000}]"
    assert (len(text.text), text.facts["wire"]["fragment_count"]) == (100_002, 100_002)
