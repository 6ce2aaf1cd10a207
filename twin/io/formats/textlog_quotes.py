"""Frames that a log quotes in another language's string, as they were before it quoted them.

JSON's and Go's ``\\"``, CSV's ``""``, HTML's ``&quot;`` can be undone exactly. Python's lists and a word
processor's curly quotation marks are spelt anew: they are no facts of the wire.
"""

import ast
import html
import json
import re
import warnings

from twin.io.formats.jsonlines import is_unicode, mended
from twin.io.reading import FRAME_LIKE, FRAME_START

LONGEST_LITERAL = 256 * 1024
_LEVELS = 3  # of quotation in quotation
_CELL = re.compile(r'(?:[^"]+|"")*')
_JSON_STRING = re.compile(r'(?:[^"\\]+|\\.)*', re.DOTALL)
_SIGNS = re.compile(r"""['"\[\]\\]""")
_CURLY = str.maketrans(dict.fromkeys("“”„‟″", '"'))


def unquoted(body: str) -> tuple[str, bool]:
    """The line with its frame as it was, and whether that had to be spelt anew.

    A line that holds a frame already, or nothing like one, is given back as it is.
    """
    anew = False
    for _ in range(_LEVELS):
        if FRAME_START.search(body) or (like := FRAME_LIKE.search(body)) is None:
            break
        undone = _undone(body, like)
        if undone is None:
            break
        body, anew = undone[0], anew or undone[1]
    return body, anew


def literal(text: str) -> object:
    """What Python makes of its own spelling, ``None`` if nothing."""
    if len(text) > LONGEST_LITERAL:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _undone(body: str, like: re.Match[str]) -> tuple[str, bool] | None:
    mark = like["mark"]
    if mark.startswith("\\"):
        return _of_string(body, like.start("mark")), False
    if mark == '""':
        return _of_cell(body, like.start()), False
    if mark.startswith("&"):
        return html.unescape(body), False
    if mark == "'":
        return _of_list(body, like.start())
    if mark in "“”„‟″":
        return body.translate(_CURLY), True
    return None


def _of_string(body: str, place: int) -> str:
    """A JSON string is what it says; backslashes without quotation marks around them are taken away."""
    start = body.rfind('"', 0, place)
    while start > 0 and body[start - 1] == "\\":
        start = body.rfind('"', 0, start)
    if start < 0:
        return body.replace('\\"', '"').replace("\\\\", "\\")
    match = _JSON_STRING.match(body, start + 1)
    end = match.end() if match is not None else len(body)
    inner = body[start + 1 : end]
    try:
        said = mended(json.loads(f'"{inner}"', strict=False))
    except ValueError:  # cut off, or another language's escapes
        said = inner.replace('\\"', '"').replace("\\\\", "\\")
    return f"{body[:start]}{said}{body[end + 1 :]}"


def _of_cell(body: str, place: int) -> str:
    start = body.rfind('"', 0, place)
    match = _CELL.match(body, start + 1)
    end = match.end() if match is not None else len(body)
    return body[: max(start, 0)] + body[start + 1 : end].replace('""', '"') + body[end + 1 :]


def _of_list(body: str, start: int) -> tuple[str, bool] | None:
    end = _end_of_list(body, start)
    said = literal(body[start:end]) if end else None
    if not isinstance(said, list):
        return None
    try:
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return None
    return (body[:start] + text + body[end:], True) if is_unicode(text) else None


def _end_of_list(body: str, start: int) -> int:
    """The place behind a Python list, 0 if it does not end."""
    depth, quote, place = 0, "", start
    while match := _SIGNS.search(body, place, start + LONGEST_LITERAL):
        place, sign = match.end(), match[0]
        if sign == "\\":
            place += 1
        elif sign in "'\"":
            quote = "" if sign == quote else quote or sign
        elif not quote:
            depth += 1 if sign == "[" else -1
            if depth == 0:
                return place
    return 0
