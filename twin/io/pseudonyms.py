"""Identities become keyed pseudonyms of the same length and type, wherever they stand."""

import contextlib
import hashlib
import hmac
import json
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator

from twin.io.members import Edit, Member, edited, items, members, named, values_of

# OCPP 1.6 §7: identities that link a customer or a device; and what vendors and OCPP 2 call them.
_NAMES = (
    r"(?:parent|group)?_?id_?tags?|(?:parent|group)?_?id_?tokens?|tag_?id|rfid(?:_?(?:tag|uid|card))?|emaid"
    r"|(?:charge_?(?:point|box)_?|meter_?)?serial(?:_?n(?:umber|o))?|iccid|imsi"
)
# What must stand somewhere in a case-folded text before a pattern is worth its time.
_WORDS = ("tag", "token", "rfid", "serial", "iccid", "imsi", "ocmf", "emaid", "card", "uid")
_FIELD = named(_NAMES)
# A configuration key that holds one: FreeVendActiveIdTag, ChargePointSerialNumber, ICCID.
_KEY = re.compile(r"id_?tag|id_?token|serial_?n|iccid|imsi|rfid_?(?:tag|uid|card)", re.IGNORECASE | re.ASCII)
# ``idTag=04A2…``, ``'idTag': '04A2…'``, ``idTag 04A2… is blocked``: not a member of JSON.
_FREE = re.compile(
    rf"""(?<![A-Za-z])(?:(?P<name>{_NAMES})(?:'?\s*:|\\*["']?\s*=|>|\s(?=[\s"']*[\w.*:\-]*\d))|(?:tag|card|uid)(?:\s*[=:]|\s)"""
    r"""(?=\s*[0-9A-F]{8}))\s*\\*["']?(?P<value>(?![\[{])[^\s"'\\&;,<>(){}\[\]]+)""",
    re.IGNORECASE | re.ASCII,
)
# OCMF holds the id of the customer too (Open Charge Metering Format, section "User Assignment").
_OCMF_ID = named("ID")
_NAME = re.compile(_NAMES, re.IGNORECASE | re.ASCII)
_PART_BEFORE = re.compile(r"(?:\d|\d\.)\Z")
_PART_BEHIND = re.compile(r"\.?\d")
_DIGITS = re.compile(r"\d+")
_DATE = re.compile(r"\d{4}-\d\d-\d\dt[\d:.]+(?:z|[+-]\d\d:\d\d)?", re.ASCII)
_HAS_DIGIT = re.compile(r"\d")
# Where a text of digits is a quantity or a number of somebody else's, not a card.
_QUANTITY = re.compile(r'"(?:value|meterStart|meterStop|transactionId|reservationId)\\*"\s*:\s*\\*"\Z')
_NESTED_NUMBER = re.compile(r'\\"\s*:\s*-?\Z')

_SHORTEST_KNOWN, _LONGEST_KNOWN = 6, 64  # shorter words stand for too much else
_MOST_KNOWN = 10_000  # identities remembered, and pseudonyms watched for collisions
_MOST_HARMLESS = 4_096


