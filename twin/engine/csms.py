"""A CSMS of ours: answers every Core CALL by a table or as it was recorded, and sends recorded CALLs."""

import json
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from twin.engine.machine import Close, Command, Send
from twin.engine.replay.binding import TRANSACTION_ID_IN, with_message_id
from twin.model import Call
from twin.protocol import codec
from twin.protocol.actions import ACTIONS
from twin.protocol.places import places, replaced
from twin.protocol.timestamps import format_us

CALL_TIMEOUT_US = 30_000_000


class Stimulus(msgspec.Struct, frozen=True):
    """A CALL that the CSMS sends of itself once ``after_calls`` CALLs of the station have come.

    ``start`` is the ordinal of the StartTransaction whose id the CALL carries, ``None`` where it has none.
    ``at_us`` is the earliest time, 0 for any.
    """

    text: str
    action: str
    after_calls: int
    start: int | None = None
    at_us: int = 0


class Script(msgspec.Struct, kw_only=True):
    """What a CSMS does: recorded answers by (action, discriminator), first in first out, and stimuli.

    ``answer_us`` is how long it takes over each answer.
    """

    interval_s: int = 300
    answer_us: int = 0
    answers: dict[tuple[str, str], list[str | None]] = msgspec.field(default_factory=dict)
    stimuli: list[Stimulus] = msgspec.field(default_factory=list)


def _discriminator(action: str, payload: dict[str, Any]) -> str:
    """What tells recorded answers of one action apart besides their order."""
    field = {"Authorize": "idTag", "StartTransaction": "idTag", "StopTransaction": "idTag"}.get(action)
    return str(payload.get(field or "vendorId", ""))


