"""Redaction before disk and before checks: secrets are masked, identities become keyed pseudonyms.

Values are replaced at their place in the text and keep their length and type, so the schemas still pass and
sessions still link; everything else stays byte for byte. The search works on text, not on parsed JSON, so it
also finds values in broken JSON, in JSON inside strings and in error texts.
"""

import contextlib
import hashlib
import hmac
import json
import re
from collections import OrderedDict
from typing import Any

from msgspec.structs import replace

from twin.model import Frame

MASK = "*"

# OCPP 1.6 §7: identities that link a customer or a device.
PSEUDONYM_FIELDS = {
    "idTag": "idTag",
    "parentIdTag": "idTag",
    "chargePointSerialNumber": "serial",
    "chargeBoxSerialNumber": "serial",
    "meterSerialNumber": "serial",
    "iccid": "iccid",
    "imsi": "imsi",
}
_DOMAINS = {name.casefold(): domain for name, domain in PSEUDONYM_FIELDS.items()}
# Names whose value is a secret, as field or as configuration key. PIN is a word of its own: not in "Ping".
_HUSH = r"AuthorizationKey|AuthKey|Passw|PrivateKey|(?-i:(?<![A-Za-z])PIN(?![a-z]))"
_SECRET_HEADER = re.compile(r"(?!sec-websocket-).*(?:auth|cookie|token|secret|passw|key)", re.IGNORECASE)
REDACTED = "[redacted]"
_SHORTEST_KNOWN = 6  # shorter words stand for too much else

# No pattern may take quadratic time: a peer chooses the text. Possessive and look-ahead parts see to it.
# JSON inside a string has its quotes escaped: group ``esc`` is the run of backslashes before each of them.
_QUOTE = r'(?(esc)(?P=esc))"'
_VALUE = r'(?P<value>(?(esc).*?(?=(?<!\\)(?P=esc)"|\Z)|(?:[^"\\]|\\.)*))'


def _string(name: str) -> re.Pattern[str]:
    """A member ``"name": "value"`` on any level of nesting; ``open`` is all before the value."""
    opening = rf'(?P<open>(?<!\\)(?P<esc>\\+)?"{name}{_QUOTE}\s*:\s*{_QUOTE})'
    return re.compile(opening + _VALUE, re.DOTALL | re.IGNORECASE)


_NAMES = "|".join(PSEUDONYM_FIELDS)
_FIELD = _string(rf"(?P<name>{_NAMES})")
_NUMBER = re.compile(
    rf'(?P<open>(?<!\\)(?P<esc>\\+)?"(?P<name>{_NAMES}){_QUOTE}\s*:\s*-?)(?P<value>\d+)', re.IGNORECASE
)
# What must stand somewhere in a case-folded text before a pattern is worth its time.
_IDENTITY_WORDS = ("idtag", "serialnumber", "iccid", "imsi", "ocmf")
_SECRET_WORDS = ("pin", "pass", "secret", "token", "key")
_SECRET_HINT = re.compile(_HUSH, re.IGNORECASE)
_OBJECT = re.compile(r'\{(?:[^{}"]|"(?:[^"\\]|\\.)*")*\}', re.DOTALL)
_SECRET_KEY = re.compile(rf'"key\\*"\s*:\s*\\*"[^"]*(?:{_HUSH})', re.IGNORECASE)
_KEY_VALUE = _string("value")
_SECRET_FIELD = _string(rf'(?=[^"\\]*(?:{_HUSH}))[^"\\]*+')
# ``pin=1234`` and the like outside JSON: in the free text of a DataTransfer, a description, a close reason.
_PLAIN_SECRET = re.compile(
    r"((?<![A-Za-z])(?:pin|passw(?:or)?d|passphrase|secret|token|authorizationkey|api[_-]?key)\s*[=:]\s*)"
    r"([^\s\"\\&;,=:]+)",
    re.IGNORECASE,
)
_PEM = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(.*?)(?=-----END|\Z)", re.DOTALL)
# OCMF holds the id of the customer too (Open Charge Metering Format, section "User Assignment").
_OCMF_ID = _string("ID")
_WORD = re.compile(r"[\w.\-+*#@]{6,40}")
_ADDRESS_HEADER = re.compile(r"forwarded|x-forwarded-.*|x-real-ip|true-client-ip|via", re.IGNORECASE)
_MOST_KNOWN = 10_000  # identities remembered, and pseudonyms watched for collisions
_ESCAPED = re.compile(r"(?<!\\)\\u00([2-7][0-9A-Fa-f])")
_USERINFO = re.compile(r"(:(?:\\*/){2})([^/@\s\"]+)(?=@)")
_QUERY = re.compile(
    r"([?&](?=[^=&?\s\"]*(?:token|key|passw|secret|auth|sig))[^=&?\s\"]*+=)([^&\s\"#]+)", re.IGNORECASE
)


