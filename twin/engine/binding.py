"""Recorded ids and live ids: where they stand by schema path, and the bijection between them."""

import json
import re
from collections.abc import Callable
from typing import Any

from twin.model import Call
from twin.protocol import codec

# OCPP 1.6: the requests that carry an id given by StartTransaction.conf, at this top-level field.
TRANSACTION_ID_IN = frozenset({"MeterValues", "StopTransaction", "RemoteStopTransaction"})

_MESSAGE_ID = re.compile(r'^(\s*\[\s*[234]\s*,\s*)"(?:[^"\\]|\\.)*"', re.DOTALL)
_TRANSACTION_ID = re.compile(r'("transactionId"\s*:\s*)-?\d+')


class Bijection:
    """Recorded to live and back. A second partner for either side is a conflict and is refused."""

    def __init__(self) -> None:
        self._live: dict[int, int] = {}
        self._recorded: dict[int, int] = {}
        self.conflicts: list[tuple[int, int]] = []

    def bind(self, recorded: int, live: int) -> None:
        if self._live.get(recorded, live) != live or self._recorded.get(live, recorded) != recorded:
            self.conflicts.append((recorded, live))
            return
        self._live[recorded] = live
        self._recorded[live] = recorded

    def live(self, recorded: int) -> int:
        """The live id, or the recorded one where none was bound (a transaction older than the capture)."""
        return self._live.get(recorded, recorded)

    def recorded(self, live: int) -> int:
        return self._recorded.get(live, live)


def with_message_id(text: str, message_id: str) -> str:
    """The frame text under another messageId; everything else stays as it was spelt."""
    quoted = json.dumps(message_id, ensure_ascii=False)
    return _MESSAGE_ID.sub(lambda match: match[1] + quoted, text, count=1)


def with_transaction_id(text: str, action: str, bound: Callable[[int], int]) -> str:
    """The frame text of a CALL with its transactionId passed through ``bound``, spelling kept."""
    message = codec.parse(text).message
    if action not in TRANSACTION_ID_IN or not isinstance(message, Call):
        return text
    old = transaction_id_of(message.payload)
    if old is None or bound(old) == old:
        return text
    wanted = {**message.payload, "transactionId": bound(old)}
    for match in _TRANSACTION_ID.finditer(text):
        changed = f"{text[: match.start()]}{match[1]}{bound(old)}{text[match.end() :]}"
        if getattr(codec.parse(changed).message, "payload", None) == wanted:
            return changed  # the same words may stand deeper in the payload, or in a text
    return text


def transaction_id_of(payload: Any) -> int | None:
    """The integer ``transactionId`` of a payload."""
    value = payload.get("transactionId") if isinstance(payload, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
