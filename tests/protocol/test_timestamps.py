"""Time stamps of payloads: RFC 3339 is fine, ISO 8601 beyond it is loose, anything else is no time."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.protocol.timestamps import format_us, parse_stamp

NOON_US = 1_790_078_400_000_000  # 2026-09-22T12:00:00Z


@pytest.mark.parametrize(
    ("text", "away_us", "digits", "zone"),
    [
        ("2026-09-22T12:00:00Z", 0, 0, "Z"),
        ("2026-09-22t12:00:00z", 0, 0, "Z"),
        ("2026-09-22T12:00:00.5Z", 500_000, 1, "Z"),
        ("2026-09-22T12:00:00.123456789Z", 123_456, 9, "Z"),
        ("2026-09-22T14:00:00+02:00", 0, 0, "+02:00"),
        ("2026-09-22T08:30:00-03:30", 0, 0, "-03:30"),
        ("2026-09-22T12:00:00-00:00", 0, 0, "-00:00"),
    ],
)
def test_rfc_3339(text: str, away_us: int, digits: int, zone: str) -> None:
    stamp = parse_stamp(text)
    assert stamp is not None
    assert (stamp.at_us - NOON_US, stamp.fraction_digits, stamp.zone, stamp.strict) == (
        away_us,
        digits,
        zone,
        True,
    )


@pytest.mark.parametrize(
    ("text", "away_us"),
    [
        ("2026-09-22T12:00:00", 0),  # no zone: read as UTC
        ("2026-09-22 12:00:00Z", 0),  # RFC 3339 §5.6 allows it to applications, ISO 8601 does not
        ("2026-09-22T21:00:00+0900", 0),
        ("2026-09-22T14:00:00+02", 0),
        ("2026-09-22T12:00Z", 0),
        ("2026-09-22T12:00:00,25Z", 250_000),
        ("20260922T120000Z", 0),
    ],
)
def test_iso_8601_beyond_rfc_3339_is_read_and_marked(text: str, away_us: int) -> None:
    stamp = parse_stamp(text)
    assert stamp is not None
    assert (stamp.at_us - NOON_US, stamp.strict) == (away_us, False)


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "2026-09-22", "12:00:00", "1790078400", "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-09-22T24:00:00Z", "2026-09-22T12:60:00Z", "2026-09-22T12:00:61Z", "2026-09-22T12:00:00+24:00",
        "2026-09-22T12:00:00+01:60", "0000-01-01T00:00:00Z", "2026-09-22T12:00:00Zulu",
        "2026-09-22T12:00:00Z\n",
        "\uff12\uff10\uff12\uff16-09-22T12:00:00Z", "2026-09-22T12:00:00." + "1" * 50 + "Z",
        "2026-09-22T12:00:00.Z",
    ],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    assert parse_stamp(text) is None


def test_a_leap_second_is_the_next_moment() -> None:
    leap, after = parse_stamp("2016-12-31T23:59:60Z"), parse_stamp("2017-01-01T00:00:00Z")
    assert leap is not None
    assert after is not None
    assert leap.at_us == after.at_us


def test_the_ends_of_the_calendar_are_no_accident() -> None:
    first, last = parse_stamp("0001-01-01T00:00:00+14:00"), parse_stamp("9999-12-31T23:59:59-14:00")
    assert (first and first.at_us) == -62_135_647_200_000_000
    assert (last and last.at_us) == 253_402_351_199_000_000
    assert format_us(-(1 << 70)) == "0001-01-01T00:00:00.000000Z"
    assert format_us(1 << 70).startswith("9999-12-31T23:59:59")


@given(st.text(max_size=50))
def test_any_text_is_survived(text: str) -> None:
    parse_stamp(text)


ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1), timezones=ZONES))  # noqa: DTZ001  # the bounds of a strategy are naive
def test_the_moment_is_the_one_that_datetime_knows(moment: datetime) -> None:
    stamp = parse_stamp(moment.isoformat())
    wanted_us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert stamp is not None
    assert (stamp.at_us, stamp.strict) == (wanted_us, True)
    again = parse_stamp(format_us(stamp.at_us))
    assert again is not None
    assert again.at_us == wanted_us
