"""Who answers a CALL that no recording covers: the CSMS's table, or the certified station at rest."""

import random
from collections.abc import Callable

from twin.engine.csms import Csms
from twin.engine.machine import Connect, Send
from twin.engine.station import Station
from twin.model import Call
from twin.protocol import codec

_BOOTED_US = 3_600_000_000  # by then a station has connected, registered and told its states
_ANSWER_US = 60_000_000  # and has answered
_MOST_TIMERS = 10_000

type Model = Callable[[str, int], str | None]


def csms_model(new_message_id: Callable[[], str], new_transaction_id: Callable[[], int]) -> Model:
    """Answers of the CSMS's table: everything is accepted."""
    csms = Csms(new_message_id=new_message_id, new_transaction_id=new_transaction_id)

    def answer(text: str, now_us: int) -> str | None:
        csms.receive(text, now_us)
        said = [command.text for command in csms.take() if isinstance(command, Send)]
        return said[0] if said else None

    return answer


def station_model(new_message_id: Callable[[], str]) -> Model:
    """Answers of a booted OctoFLEX at which nothing happens; it is made when the first CALL comes."""
    held: list[_AtRest] = []

    def answer(text: str, now_us: int) -> str | None:
        if not held:
            held.append(_AtRest(new_message_id, now_us))
        return held[0].answer(text, now_us)

    return answer


class _AtRest:
    """A station whose every CALL is accepted, moved on by the CALLs it gets."""

    def __init__(self, new_message_id: Callable[[], str], now_us: int) -> None:
        self._csms = Csms(new_message_id=new_message_id, new_transaction_id=iter(range(1, 1 << 31)).__next__)
        self._station = Station(
            random=random.Random(1).random,  # noqa: S311  # a seeded model, no secret
            new_message_id=new_message_id,
        )
        self._said: dict[str, str] = {}
        self._station.start(now_us - _BOOTED_US)
        self._run_until(now_us, "")

    def answer(self, text: str, now_us: int) -> str | None:
        message = codec.parse(text).message
        if not isinstance(message, Call):
            return None
        self._run_until(now_us, "")
        self._station.receive(text, now_us)
        self._run_until(now_us + _ANSWER_US, message.message_id)
        return self._said.pop(message.message_id, None)

    def _run_until(self, until_us: int, wanted: str) -> None:
        """Let it act by its timers, each CALL of its own answered at once; no further than to ``wanted``."""
        now_us = until_us
        for _ in range(_MOST_TIMERS):
            self._settle(now_us)
            due_us = self._station.next_timer()
            if wanted in self._said or due_us is None or due_us > until_us:
                return
            now_us = due_us
            self._station.handle_timer(due_us)

    def _settle(self, now_us: int) -> None:
        while commands := self._station.take():
            for command in commands:
                if isinstance(command, Connect):
                    self._station.connected(now_us)
                if not isinstance(command, Send):
                    continue
                message = codec.parse(command.text).message
                if not isinstance(message, Call):
                    if message is not None:
                        self._said[message.message_id] = command.text
                    continue
                self._csms.receive(command.text, now_us)
                for answer in self._csms.take():
                    if isinstance(answer, Send):
                        self._station.receive(answer.text, now_us)