class Csms:
    """The scripted CSMS as a Machine; ids of transactions and of its own CALLs come from the outside."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        new_message_id: Callable[[], str],
        new_transaction_id: Callable[[], int],
    ) -> None:
        script = script or Script()
        self._interval_s = script.interval_s
        self._answer_us = script.answer_us
        self._held: deque[tuple[int, str]] = deque()  # answers in the making, by their time
        self._answers = {key: deque(texts) for key, texts in script.answers.items()}
        self._stimuli = deque(script.stimuli)
        self._new_message_id = new_message_id
        self._new_transaction_id = new_transaction_id
        self.transaction_ids: list[int] = []  # by ordinal of StartTransaction
        self._calls_seen = 0
        self._waiting: tuple[str, int] | None = None  # our CALL in flight and when we give it up
        self._commands: list[Command] = []
        self._due_us: int | None = None  # when the next stimulus has its time
        self._up = False

    def connected(self, now_us: int) -> None:
        self._up = True
        self._advance(now_us)

    def disconnected(self, now_us: int) -> None:
        self._up = False
        self._waiting = None
        self._held.clear()

    def next_timer(self) -> int | None:
        times = (
            self._waiting[1] if self._waiting else self._due_us,
            self._held[0][0] if self._held else None,
        )
        return min((due_us for due_us in times if due_us is not None), default=None)

    def handle_timer(self, now_us: int) -> None:
        while self._held and self._held[0][0] <= now_us:
            self._commands.append(Send(self._held.popleft()[1]))
        if self._waiting and self._waiting[1] <= now_us:
            self._waiting = None
        self._advance(now_us)

    def take(self) -> list[Command]:
        commands, self._commands = self._commands, []
        return commands

    def close(self) -> None:
        """End the connection from this side."""
        self._commands.append(Close())

    def receive(self, text: str, now_us: int) -> None:
        message = codec.parse(text).message
        if isinstance(message, Call):
            self._calls_seen += 1
            self._answer(message, now_us)
        elif message is not None and self._waiting and message.message_id == self._waiting[0]:
            self._waiting = None
        self._advance(now_us)

    def _answer(self, call: Call, now_us: int) -> None:
        payload = call.payload if isinstance(call.payload, dict) else {}
        recorded = self._answers.get((call.action, _discriminator(call.action, payload)))
        if recorded:
            text = recorded.popleft()
            if text is None:
                return
            self._say(self._as_recorded(text, call, now_us), now_us)
            return
        answer = ANSWERS.get(call.action)
        if answer is None:
            # OCPP-J 1.6 table 7: unknown action, known but not supported
            code = "NotSupported" if call.action in ACTIONS else "NotImplemented"
            self._say(_json([4, call.message_id, code, "", {}]), now_us)
            return
        self._say(_json([3, call.message_id, answer(self, payload, now_us)]), now_us)

    def _say(self, text: str, now_us: int) -> None:
        if self._answer_us:
            self._held.append((now_us + self._answer_us, text))
        else:
            self._commands.append(Send(text))

    def _as_recorded(self, text: str, call: Call, now_us: int) -> str:
        """A recorded answer with the live ids and times."""
        message = codec.parse(text).message
        payload = getattr(message, "payload", None)
        if isinstance(payload, dict) and ("currentTime" in payload or "transactionId" in payload):
            live = dict(payload)
            if "currentTime" in live:
                live["currentTime"] = _now(now_us)
            if "transactionId" in live:
                live["transactionId"] = self._start()
            return _json([3, call.message_id, live])
        return with_message_id(text, call.message_id)

    def _advance(self, now_us: int) -> None:
        self._due_us = None
        if not self._up or self._waiting or not self._stimuli:
            return
        stimulus = self._stimuli[0]
        if stimulus.at_us > now_us:
            self._due_us = stimulus.at_us
            return
        started = stimulus.start is None or stimulus.start < len(self.transaction_ids)
        if stimulus.after_calls > self._calls_seen or not started:
            return
        self._stimuli.popleft()
        message_id = self._new_message_id()
        text = with_message_id(stimulus.text, message_id)
        if stimulus.start is not None and stimulus.action in TRANSACTION_ID_IN:
            live = str(self.transaction_ids[stimulus.start])
            text = replaced(text, [(place, live) for place in places(text, (3, "transactionId"))])
        self._waiting = (message_id, now_us + CALL_TIMEOUT_US)
        self._commands.append(Send(text))

    def _start(self) -> int:
        self.transaction_ids.append(self._new_transaction_id())
        return self.transaction_ids[-1]

    def boot(self, payload: dict[str, Any], now_us: int) -> dict[str, Any]:
        return {"status": "Accepted", "currentTime": _now(now_us), "interval": self._interval_s}

    def heartbeat(self, payload: dict[str, Any], now_us: int) -> dict[str, Any]:
        return {"currentTime": _now(now_us)}

    def authorize(self, payload: dict[str, Any], now_us: int) -> dict[str, Any]:
        return {"idTagInfo": {"status": "Accepted"}}

    def start_transaction(self, payload: dict[str, Any], now_us: int) -> dict[str, Any]:
        return {"transactionId": self._start(), "idTagInfo": {"status": "Accepted"}}

    def empty(self, payload: dict[str, Any], now_us: int) -> dict[str, Any]:
        return {}

    def data_transfer(self, payload: dict[str, Any], now_us: int) -> dict[str, Any]:
        return {"status": "UnknownVendorId"}


# What the CSMS answers where no recorded answer is left (OCPP 1.6 chapter 4).
ANSWERS: dict[str, Callable[[Csms, dict[str, Any], int], dict[str, Any]]] = {
    "Authorize": Csms.authorize,
    "BootNotification": Csms.boot,
    "DataTransfer": Csms.data_transfer,
    "Heartbeat": Csms.heartbeat,
    "MeterValues": Csms.empty,
    "StartTransaction": Csms.start_transaction,
    "StatusNotification": Csms.empty,
    "StopTransaction": Csms.empty,
}


def _now(now_us: int) -> str:
    """RFC 3339 with milliseconds, as the field writes it."""
    return format_us(now_us)[:23] + "Z"


def _json(elements: list[Any]) -> str:
    return json.dumps(elements, separators=(",", ":"), ensure_ascii=False, default=str)
