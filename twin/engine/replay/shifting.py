"""Times inside payloads, moved with the replay: at the value's place, in the form that they had."""

import re
from datetime import UTC, datetime, timedelta
from functools import cache

from twin.protocol.actions import ACTIONS
from twin.protocol.schema import schema_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What RFC 3339 and its usual relatives share; a text that is none of them stays as it is.
_STAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)([Tt ])(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)


def shifted(text: str, by_us: int) -> str:
    """The message with every date-time field of OCPP 1.6 moved by ``by_us``; the rest byte for byte."""
    if not by_us:
        return text
    return _fields().sub(lambda match: f"{match[1]}{_moved(match[2], by_us)}{match[3]}", text)


@cache
def _fields() -> re.Pattern[str]:
    names = "|".join(sorted(map(re.escape, _date_times())))
    return re.compile(rf'("(?:{names})"\s*:\s*")([^"\\]{{1,40}})(")')


def _date_times() -> set[str]:
    """The names of all fields whose format is date-time, in any message."""
    found: set[str] = set()
    waiting = [schema_of(action, answer) for action in ACTIONS for answer in (False, True)]
    while waiting:
        schema = waiting.pop()
        for name, field in schema.get("properties", {}).items():
            waiting.append(field)
            if field.get("format") == "date-time":
                found.add(name)
        if isinstance(items := schema.get("items"), dict):
            waiting.append(items)
    return found


def _moved(stamp: str, by_us: int) -> str:
    match = _STAMP.fullmatch(stamp)
    if match is None:
        return stamp
    day, joint, clock, fraction, zone = match.groups()
    digits = len(fraction or "")
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC)
        units = 10**digits
        whole = (moment - _EPOCH) // timedelta(seconds=1) * units + int(fraction or 0)
        whole += round(by_us * units / 1_000_000)
        seconds, part = divmod(whole, units)
        text = (_EPOCH + timedelta(seconds=seconds)).strftime(f"%Y-%m-%d{joint}%H:%M:%S")
    except (ValueError, OverflowError):
        return stamp  # no such date, or one that nobody can write
    return f"{text}{f'.{part:0{digits}}' if digits else ''}{zone or ''}"