class Pseudonyms:
    """One key's pseudonyms, and the idTags of this recording, which are never stored."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.collisions = 0  # two values of this recording that became one
        self._known: OrderedDict[str, str] = OrderedDict()  # case-folded idTag: pseudonym
        self._heads: Counter[str] = Counter()  # the first characters of those known: how many begin so
        self._lengths: Counter[int] = Counter()
        self._whose: dict[tuple[str, str], str] = {}
        self._harmless: set[str] = set()  # pieces of text without a digit, so without an idTag

    def of(self, domain: str, value: str) -> str:
        """Same length, digits for digits, upper-case hexadecimal otherwise; case-folded, for CiStrings."""
        message = f"{domain}\0{value.casefold()}".encode(errors="surrogatepass")
        parts = [hmac.digest(self._key, message, "sha256").hex().upper()]
        for _ in range((len(value) - 1) // 64):
            parts.append(hashlib.sha256(parts[-1].encode()).hexdigest().upper())
        if value.isascii() and value.isdigit():
            if len(value) <= 64:
                return str(int(parts[0], 16)).zfill(len(value))[-len(value) :]
            parts = [str(int(part, 16)).zfill(64)[-64:] for part in parts]
        return "".join(parts)[: len(value)]

    def remembered(self, domain: str, value: str) -> str:
        """The pseudonym of a value; an idTag is known from now on, and a collision is noticed."""
        pseudonym = self.of(domain, value)
        if len(value) > _LONGEST_KNOWN:
            return pseudonym
        folded = value.casefold()
        whose = self._whose.setdefault((domain, pseudonym), folded)
        if whose != folded:
            self.collisions += 1
        if len(self._whose) > _MOST_KNOWN:
            del self._whose[next(iter(self._whose))]
        if domain == "idTag" and len(folded) >= _SHORTEST_KNOWN and _HAS_DIGIT.search(folded):
            self._know(folded, pseudonym)
        return pseudonym

    def _know(self, folded: str, pseudonym: str) -> None:
        if folded not in self._known:
            self._count(folded, 1)
        self._known[folded] = pseudonym
        self._known.move_to_end(folded)
        if len(self._known) > _MOST_KNOWN:
            self._count(self._known.popitem(last=False)[0], -1)

    def _count(self, folded: str, step: int) -> None:
        head, length = folded[:_SHORTEST_KNOWN], len(folded)
        self._heads[head] += step
        self._lengths[length] += step
        if not self._heads[head]:
            del self._heads[head]
        if not self._lengths[length]:
            del self._lengths[length]

    def hidden(self, text: str, folded: str, done: dict[str, str]) -> str:
        """The text with pseudonyms for identities; ``done`` learns their names."""
        for word in _WORDS:
            if word in folded:
                text = self._fields(text, folded, done)
                folded = text.casefold()
                break
        if self._known and any(map(self._may_hold, set(folded.split('"')) - self._harmless)):
            return self._without_known(text, done)
        return text

    def _fields(self, text: str, folded: str, done: dict[str, str]) -> str:
        text = edited(text, self._edits(text, members(_FIELD, text), done))
        if '"value' in folded and _KEY.search(text):
            text = edited(text, self._edits(text, values_of(text, _KEY.search), done))
        if "OCMF|" in text:
            text = edited(text, self._edits(text, members(_OCMF_ID, text), done))
        return _FREE.sub(lambda match: self._free(match, done), text)

    def _edits(self, text: str, found: Iterator[Member], done: dict[str, str]) -> Iterator[Edit]:
        for member in found:
            domain, parts = _domain(member.name), [(member.start, member.end, member.kind)]
            if member.kind == "many":
                parts = list(items(text, member.start, member.end))
            for start, end, kind in parts:
                if value := text[start:end]:
                    done[member.name if _NAME.fullmatch(member.name) else domain] = "pseudonym"
                    yield start, end, self._value(domain, value, number=kind == "number")

    def _value(self, domain: str, value: str, *, number: bool) -> str:
        if number:
            return _DIGITS.sub(lambda match: _as_number(self.remembered(domain, match[0])), value)
        if "\\" in value:
            with contextlib.suppress(ValueError):
                value = json.loads(f'"{value}"')
        return self.remembered(domain, value)

    def _free(self, match: re.Match[str], done: dict[str, str]) -> str:
        domain, value = _domain(match["name"] or ""), match["value"].rstrip(".:!?")
        if not value or (domain != "idTag" and not _HAS_DIGIT.search(value)):
            return match[0]
        done["text"] = "pseudonym"
        start = match.start("value") - match.start()
        return match[0][:start] + self.remembered(domain, value) + match[0][start + len(value) :]

    def _without_known(self, text: str, done: dict[str, str]) -> str:
        """An idTag that this recording has seen, wherever it stands now; a quantity stays one."""
        folded = _folded(text)
        edits: list[Edit] = []
        start, inside = 0, False
        for index, piece in enumerate(folded.split('"')):
            if self._may_hold(piece):
                edits += self._known_in(text, folded, start, start + len(piece), inside=inside, index=index)
            inside = not inside or piece.endswith("\\")
            start += len(piece) + 1
        if edits:
            done["text"] = "pseudonym"
        return edited(text, edits)

    def _may_hold(self, piece: str) -> bool:
        if len(piece) < _SHORTEST_KNOWN or _DATE.fullmatch(piece):
            return False
        if not _HAS_DIGIT.search(piece):
            if len(self._harmless) < _MOST_HARMLESS and len(piece) <= _LONGEST_KNOWN:
                self._harmless.add(piece)
            return False
        size, heads = _SHORTEST_KNOWN, self._heads.keys()
        return not heads.isdisjoint([piece[at : at + size] for at in range(len(piece) - size + 1)])

    def _known_in(
        self, text: str, folded: str, start: int, end: int, *, inside: bool, index: int
    ) -> Iterator[Edit]:
        lengths = sorted(self._lengths, reverse=True)
        place = start
        while place <= end - _SHORTEST_KNOWN:
            length = 0
            if folded[place : place + _SHORTEST_KNOWN] in self._heads:
                length = next(
                    (size for size in lengths if folded[place : min(place + size, end)] in self._known), 0
                )
            if length:
                stop = min(place + length, end)
                tag = folded[place:stop]
                if not (tag.isdigit() and _is_quantity(text, place, stop, inside=inside, index=index)):
                    yield place, stop, self._known[tag]
                place = stop
            else:
                place += 1


def _folded(text: str) -> str:
    """Case-folded, every character at its place."""
    folded = text.casefold()
    if len(folded) == len(text):
        return folded
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def _is_quantity(text: str, start: int, end: int, *, inside: bool, index: int) -> bool:
    """Whether digits are part of a longer number, a number of JSON, a reading, or the id of the message."""
    if _PART_BEFORE.search(text, max(0, start - 2), start) or _PART_BEHIND.match(text, end):
        return True
    is_json = text[:1] in ("[", "{", " ", "\n")
    if not inside:
        return is_json
    before = text[max(0, start - 40) : start]
    if text[end : end + 1] in ('"', "\\"):
        if index == 1 and is_json and before[-1:] == '"':
            return True
        if '"key' not in text and _QUANTITY.search(before):
            return True
    return _NESTED_NUMBER.search(before) is not None


def _domain(name: str) -> str:
    folded = name.casefold()
    return next((domain for domain in ("serial", "iccid", "imsi") if domain in folded), "idTag")


def _as_number(pseudonym: str) -> str:
    return f"1{pseudonym[1:]}" if pseudonym.startswith("0") else pseudonym
