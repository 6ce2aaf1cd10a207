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
_HINT = re.compile(rf"{_NAMES}|/", re.IGNORECASE)
_SECRET_HINT = re.compile(_HUSH, re.IGNORECASE)
_OBJECT = re.compile(r'\{(?:[^{}"]|"(?:[^"\\]|\\.)*")*\}', re.DOTALL)
_SECRET_KEY = re.compile(rf'"key\\*"\s*:\s*\\*"[^"]*(?:{_HUSH})', re.IGNORECASE)
_KEY_VALUE = _string("value")
_SECRET_FIELD = _string(rf'(?=[^"\\]*(?:{_HUSH}))[^"\\]*+')
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
        for name in ("reason", "path"):
            if isinstance(value := frame.facts.get(name), str):
                hidden = self.text(value, done)
                if hidden != value:
                    facts[name] = hidden
        if headers := frame.facts.get("request_headers"):
            facts["request_headers"] = redacted_headers(headers)
        if not done and not facts:
            return frame
        if done:
            facts["redacted"] = done
        return replace(frame, text=text, facts={**frame.facts, **facts})

    def text(self, text: str, done: dict[str, str] | None = None) -> str:
        """``text`` with every secret and identity replaced; ``done`` collects field name to policy."""
        done = {} if done is None else done
        if "\\u00" in text:  # names may hide behind escapes; without anything to hide the text stays verbatim
            plain = _ESCAPED.sub(_unescaped, text)
            hidden = self._hidden(plain, done)
            return text if hidden == plain else hidden
        return self._hidden(text, done)

    def _hidden(self, text: str, done: dict[str, str]) -> str:
        if _SECRET_HINT.search(text):
            text = _mask_secrets(text, done)
        if not _HINT.search(text) and "?" not in text:
            return text

        def mask(match: re.Match[str]) -> str:
            done["url"] = "removed"
            return match[1] + MASK * len(match[2])

        text = _QUERY.sub(mask, _USERINFO.sub(mask, text))
        if self.keep_id_tags:
            return text

        def field(match: re.Match[str]) -> str:
            return self._field(match, done)

        return _NUMBER.sub(field, _FIELD.sub(field, text))

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
        pseudonym = self.pseudonym(_DOMAINS[match["name"].casefold()], value)
        if match.re is _NUMBER and pseudonym.startswith("0"):
            pseudonym = f"1{pseudonym[1:]}"  # a number of JSON
        return match["open"] + pseudonym


def _unescaped(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return match[0] if character in '"\\\x7f' else character


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
