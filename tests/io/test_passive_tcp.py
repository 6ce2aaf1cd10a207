"""Segments in any order, twice, overlapping or never: every byte is given out once, or counted as lost."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from twin.io.passive_tcp import ACKED_NS, MAX_HELD_BYTES, MAX_HELD_PIECES, UNACKED_NS, Half, Piece, Stamp

STREAM = bytes(index * 37 % 251 for index in range(600))


def at(ns: int) -> Stamp:
    return Stamp(10**18 + ns, ns)


def put(pieces: list[Piece]) -> tuple[bytes, int]:
    """The bytes given out, each lost one as NUL beyond doubt, and how many were lost."""
    return b"".join(piece.data or bytes(piece.lost) for piece in pieces), sum(piece.lost for piece in pieces)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]]]:
    """A stream and segments that cover it, some of them overlapping or sent again, in any order."""
    stream = STREAM[: draw(st.integers(1, len(STREAM)))]
    places = sorted(draw(st.sets(st.integers(1, len(stream)), max_size=12)) | {0, len(stream)})
    whole = list(itertools.pairwise(places))
    again = st.tuples(st.integers(0, len(stream) - 1), st.integers(1, 300))
    more = [(start, min(start + size, len(stream))) for start, size in draw(st.lists(again, max_size=6))]
    return stream, draw(st.permutations(whole + more))


@given(cuts(), st.integers(0, 2**32 - 1))
def test_any_order_overlap_and_repetition_gives_the_stream(
    cut: tuple[bytes, list[tuple[int, int]]], number: int
) -> None:
    stream, segments = cut
    half = Half()
    half.begin(number)
    pieces: list[Piece] = []
    for order, (start, end) in enumerate(segments):
        pieces += half.add((number + 1 + start) % 2**32, stream[start:end], at(order))
    half.ended((number + 1 + len(stream)) % 2**32, 0)
    assert half.finished
    pieces += half.finish(at(99))
    assert put(pieces) == (stream, 0)
    assert [piece.stamp.mono_ns for piece in pieces] == sorted(piece.stamp.mono_ns for piece in pieces)


@given(cuts(), st.integers(0, 2**32 - 1), st.data())
def test_what_was_not_captured_is_counted_to_the_byte(
    cut: tuple[bytes, list[tuple[int, int]]], number: int, data: st.DataObject
) -> None:
    stream, segments = cut
    kept = [one for one in segments if data.draw(st.booleans())]
    told_by_fin = data.draw(st.booleans())
    half = Half()
    half.begin(number)
    pieces: list[Piece] = []
    for order, (start, end) in enumerate(kept):
        pieces += half.add((number + 1 + start) % 2**32, stream[start:end], at(order))
    end = (number + 1 + len(stream)) % 2**32
    if told_by_fin:
        half.ended(end, 0)
    half.acknowledged((end + 1) % 2**32 if told_by_fin else end, at(50))
    if data.draw(st.booleans()):
        pieces += half.expire(at(50 + ACKED_NS))
    pieces += half.finish(at(50 + ACKED_NS))
    captured = {place for start, stop in kept for place in range(start, stop)}
    expected = bytes(byte if place in captured else 0 for place, byte in enumerate(stream))
    given_out, lost = put(pieces)
    missing = len(stream) - len(captured)
    last = len(stream) - 1
    if not told_by_fin and last not in captured and last - 1 in captured | {-1}:
        expected, missing = expected[:-1], missing - 1  # alone at the end: it may as well be the FIN
    assert (given_out, lost) == (expected, missing)


def test_acknowledged_bytes_that_nobody_captured_are_lost_after_a_second() -> None:
    half = Half()
    half.begin(99)
    assert half.add(110, b"later", at(0)) == []
    half.acknowledged(115, at(5))
    assert half.expire(at(5 + ACKED_NS - 1)) == []
    pieces = half.expire(at(5 + ACKED_NS))
    assert [(piece.data, piece.lost) for piece in pieces] == [(b"", 10), (b"later", 0)]
    assert pieces[1].stamp == at(0)  # when it was captured, not when it was given up


def test_bytes_behind_their_acknowledgement_are_not_lost() -> None:
    half = Half()
    half.begin(99)
    half.acknowledged(105, at(0))
    assert half.expire(at(10)) == []
    assert put(half.add(100, b"12345", at(20))) == (b"12345", 0)
    assert not half.waiting
    assert half.expire(at(2 * ACKED_NS)) == []


def test_one_sided_captures_wait_longer_for_what_is_missing() -> None:
    half = Half()
    half.begin(0)
    half.add(11, b"b", at(0))
    assert half.expire(at(UNACKED_NS - 1)) == []
    assert put(half.expire(at(UNACKED_NS))) == (bytes(10) + b"b", 10)


def test_the_first_version_of_a_byte_stays() -> None:
    half = Half()
    half.begin(0)
    half.add(3, b"BB", at(0))
    half.add(2, b"xxxx", at(1))
    assert put(half.add(1, b"AAAAAA", at(2))) == (b"AxBBxA", 0)


def test_a_byte_before_the_start_is_a_keep_alive() -> None:
    half = Half()
    half.begin(99)
    assert put(half.add(100, b"ab", at(0))) == (b"ab", 0)
    assert half.add(101, b"\0", at(1)) == []  # RFC 9293 §3.8.4: one garbage byte, already acknowledged
    assert put(half.add(102, b"c", at(2))) == (b"c", 0)


def test_what_is_held_is_bounded_in_bytes_and_in_pieces() -> None:
    for size, count in ((60_000, MAX_HELD_BYTES // 60_000 + 2), (1, MAX_HELD_PIECES + 2)):
        half = Half()
        half.begin(0)
        pieces: list[Piece] = []
        for index in range(count):
            pieces += half.add(2 + 2 * index * size, bytes(size), at(index))
        _, lost = put(pieces)
        assert lost
        _, rest = put(half.finish(at(count)))
        assert lost + rest == 1 + (count - 1) * size


def test_a_reset_far_away_says_nothing_about_the_end() -> None:
    half = Half()
    half.begin(0)
    half.add(1, b"abc", at(0))
    half.ended(1 << 30, 0, reset=True)
    assert put(half.finish(at(1))) == (b"", 0)


def test_attached_late_it_begins_with_what_it_sees() -> None:
    half = Half()
    half.acknowledged(500, at(0))
    assert put(half.add(500, b"ab", at(1))) == (b"ab", 0)
    half = Half()
    assert put(half.add(7, b"cd", at(1))) == (b"cd", 0)
