"""Members ``"name": value`` found in text that need not be JSON, on any level of strings inside strings.

Nothing here may take quadratic time: a peer chooses the text.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

Kind = Literal["string", "number", "many"]
Edit = tuple[int, int, str]  # from, to, what stands there from now on

_TOKEN = re.compile(r'(?<!\\)\\*+"|[\[\]{}]')
_QUOTE = re.compile(r'(?<!\\)\\*+"')
_REST_OF_STRING = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*+', re.DOTALL)
_NUMBER = re.compile(r"-?(\d[\d.eE+\-]*)")
_BRACE = re.compile(r"[{}]")
_ITEM = re.compile(r'(?<!\\)\\*+"|(?<![\w.])\d+(?![\w.])')
_COLON = re.compile(r"\s*:")
_ESCAPED = re.compile(r"(?<!\\)(\\+)u00([2-7][0-9A-Fa-f])")


class Member(NamedTuple):
    """Where a value stands in the text, without its quotes."""

    name: str
    start: int
    end: int
    kind: Kind


def named(pattern: str) -> re.Pattern[str]:
    """Finds the names that ``pattern`` matches whole; ``esc`` escapes their quotes in a string."""
    # ASCII: to IGNORECASE alone the dotless i is an i too.
    return re.compile(
        rf'(?<!\\)(?P<esc>\\+)?"(?P<name>{pattern})(?(esc)(?P=esc))"\s*:\s*', re.IGNORECASE | re.ASCII
    )


def members(names: re.Pattern[str], text: str, *, nested: bool = False) -> Iterator[Member]:
    """Every member with such a name, from left to right, none inside another's value.

    Lists are taken if they hold no other; with ``nested`` objects and lists of any depth.
    """
    place = 0
    while (match := names.search(text, place)) is not None:
        found = _value(text, match, nested=nested)
        place = match.end() if found is None else max(match.end(), found.end)
        if found is not None:
            yield found


def _value(text: str, match: re.Match[str], *, nested: bool) -> Member | None:
    name, start, quote = match["name"], match.end(), (match["esc"] or "") + '"'
    if text.startswith(quote, start):
        start += len(quote)
        return Member(name, start, _end_of_string(text, start, quote), "string")
    if number := _NUMBER.match(text, start):
        return Member(name, number.start(1), number.end(1), "number")
    if text[start : start + 1] in (("[", "{") if nested else ("[",)):
        return Member(name, start, _end_of_brackets(text, start, quote, nested=nested), "many")
    return None


def _end_of_string(text: str, start: int, quote: str) -> int:
    if quote == '"':
        rest = _REST_OF_STRING.match(text, start)
        return rest.end() if rest else start
    own = len(quote) - 1
    for found in _QUOTE.finditer(text, start):
        run = len(found[0]) - 1
        # Escaped backslashes of this level may stand before it; with fewer than ours an outer string ends.
        if run < own or (run - own) % (2 * own + 2) == 0:
            return found.end() - 1 - min(run, own)
    return len(text)


def _end_of_brackets(text: str, start: int, quote: str, *, nested: bool) -> int:
    """Where a list or object ends; without ``nested`` no further than another one in it."""
    depth, place = 0, start
    while (found := _TOKEN.search(text, place)) is not None:
        mark, place = found[0], found.end()
        if mark[-1] == '"':
            if len(mark) < len(quote):  # the string around it ends
                return found.start()
            place = _end_of_string(text, place, mark) + len(mark)
            continue
        depth += 1 if mark in "[{" else -1
        if not depth or (depth > 1 and not nested):
            return place
    return len(text)


def items(text: str, start: int, end: int) -> Iterator[tuple[int, int, Kind]]:
    """Strings that are no names, and whole numbers, in a list or an object."""
    place = start
    while (found := _ITEM.search(text, place, end)) is not None:
        mark, place = found[0], found.end()
        if mark[-1] != '"':
            yield found.start(), found.end(), "number"
            continue
        begin, stop = place, _end_of_string(text, place, mark)
        place = stop + len(mark)
        if stop > begin and not _COLON.match(text, place):
            yield begin, stop, "string"


_PAIRED = named("key|name|value")


def values_of(text: str, wanted: Callable[[str], object]) -> Iterator[Member]:
    """The values of wanted keys in ``{"key": …, "value": …}``, named by their keys, whatever their order.

    In an odd or broken shape the values beside the key are given: rather too many than too few.
    """
    tokens = list(_with_object(text))
    names: dict[int, str] = {}
    beside: dict[int, str] = {}
    filled = {number for number, found in tokens if found.name.casefold() == "value"}
    for place, (number, found) in enumerate(tokens):
        key = text[found.start : found.end]
        if found.name.casefold() == "value" or not wanted(key):
            continue
        names[number] = key
        if number not in filled:
            beside[place - 1] = beside[place + 1] = key
    for place, (number, found) in enumerate(tokens):
        key = names.get(number) or beside.get(place) or ""
        if key and found.name.casefold() == "value":
            yield found._replace(name=key)


def _with_object(text: str) -> Iterator[tuple[int, Member]]:
    """Keys and values, also those in JSON inside a value, with the number of braces before them."""
    braces = [match.start() for match in _BRACE.finditer(text)]
    passed = number = 0
    for match in _PAIRED.finditer(text):
        found = _value(text, match, nested=False)
        if found is None:
            continue
        while passed < len(braces) and braces[passed] < found.start:
            passed += 1
            number += 1
        yield number, found
        if "\\" not in text[found.start : found.end]:  # no JSON inside: its braces are no end of the object
            while passed < len(braces) and braces[passed] < found.end:
                passed += 1


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with its edits, in their order; one inside another is left out."""
    parts: list[str] = []
    place = 0
    for start, end, new in edits:
        if start < place:
            continue
        parts += (text[place:start], new)
        place = end
    parts.append(text[place:])
    return "".join(parts)


def unescaped(text: str) -> str:
    r"""The same JSON with ASCII written as itself: names may hide behind ``\u0069``.

    Quotes of strings inside strings are ``\u0022`` where .NET wrote them; they become ``\"``.
    """
    return _ESCAPED.sub(_as_itself, text)


def _as_itself(match: re.Match[str]) -> str:
    character = chr(int(match[2], 16))
    if character == "\x7f":
        return match[0]
    return "\\" * _backslashes(len(match[1]), quoted=character in '"\\') + character


def _backslashes(count: int, *, quoted: bool) -> int:
    """How many belong before what ``count`` and ``u00xx`` spelt; an even run is of a deeper level."""
    if count % 2:
        return count if quoted else count - 1
    deeper = _backslashes(count // 2, quoted=quoted)
    return 2 * deeper + 1 if quoted else 2 * deeper
