"""What time a log line says it is: the printed forms, the gaps in them, and the zone that is not printed."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import msgspec

from twin.io.reading import CaptureError
from twin.protocol.timestamps import parse_stamp

_CLOCK = r"(?P<h>\d\d):(?P<mi>\d\d):(?P<s>\d\d)(?:[.,](?P<f>\d{1,9}))?"
_ZONE = r"(?: ?(?P<z>Z|[+-]\d\d:?\d\d)(?!\w))?"
_HALF = r"(?: ?(?P<half>[AaPp])\.?[Mm]\b)?"
_DATED = re.compile(r"(?P<y>\d{4})[-/](?P<mo>\d\d)[-/](?P<d>\d\d)[T \t]" + _CLOCK + _ZONE)
_YEARLESS = re.compile(r"(?P<mon>[^\W\d_]{3,4})\.? {1,2}(?P<d>\d{1,2}) " + _CLOCK)
_DOTTED_CLOCK = r",? {1,2}" + _CLOCK
# 25.11.2024 12:34:21, and [25.11.24, 12:34:21: elsewhere two digits end a version's number
_DOTTED = re.compile(r"(?<![\w.])(?P<d>\d{1,2})\.(?P<mo>\d{1,2})\.(?P<y>\d{4})" + _DOTTED_CLOCK)
_DOTTED_SHORT = re.compile(r"(?:^|[\[(])(?P<d>\d{1,2})\.(?P<mo>\d{1,2})\.(?P<y>\d\d)" + _DOTTED_CLOCK)
# 11/25/2024, 12:34:21 PM: which of the two is the month, the half of the day or a payload tells
_SLASHED = re.compile(
    r"(?<![\d/])(?P<a>\d{1,2})/(?P<b>\d{1,2})/(?P<y>\d{4}),? "
    r"(?P<h>\d{1,2}):(?P<mi>\d\d):(?P<s>\d\d)(?:[.,](?P<f>\d{1,9}))?" + _HALF
)
_MONTH_NAMED = re.compile(  # Nov 25, 2024 @ 12:34:21.604
    r"(?P<mon>[^\W\d_]{3,9})\.? {1,2}(?P<d>\d{1,2}),? (?P<y>\d{4})(?:,| @| at)? {1,2}" + _CLOCK
)
_DAY_FIRST = re.compile(  # 25 Nov 12:34:21, 25/Nov/2024:12:34:21
    r"(?<!\d)(?P<d>\d{1,2})(?:\. |[ /-])(?P<mon>[^\W\d_]{3,9})\.?(?:[ /-](?P<y>\d{4}))?[ :,T]{1,2}" + _CLOCK
)
_EPOCH_TIME = re.compile(  # seconds, or milliseconds, of 2017 to 2033; where a line or a field begins
    r"(?:^|[\[(]|(?:time|ts|timestamp|date)[\"']?\s?[=:]\s?[\"']?)(?P<s>1[5-9]\d{8})(?:\.(?P<f>\d{1,6})|(?P<ms>\d{3}))?(?![\w.:-])"
)
_CLOCK_ONLY = re.compile(r"(?<![\d:.-])" + _CLOCK + r"(?![\d:])")
# English and German abbreviations, by their first three letters.
_MONTHS = {"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9} | {
    "oct": 10, "nov": 11, "dec": 12, "mär": 3, "mrz": 3, "mai": 5, "okt": 10, "dez": 12,
}  # fmt: skip
_PAYLOAD_TIME = re.compile(r'"(?:timestamp|currentTime)"\s{0,4}:\s{0,4}"([^"\\]{10,40})"')
_PAYLOAD_MONTH = re.compile(r'"(?:timestamp|currentTime)"\s{0,4}:\s{0,4}"(\d{4})-(\d\d)-')
_GUESSED_YEAR = 1972  # until a payload tells: any day of the calendar fits
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_HALF_DAY_US = 43_200_000_000
_QUARTER_US = 900_000_000
_HALF_A_YEAR, _JANUARY_TO_DECEMBER = 6, 11  # months
_TOLERANCE_US = 120_000_000  # payload times lie around the log's: a clock may be two minutes wrong
_MOST_QUARTERS = 14 * 4  # UTC-12 to UTC+14


class LogTime(msgspec.Struct, frozen=True):
    """A printed time: the words, its microseconds as if it were UTC, and whether it says its zone.

    ``guessed``: neither the line nor any line above it knew the year.
    """

    text: str
    local_us: int
    zoned: bool
    guessed: bool = False


class TimeReader(msgspec.Struct):
    """Remembers the date of earlier lines for those that print only a part of it."""

    day: tuple[int, int, int] | None = None
    last_us: int = 0
    guessing: bool = False

    def read(self, head: str, message: str = "") -> LogTime | None:
        """The first time printed in ``head``; ``message`` may know the year when the log does not."""
        if match := _DATED.search(head):
            found = self._on(match, (int(match["y"]), int(match["mo"]), int(match["d"])), match["z"] or "")
        elif dated := _otherwise_dated(head, message, self.day):
            match, day = dated
            found = self._on(match, day, "")
        elif match := _EPOCH_TIME.search(head):
            fraction = (match["ms"] or match["f"] or "").ljust(6, "0")
            found = LogTime(match[0], int(match["s"]) * 1_000_000 + int(fraction), zoned=True)
        elif (match := _YEARLESS.search(head)) and (month := _MONTHS.get(match["mon"][:3].lower())):
            found = self._on(match, (self._year(month, message), month, int(match["d"])), "")
        elif (match := _CLOCK_ONLY.search(head)) and (self.day or payload_times(message)):
            self.day = self.day or _day_near(match, payload_times(message)[0])
            found = _log_time(match, self.day, "")
            if found and self.last_us - found.local_us > _HALF_DAY_US:
                found = self._on(match, _morrow(self.day), "")  # past midnight, and no new date printed
        else:
            return None
        if found:
            self.last_us = found.local_us
            if self.guessing:
                found = msgspec.structs.replace(found, guessed=True)
        return found

    def _on(self, match: re.Match[str], day: tuple[int, int, int], zone: str) -> LogTime | None:
        """The time on a day that the line tells; a day that no calendar has is not remembered."""
        found = _log_time(match, day, zone)
        if found:
            self.day = day
            self.guessing = self.guessing and not match.groupdict().get("y")
        return found

    def _year(self, month: int, message: str) -> int:
        """The year of a line that prints none: that of the line above, or of a payload near New Year too."""
        year = _GUESSED_YEAR
        if self.day:
            year = self.day[0] + _new_year(self.day[1], month)
        else:
            self.guessing = True
        if self.guessing and (said := _PAYLOAD_MONTH.search(message[:4000])):
            self.guessing = False
            return int(said[1]) + _new_year(int(said[2]), month)
        return year


def _new_year(before: int, month: int) -> int:
    """1 from a late month to an early one, -1 from January to December: two lines in the wrong order."""
    return (before - month > _HALF_A_YEAR) - (month - before == _JANUARY_TO_DECEMBER)


def _morrow(day: tuple[int, int, int]) -> tuple[int, int, int]:
    try:
        morrow = date(*day) + timedelta(days=1)
    except OverflowError:  # the calendar ends with the year 9999
        return day
    return morrow.year, morrow.month, morrow.day


def _otherwise_dated(
    head: str, message: str, before: tuple[int, int, int] | None
) -> tuple[re.Match[str], tuple[int, int, int]] | None:
    """A whole date in another order than ISO 8601's."""
    if match := _DOTTED.search(head) or _DOTTED_SHORT.search(head):
        return match, (_century(match["y"]), int(match["mo"]), int(match["d"]))
    if match := _SLASHED.search(head):
        return match, _month_or_day(match, message, before)
    for pattern in (_MONTH_NAMED, _DAY_FIRST):
        if (match := pattern.search(head)) and (month := _MONTHS.get(match["mon"][:3].lower())):
            year = match["y"] or (before[0] + _new_year(before[1], month) if before else None)
            if year is None and (said := _PAYLOAD_MONTH.search(message[:4000])):
                year = int(said[1]) + _new_year(int(said[2]), month)
            return (match, (int(year), month, int(match["d"]))) if year is not None else None
    return None