class Redactor:
    """Both policies with one site key. ``keep_id_tags`` leaves identities as they are, never secrets."""

    def __init__(self, key: bytes, *, keep_id_tags: bool = False) -> None:
        self._key = key
        self.keep_id_tags = keep_id_tags
        self.collisions = 0  # two values of this recording that became one
        self._known: OrderedDict[str, str] = OrderedDict()  # case-folded idTag: pseudonym; never stored
        self._whose: dict[tuple[str, str], str] = {}

    @property
    def fingerprint(self) -> str:
        """Names the key in a manifest without giving it away."""
        return hmac.new(self._key, b"fingerprint", hashlib.sha256).hexdigest()[:16]

    def frame(self, frame: Frame) -> Frame:
        """The frame with its text, close reason and path redacted; the very same object if nothing was."""
        facts: dict[str, Any] = {}
        done: dict[str, str] = {}
        text = frame.text
        if text is not None:
            text = self.text(text, done)
        for name in ("reason", "path", "why", "subprotocol", "extensions"):
            if isinstance(value := frame.facts.get(name), str):
                hidden = self.text(value, done)
                if hidden != value:
                    facts[name] = hidden
        if headers := frame.facts.get("request_headers"):
            facts["request_headers"] = self._headers(headers)
        data = frame.data
        if data is not None:
            data = self._data(data, done)
        if not done and not facts:
            return frame
        if done:
            facts["redacted"] = done
        return replace(frame, text=text, data=data, facts={**frame.facts, **facts})

    def text(self, text: str, done: dict[str, str] | None = None) -> str:
        """``text`` with every secret and identity replaced; ``done`` collects field name to policy."""
        done = {} if done is None else done
        if "\\u00" in text:  # names may hide behind escapes; without anything to hide the text stays verbatim
            plain = _ESCAPED.sub(_unescaped, text)
            hidden = self._hidden(plain, done)
            return text if hidden == plain else hidden
        return self._hidden(text, done)

    def _hidden(self, text: str, done: dict[str, str]) -> str:
        text = _without_secrets(text, done)
        if self.keep_id_tags:
            return text
        folded = text.casefold()
        if any(word in folded for word in _IDENTITY_WORDS):

            def field(match: re.Match[str]) -> str:
                return self._field(match, done)

            text = _NUMBER.sub(field, _FIELD.sub(field, text))
            if "OCMF|" in text:
                text = _OCMF_ID.sub(lambda match: self._as_id_tag(match, done), text)
        if self._known and not self._known.keys().isdisjoint(_WORD.findall(folded)):
            text = _WORD.sub(lambda match: self._if_known(match, done), text)
        return text

    def _data(self, data: bytes, done: dict[str, str]) -> bytes:
        """Bytes that are no text, kept on request: still without their secrets, and of the same length."""
        text = data.decode("latin-1")
        hidden = _without_secrets(text, done)
        return data if hidden == text else hidden.encode("latin-1", "replace")

    def _headers(self, headers: Any) -> list[list[str]]:
        held = redacted_headers(headers)
        if self.keep_id_tags:
            return held
        return [
            [name, self.pseudonym("address", value) if _ADDRESS_HEADER.fullmatch(name) else value]
            for name, value in held
        ]

    def _if_known(self, match: re.Match[str], done: dict[str, str]) -> str:
        """An idTag that this recording has seen, wherever it stands now; a bare number stays one."""
        pseudonym = self._known.get(match[0].casefold())
        if pseudonym is None:
            return match[0]
        before = match.string[: match.start()].rstrip()[-1:]
        if match[0].isdigit() and before in (":", ",", "["):
            return match[0]
        done["text"] = "pseudonym"
        return pseudonym

    def _as_id_tag(self, match: re.Match[str], done: dict[str, str]) -> str:
        if not match["value"]:
            return match[0]
        done["OCMF ID"] = "pseudonym"
        return str(match["open"]) + self._remembered("idTag", match["value"])

    def _remembered(self, domain: str, value: str) -> str:
        """The pseudonym of a value; an idTag is known from now on, and a collision is noticed."""
        pseudonym = self.pseudonym(domain, value)
        folded = value.casefold()
        whose = self._whose.setdefault((domain, pseudonym), folded)
        if whose != folded:
            self.collisions += 1
        if len(self._whose) > _MOST_KNOWN:
            del self._whose[next(iter(self._whose))]
        if domain == "idTag" and len(value) >= _SHORTEST_KNOWN and any(map(str.isdigit, value)):
            self._known[folded] = pseudonym
            self._known.move_to_end(folded)
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return pseudonym

    def pseudonym(self, domain: str, value: str) -> str:
        """The pseudonym of a value: same length, digits for digits, upper-case hexadecimal otherwise."""
        message = f"{domain}\0{value.casefold()}".encode(errors="surrogatepass")
        digest = hmac.new(self._key, message, hashlib.sha256).hexdigest().upper()
        while len(digest) < len(value):
            digest += hashlib.sha256(digest.encode()).hexdigest().upper()
        if value.isascii() and value.isdigit():
            return str(int(digest, 16)).zfill(len(value))[-len(value) :]
        return digest[: len(value)]

    def _field(self, match: re.Match[str], done: dict[str, str]) -> str:
        value = match["value"]
        if not value:
            return match[0]
        done[match["name"]] = "pseudonym"
        if "\\" in value:
            with contextlib.suppress(ValueError):
                value = json.loads(f'"{value}"')
        pseudonym = self._remembered(_DOMAINS[match["name"].casefold()], value)
        if match.re is _NUMBER and pseudonym.startswith("0"):
            pseudonym = f"1{pseudonym[1:]}"  # a number of JSON
        return match["open"] + pseudonym


