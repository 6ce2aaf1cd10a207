"""Redaction before disk and before checks: secrets are masked, identities become keyed pseudonyms.

Values are replaced at their place in the text and keep their length and type, so the schemas still pass and
sessions still link; everything else stays byte for byte. The search works on text, not on parsed JSON, so it
also finds values in broken JSON, in JSON inside strings and in error texts.
"""

import hashlib
import hmac
import re
from typing import Any

from msgspec.structs import replace

from twin.io.masking import without_secrets
from twin.io.members import unescaped
from twin.io.pseudonyms import Pseudonyms
from twin.model import Frame

_SECRET_HEADER = re.compile(r"(?!sec-websocket-).*(?:auth|cookie|token|secret|passw|key)", re.IGNORECASE)
REDACTED = "[redacted]"
_ADDRESS_HEADER = re.compile(
    r"forwarded|x-(?:original-)?forwarded-.*|x-real-ip|via|(?:.*-)?(?:client|connecting|remote|peer)-(?:ip|addr(?:ess)?)",
    re.IGNORECASE,
)
_HEADERS = "request_headers"


class Redactor:
    """Both policies with one site key. ``keep_id_tags`` leaves identities as they are, never secrets."""

    def __init__(self, key: bytes, *, keep_id_tags: bool = False) -> None:
        self._key = key
        self._pseudonyms = Pseudonyms(key)
        self.keep_id_tags = keep_id_tags

    @property
    def fingerprint(self) -> str:
        """Names the key in a manifest without giving it away."""
        return hmac.new(self._key, b"fingerprint", hashlib.sha256).hexdigest()[:16]

    @property
    def collisions(self) -> int:
        """How often a value of this recording became the pseudonym of another."""
        return self._pseudonyms.collisions

    def pseudonym(self, domain: str, value: str) -> str:
        """The pseudonym of a value, without remembering it."""
        return self._pseudonyms.of(domain, value)

    def frame(self, frame: Frame) -> Frame:
        """The frame with its text, facts and station redacted; the very same object if nothing was."""
        done: dict[str, str] = {}
        text, station, data = frame.text, frame.station, frame.data
        if text is not None:
            text = self.text(text, done)
        facts = {
            name: hidden
            for name, value in frame.facts.items()
            if isinstance(value, str) and (hidden := self.text(value, done)) != value
        }
        if not station.isalnum():  # "CP7%3Ftoken=…" was percent-decoded
            station = self.text(station, done)
        changed: dict[str, Any] = dict(facts)
        if headers := frame.facts.get(_HEADERS):
            changed[_HEADERS] = self._headers(headers, done)
        if data is not None:
            data = self._data(data, done)
        if not done and not changed:
            return frame
        if done:
            changed["redacted"] = done
        return replace(frame, text=text, station=station, data=data, facts={**frame.facts, **changed})

    def text(self, text: str, done: dict[str, str] | None = None) -> str:
        """``text`` with every secret and identity replaced; ``done`` collects field name to policy."""
        done = {} if done is None else done
        if "\\u00" in text:  # names may hide behind escapes; without anything to hide the text stays verbatim
            plain = unescaped(text)
            hidden = self._hidden(plain, done)
            return text if hidden == plain else hidden
        return self._hidden(text, done)

    def _hidden(self, text: str, done: dict[str, str]) -> str:
        folded = text.casefold()
        text = without_secrets(text, folded, done)
        return text if self.keep_id_tags else self._pseudonyms.hidden(text, folded, done)

    def _data(self, data: bytes, done: dict[str, str]) -> bytes:
        """Bytes that are no text, kept on request: still without their secrets, and of the same length."""
        text = data.decode("latin-1")
        hidden = without_secrets(text, text.casefold(), done)
        return data if hidden == text else hidden.encode("latin-1", "replace")

    def _headers(self, headers: Any, done: dict[str, str]) -> list[list[str]]:
        held = redacted_headers(headers)
        for header in held:
            if _ADDRESS_HEADER.fullmatch(header[0]) and not self.keep_id_tags:
                header[1] = self.pseudonym("address", header[1])
            elif header[1] != REDACTED:
                header[1] = self.text(header[1], done)
        return held


def redacted_headers(headers: Any) -> list[list[str]]:
    """Request headers with the values of the secret ones removed, whatever their case."""
    return [
        [str(name), REDACTED if _SECRET_HEADER.match(str(name)) else str(value)] for name, value in headers
    ]


_ONLY_SECRETS = Redactor(b"", keep_id_tags=True)


def hushed(text: str) -> str:
    """A text without secrets, as a recorder that keeps idTags would have kept it."""
    return _ONLY_SECRETS.text(text)


def hushed_frame(frame: Frame) -> Frame:
    """The frame with such a text; the very same object if there was nothing to hide."""
    text = hushed(frame.text) if frame.text is not None else None
    return frame if text == frame.text else replace(frame, text=text)
