"""Secrets become stars of the same length, or ones where a number must stay one; no option turns that off.

The search works on text: values in broken JSON, in JSON inside strings and in free text are found too.
"""

import re
from collections.abc import Iterator

from twin.io.members import Edit, Member, edited, items, members, named, values_of

MASK = "*"

# A pattern of names begins with a set of letters, which ``re`` looks for fast (a peer may send megabytes of
# what is no text); its alternatives look back at the letter.
_FIRST = "(?-i:[AaCcEeKkMmPpSsTt])"
# PIN is a word of its own, or one in camel case: not in "Ping", "spin", "mapping".
_PIN = r"(?-i:(?<![A-Za-z].)(?:(?<=P)IN|(?<=[Pp])in)(?![a-z])|(?<=[a-z]P)(?:IN|in)(?![a-z]))|(?<=p)in_?code"
# Names whose value is a secret, as field or as configuration key. An idToken is an identity.
_NAMES = (
    r"(?<=a)uthorization_?key|(?<=a)uth_?key|(?<=p)assw|(?<=p)ass_?phrase|(?<=p)ass_?code|(?<=p)wd|(?<=p)sk"
    r"|(?<=k)ey_?code|(?:(?<=p)rivate|(?<=e)ncryption|(?<=s)ymmetric|(?<=a)pi|(?<=s)hared|(?<=m)aster"
    r"|(?<=a)ccess)[_-]?key"
    rf"|(?<=s)ecret|(?<=c)redential|(?<!id.)(?<!id_.)(?<=t)oken|{_PIN}"
)
_HUSH = rf"{_FIRST}(?:{_NAMES})"
_HUSH_OR_HEADER = rf"{_FIRST}(?:{_NAMES}|(?<![A-Za-z].)(?<=a)uthorization(?![A-Za-z]))"
_HUSHED = re.compile(_HUSH_OR_HEADER, re.IGNORECASE | re.ASCII)
# What must stand somewhere in a case-folded text before a pattern is worth its time.
_WORDS = (
    "pin",
    "pass",
    "secret",
    "token",
    "key",
    "pwd",
    "psk",
    "credential",
    "authorization",
    "bearer",
    "basic",
)
_FIELD = named(rf'(?=[^"\\]*{_HUSH_OR_HEADER})[^"\\]*+')
_FREE_VALUE = r"""(?P<quote>\\*["'])?(?P<value>(?(quote)[^"'\\]+|(?![\[{])[^\s"'\\&;,<>]+))"""
# ``pin=1234``, ``'password': 'x'``, ``<pin>1</pin>``, ``PIN is 1234``: no members of JSON.
_FREE = re.compile(
    rf"""{_HUSH}[\w-]{{0,32}}+"""
    rf"""(?:'?\s*:|\\*["']?\s*=|>|\s+is\s(?=\S*[\d"'])|(?<=[Pp][Ii][Nn])\s(?=\s*\d))\s*{_FREE_VALUE}""",
    re.IGNORECASE | re.ASCII,
)
_SCHEME = re.compile(
    r"(?-i:[AaBb])(?:(?<=a)uthorization\s*[:=]\s*(?:basic|bearer|digest|negotiate)\s+"
    r"|(?<=b)earer\s+(?=\S{6})|(?<=b)asic\s+(?=[\w+/:.\-]*[\d=]))"
    r"""(?P<value>[^\s"'\\,;<>]+)""",
    re.IGNORECASE | re.ASCII,
)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?P<value>.*?)(?=-----END|\Z)", re.DOTALL)
# A password may hold "@", and an unescaped "/" if no port can be meant.
_USERINFO = re.compile(
    r"""(?::|(?<![^\s"'=(<]))(?:\\*/){2}(?P<value>[^/\s"<>]*[^/\s"<>@](?=@)|[^/@\s":]+:(?!\d{1,5}[/\\])[^\s"@<>]{1,128}(?=@))"""
)
_QUERY = re.compile(
    r"[?&;#%](?:(?<!%)|3F|26)"
    r"(?=[^=&?%\s\"]*(?:token|key|pass|pwd|psk|secret|auth|sig|cred|(?<![a-z])pin))[^=&?%\s\"]*+(?:=|%3D)"
    r"(?P<value>[^&\s\"#\\]+)",
    re.IGNORECASE | re.ASCII,
)


def without_secrets(text: str, folded: str, done: dict[str, str]) -> str:
    """The text with every secret masked; ``done`` learns what was. ``folded`` is the text, case-folded."""
    if "@" in text and "/" in text:
        text = _USERINFO.sub(lambda match: _starred(match, "url", done), text)
    if "=" in text or "%3d" in folded:
        text = _QUERY.sub(lambda match: _starred(match, "url", done), text)
    if any(word in folded for word in _WORDS):
        text = _SCHEME.sub(lambda match: _starred(match, "credential", done), text)
        if _HUSHED.search(text):
            text = _masked(text, members(_FIELD, text, nested=True), done)
            text = _masked(text, values_of(text, _HUSHED.search), done)
            text = _FREE.sub(lambda match: _starred(match, "credential", done), text)
        text = _PEM.sub(lambda match: _starred(match, "credential", done), text)
    return text


def _starred(match: re.Match[str], what: str, done: dict[str, str]) -> str:
    value = match["value"]
    if not value.strip(MASK):
        return match[0]
    done[what] = "removed"
    before, behind = match.start("value") - match.start(), match.end("value") - match.start()
    return match[0][:before] + MASK * len(value) + match[0][behind:]


def _masked(text: str, found: Iterator[Member], done: dict[str, str]) -> str:
    edits = [edit for member in found for edit in _edits(text, member)]
    if not edits:
        return text
    done["credential"] = "removed"
    return edited(text, edits)


def _edits(text: str, member: Member) -> Iterator[Edit]:
    parts = [(member.start, member.end, member.kind)]
    if member.kind == "many":
        parts = list(items(text, member.start, member.end))
    for start, end, kind in parts:
        if text[start:end].strip(MASK):
            yield start, end, ("1" if kind == "number" else MASK) * (end - start)
