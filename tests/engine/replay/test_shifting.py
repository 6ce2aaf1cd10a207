"""Times inside payloads: moved by exactly so much, in the form that they had; nothing else changes."""

import json
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.replay.replays import players, replayed
from tests.engine.replay.test_timing import busy
from tests.engine.stations import SECOND_US
from twin.engine.replay.shifting import shifted
from twin.engine.virtual import converse
from twin.model import Frame, Side
from twin.protocol.timestamps import parse_stamp

DAY_US = 86_400 * SECOND_US


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2026-11-22T23:59:59.950Z", "2026-11-23T00:00:00.050Z"),
        ("2026-11-22T23:59:59Z", "2026-11-22T23:59:59Z"),
        ("2026-11-22T23:59:59.95+01:00", "2026-11-23T00:00:00.05+01:00"),
        ("2026-11-22T23:59:59.950000", "2026-11-23T00:00:00.050000"),
        ("2026-11-22t10:00:00.9z", "2026-11-22t10:00:01.0z"),
        ("yesterday", "yesterday"),
        ("2026-02-30T10:00:00.000Z", "2026-02-30T10:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_by_a_tenth_of_a_second(before: str, after: str) -> None:
    text = f'[2,"a","StartTransaction",{{"idTag":"{before}","timestamp" : "{before}","meterStart":7}}]'
    assert shifted(text, 100_000) == text.replace(f'"timestamp" : "{before}"', f'"timestamp" : "{after}"')


@given(st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)), st.integers(-(10**15), 10**15))  # noqa: DTZ001  # the zone is in the text
def test_the_moment_moves_by_exactly_that(moment: datetime, by_us: int) -> None:
    written = moment.isoformat(timespec="microseconds") + "Z"
    (entry,) = json.loads(shifted(f'{{"timestamp":"{written}"}}', by_us)).values()
    stamp = parse_stamp(entry)
    assert stamp is not None
    before = parse_stamp(written)
    assert before is not None
    if 1990 < (moment + timedelta(microseconds=by_us)).year < 2090:
        assert stamp.at_us - before.at_us == by_us


def test_what_was_late_stays_as_late_in_a_replay_a_day_after() -> None:
    frames = busy()
    station, csms = players(frames, shift=True)
    _, plain = replayed(frames)
    again = converse(station, csms, station_id="CP1", start_us=frames[0].at_us + DAY_US)
    assert lateness(again) == pytest.approx(lateness(frames), abs=0.002)
    assert lateness(plain) != pytest.approx(lateness(frames), abs=0.002)


def lateness(frames: list[Frame]) -> list[float]:
    """How long after its own time stamp each CALL of the station went out, in s."""
    told = []
    for frame in frames:
        message = json.loads(frame.text) if frame.text else [0]
        if frame.sender is Side.STATION and message[0] == 2 and "timestamp" in message[3]:
            stamp = parse_stamp(message[3]["timestamp"])
            assert stamp is not None
            told.append((frame.at_us - stamp.at_us) / SECOND_US)
    return told
