"""Scenarios: what happens to a station and when, as a small TOML file.

Each ``[[act]]`` says ``do`` and when: ``at`` since the start or ``after`` the act before it, in seconds or as
"HH:MM:SS"; ``[from, to]`` draws from that span. ``times`` and ``every`` repeat an act.
"""

import tomllib
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Literal

import msgspec

from twin.engine.station.plant import Act, Car
from twin.protocol.timestamps import SECOND_US

_MOST_ACTS = 100_000
_CLOCK_PARTS = 3

type Moment = float | str | tuple[float | str, float | str]


class ScenarioError(ValueError):
    """The file is no scenario; the text says where and why."""


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """One ``[[act]]`` as it is written."""

    do: Literal[
        "plug", "unplug", "tag", "fault", "clear", "power off", "power on", "link down", "link up", "wait"
    ]
    at: Moment | None = None
    after: Moment | None = None
    connector: int = 0
    tag: str = ""
    car: Car = Car()
    error_code: str = "InternalError"
    times: int = 1
    every: Moment | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    act: list[_Line] = []
    about: str = ""


_NEEDS = {"tag": "tag"} | dict.fromkeys(("plug", "unplug", "fault", "clear"), "connector")


def read_scenario(text: str, random: Callable[[], float]) -> list[tuple[int, Act]]:
    """The acts in order, each with its time in µs since the start. Raises ``ScenarioError``."""
    try:
        written = msgspec.convert(tomllib.loads(text), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ScenarioError(str(error)) from error
    acts: list[tuple[int, Act]] = []
    last_us = 0
    for number, line in enumerate(written.act, start=1):
        try:
            last_us = _add(acts, line, last_us, random)
        except ValueError as error:
            raise ScenarioError(f"act {number} ({line.do}): {error}") from error
    return sorted(acts, key=lambda timed: timed[0])


def built_in(name: str) -> str | None:
    """The text of a scenario that comes along, by its name."""
    return next((text for known, text in built_ins().items() if known == name), None)


def built_ins() -> dict[str, str]:
    """The scenarios that come along: their texts by name."""
    folder = files("twin.engine.station") / "scenarios"
    return {
        entry.name.removesuffix(".toml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }


def _add(acts: list[tuple[int, Act]], line: _Line, last_us: int, random: Callable[[], float]) -> int:
    """Append what one line asks for; the time of its first act."""
    need = _NEEDS.get(line.do)
    if need and not getattr(line, need):
        raise ValueError(f"{need} is missing")
    if line.at is not None and line.after is not None:
        raise ValueError("at and after: take one of them")
    if line.times < 1 or len(acts) + line.times > _MOST_ACTS:
        raise ValueError(f"times is {line.times}; a scenario has 1 to {_MOST_ACTS:,} acts")
    if line.times > 1 and line.every is None:
        raise ValueError("times without every")
    first_us = _us(line.at, random) if line.at is not None else last_us + _us(line.after or 0, random)
    at_us = first_us
    for _ in range(line.times):
        if line.do != "wait":
            acts.append((at_us, _act(line)))
        at_us += _us(line.every or 0, random)
    return first_us


def _act(line: _Line) -> Act:
    do: Any = line.do
    return Act(do=do, connector_id=line.connector, tag=line.tag, car=line.car, error_code=line.error_code)


def _us(moment: Moment, random: Callable[[], float]) -> int:
    if isinstance(moment, tuple):
        low, high = (_seconds(end) for end in moment)
        if high < low:
            raise ValueError(f"{list(moment)} ends before it begins")
        return int((low + (high - low) * random()) * SECOND_US)
    return int(_seconds(moment) * SECOND_US)


def _seconds(moment: float | str) -> float:
    if isinstance(moment, str):
        parts = moment.split(":")
        if not 1 < len(parts) <= _CLOCK_PARTS or not all(part.isdecimal() for part in parts):
            raise ValueError(f"{moment!r} is no time such as 07:30:00 or 01:15")
        numbers = [int(part) for part in parts] + [0] * (_CLOCK_PARTS - len(parts))
        return float(numbers[0] * 3600 + numbers[1] * 60 + numbers[2])
    if not 0 <= moment < 1e9:  # thirty years
        raise ValueError(f"{moment} s is no time of a scenario")
    return float(moment)