def _unescaped(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return match[0] if character in '"\\\x7f' else character


def _without_secrets(text: str, done: dict[str, str]) -> str:
    """The text with every secret masked by as many stars; always, whatever else may be kept."""
    folded = text.casefold()
    hushed = any(word in folded for word in _SECRET_WORDS)
    if hushed and _SECRET_HINT.search(text):
        text = _mask_secrets(text, done)

    def mask(match: re.Match[str]) -> str:
        if not match[2].strip(MASK):
            return match[0]
        done["credential"] = "removed"
        return match[1] + MASK * len(match[2])

    def mask_url(match: re.Match[str]) -> str:
        done["url"] = "removed"
        return match[1] + MASK * len(match[2])

    if "/" in text or "?" in text:
        text = _QUERY.sub(mask_url, _USERINFO.sub(mask_url, text))
    if hushed:
        text = _PEM.sub(mask, _PLAIN_SECRET.sub(mask, text))
    return text


def _mask_secrets(text: str, done: dict[str, str]) -> str:
    def mask(match: re.Match[str]) -> str:
        done["credential"] = "removed"
        return match["open"] + MASK * len(match["value"])

    def mask_object(match: re.Match[str]) -> str:
        return _KEY_VALUE.sub(mask, match[0]) if _SECRET_KEY.search(match[0]) else match[0]

    masked = _SECRET_FIELD.sub(mask, _OBJECT.sub(mask_object, text))
    if masked == text and _SECRET_KEY.search(text):
        return _KEY_VALUE.sub(mask, text)  # an odd shape: rather too much than too little
    return masked


def redacted_headers(headers: Any) -> list[list[str]]:
    """Request headers with the values of the secret ones removed, whatever their case."""
    return [
        [str(name), REDACTED if _SECRET_HEADER.match(str(name)) else str(value)] for name, value in headers
    ]