def _century(year: str) -> int:
    return int(year) if len(year) == 4 else 2000 + int(year)


def _month_or_day(
    match: re.Match[str], message: str, before: tuple[int, int, int] | None
) -> tuple[int, int, int]:
    """A payload's time decides, else the line above, else that only Americans print halves of a day."""
    one, two, year = int(match["a"]), int(match["b"]), int(match["y"])
    american, other = (year, one, two), (year, two, one)
    if one > 12 or two > 12:
        return other if one > 12 else american
    told = next((day for at_us in payload_times(message)[:1] if (day := _day_of(at_us))), before)
    if told is not None and american != other:
        apart = [abs(_days(day) - _days(told)) for day in (american, other)]
        if min(apart) <= 1:
            return american if apart[0] < apart[1] else other
    return american if match["half"] else other


def _days(day: tuple[int, int, int]) -> int:
    """Days since the year 0, well enough to tell near from far."""
    return (day[0] * 12 + day[1]) * 31 + day[2]


def _day_near(match: re.Match[str], payload_us: int) -> tuple[int, int, int]:
    """The day on which a clock comes nearest to a payload's time."""
    day = _day_of(payload_us)
    if day is None:
        return 1970, 1, 1
    found = [(time, one) for one in (_eve(day), day, _morrow(day)) if (time := _log_time(match, one, ""))]
    return min(found, key=lambda one: abs(one[0].local_us - payload_us))[1] if found else day


