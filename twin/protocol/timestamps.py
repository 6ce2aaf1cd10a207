"""Time stamps of payloads: our own reading of RFC 3339 and of the ISO 8601 forms beyond it (rule P006).

Three verdicts: RFC 3339 is fine; ISO 8601 that is not RFC 3339 (no zone, ``+0900``, no seconds, comma, basic
form) is read and marked loose; anything else is not a time. No ``datetime`` parser of the standard library
makes this distinction.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

import msgspec

SECOND_US = 1_000_000
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,12}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_ISO8601 = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)[Tt ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,12}))?)?"
    r"([Zz]|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST_US = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


class Stamp(msgspec.Struct, frozen=True):
    """A time stamp: ``at_us`` UTC microseconds (a missing zone is read as UTC), and how it was written."""

    at_us: int
    fraction_digits: int
    zone: str  # "Z", "+01:00", "" when missing
    strict: bool  # RFC 3339


@lru_cache(maxsize=4096)
def parse_stamp(text: str) -> Stamp | None:
    """Read one time stamp; ``None`` when it is no ISO 8601 date and time, or an impossible date."""
    if len(text) > 40:
        return None
    match = _RFC3339.fullmatch(text)
    # RFC 3339 §5.6 allows a space only as a note to applications; OCPP 1.6 §3.14 points to ISO 8601's "T"
    strict = match is not None and text[10] != " "
    match = match or _ISO8601.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    leap = second == "60"
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour), int(minute), 59 if leap else int(second or 0),
            tzinfo=_zone(zone or "Z"),
        )  # fmt: skip
        at_us = (moment - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        return None
    at_us += 1_000_000 * leap + int((fraction or "0").ljust(6, "0")[:6])
    return Stamp(at_us, len(fraction or ""), (zone or "").upper(), strict)


def _zone(text: str) -> timezone:
    if text in "Zz":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        raise ValueError(text)
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def format_us(at_us: int) -> str:
    """``at_us`` as RFC 3339 in UTC with microseconds and ``Z``; years outside 1 to 9999 are clamped."""
    second, us = divmod(min(max(at_us, _FIRST_US), _LAST_US), 1_000_000)
    return f"{_second(second)}.{us:06}Z"


@lru_cache(4096)
def _second(at_s: int) -> str:
    return (_EPOCH + timedelta(seconds=at_s)).isoformat()[:19]  # without the offset
