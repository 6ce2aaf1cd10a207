"""Where a value stands in a JSON text, by path: one value changes, the rest stays as it was spelt."""

import json
import re
from collections.abc import Iterator
from typing import Any

type Path = tuple[str | int, ...]
type Place = tuple[int, int, Any]  # from, to, the value in between

ANY = "*"  # every element of a list

_SPACE = re.compile(r"[ \t\n\r]*")
_value = json.JSONDecoder().raw_decode


def places(text: str, path: Path) -> list[Place]:
    """Every place that ``path`` names, from left to right; nothing where the text is no JSON or has no such.

    Of a key that stands twice in one object the last one counts, as it does for a parser.
    """
    try:
        return list(_find(text, _skip(text, 0), path))
    except (ValueError, IndexError, RecursionError):
        return []


def replaced(text: str, places_and_values: list[tuple[Place, str]]) -> str:
    """The text with other JSON at those places, which do not overlap."""
    for (start, end, _), value in sorted(places_and_values, key=lambda pair: pair[0][0], reverse=True):
        text = text[:start] + value + text[end:]
    return text


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _find(text: str, place: int, path: Path) -> Iterator[Place]:
    if not path:
        value, end = _value(text, place)
        yield place, end, value
        return
    step, rest = path[0], path[1:]
    if text[place] == "{" and isinstance(step, str) and step != ANY:
        found = None
        for key, start in _members(text, place):
            found = start if key == step else found
        if found is not None:
            yield from _find(text, found, rest)
    elif text[place] == "[":
        for number, start in enumerate(_elements(text, place)):
            if step in (number, ANY):
                yield from _find(text, start, rest)
            if step == number:
                return


def _members(text: str, place: int) -> Iterator[tuple[str, int]]:
    place = _skip(text, place + 1)
    while text[place] == '"':
        key, place = _value(text, place)
        place = _skip(text, place)
        if text[place] != ":":
            raise ValueError("no colon")
        start = _skip(text, place + 1)
        yield key, start
        place = _skip(text, _value(text, start)[1])
        if text[place] != ",":
            return
        place = _skip(text, place + 1)


def _elements(text: str, place: int) -> Iterator[int]:
    place = _skip(text, place + 1)
    while text[place] != "]":
        yield place
        place = _skip(text, _value(text, place)[1])
        if text[place] == ",":
            place = _skip(text, place + 1)