def _day_of(at_us: int) -> tuple[int, int, int] | None:
    """The day of a moment, if the calendar has it."""
    try:
        day = (_EPOCH + at_us * _US).date()
    except OverflowError:
        return None
    return day.year, day.month, day.day


def _eve(day: tuple[int, int, int]) -> tuple[int, int, int]:
    try:
        eve = date(*day) - timedelta(days=1)
    except OverflowError:
        return day
    return eve.year, eve.month, eve.day


def _log_time(match: re.Match[str], day: tuple[int, int, int], zone: str) -> LogTime | None:
    hours = int(match["h"])
    if half := match.groupdict().get("half"):
        hours = hours % 12 + 12 * (half in "pP")
    try:
        moment = datetime(*day, hours, int(match["mi"]), int(match["s"]), tzinfo=_zone(zone))
    except ValueError:
        return None
    local_us = (moment - _EPOCH) // _US + int((match["f"] or "0").ljust(6, "0")[:6])
    return LogTime(match.group(), local_us, bool(zone))


def _zone(text: str) -> timezone:
    if text in ("", "Z"):
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:])
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def told_years(times: Sequence[LogTime | None]) -> list[LogTime | None]:
    """The same times, those with a guessed year moved to the year that a later one knows."""
    last = next((time for time in reversed(times) if time and time.guessed), None)
    told = next((time for time in times if time and not time.guessed), None)
    if last is None or told is None:
        return list(times)
    try:
        before, after = (_EPOCH + time.local_us * _US for time in (last, told))
    except OverflowError:
        return list(times)
    years = after.year - _new_year(before.month, after.month) - before.year
    return [_moved(time, years) if time and time.guessed else time for time in times]


def _moved(time: LogTime, years: int) -> LogTime:
    moment = _EPOCH + time.local_us * _US
    try:
        moment = moment.replace(year=moment.year + years)
    except ValueError:  # 29 February of another year
        return time
    return LogTime(time.text, (moment - _EPOCH) // _US, time.zoned)


class Zone(msgspec.Struct, frozen=True):
    """How the log's own times become UTC, and the sentence that says why."""

    note: str
    offset_us: int = 0
    rules: ZoneInfo | None = None

    def utc_us(self, time: LogTime) -> int:
        if time.zoned:
            return time.local_us
        if self.rules is None:
            return time.local_us - self.offset_us
        try:
            local = (_EPOCH + time.local_us * _US).replace(tzinfo=self.rules)
            return (local - _EPOCH) // _US
        except (OverflowError, ValueError):
            return time.local_us


def asked_zone(name: str) -> Zone:
    """The zone that the user named (IANA)."""
    try:
        return Zone(f"time zone {name}, as asked", rules=ZoneInfo(name))
    except (KeyError, ValueError, OSError) as error:
        raise CaptureError(f"{name!r} is no time zone; give an IANA name such as Europe/Berlin") from error


def payload_times(text: str) -> list[int]:
    """The times inside a message, UTC microseconds, in their order."""
    found = (parse_stamp(said) for said in _PAYLOAD_TIME.findall(text))
    return [stamp.at_us for stamp in found if stamp]


def modal_zone(pairs: Iterable[tuple[int, int]]) -> Zone:
    """The most frequent whole-quarter difference between log times and the UTC times of payloads."""
    votes: Counter[int] = Counter()
    total = 0
    for local_us, payload_us in pairs:
        total += 1
        difference_us = local_us - payload_us
        quarters = round(difference_us / _QUARTER_US)
        if abs(quarters) <= _MOST_QUARTERS and abs(difference_us - quarters * _QUARTER_US) <= _TOLERANCE_US:
            votes[quarters] += 1
    if not votes:
        return Zone("time zone UTC: the log names none and no payload time tells another")
    # of equally frequent ones the smallest shift is taken
    quarters, count = max(votes.items(), key=lambda vote: (vote[1], -abs(vote[0])))
    hours, minutes = divmod(abs(quarters) * 15, 60)
    sign = "-" if quarters < 0 else "+"
    return Zone(
        f"time zone UTC{sign}{hours:02d}:{minutes:02d}: modal offset, {count * 100 // total} % of "
        f"{total} payload times",
        offset_us=quarters * _QUARTER_US,
    )
