"""What a store gives back to a station, by kind."""

from collections.abc import Mapping
from typing import Any

import msgspec

from twin.engine.station.records import Queued, Tx


class Restored:
    """What the store gives back, by kind. Raises ``ValueError`` on a value that is none of ours."""

    def __init__(self, held: Mapping[str, bytes]) -> None:
        self.configuration: dict[str, str] = {}
        self.operative: dict[int, bool] = {}
        self.registers: dict[int, int] = {}
        self.transactions: list[Tx] = []
        self.queue: list[Queued] = []
        self.data: dict[int, list[dict[str, Any]]] = {}
        self.scheduled: dict[int, bool] = {}
        for key in sorted(held):
            kind, _, rest = key.partition("/")
            value = held[key]
            match kind:
                case "key":
                    self.configuration[rest] = value.decode()
                case "operative":
                    self.operative[int(rest)] = value == b"1"
                case "scheduled":
                    self.scheduled[int(rest)] = value == b"1"
                case "register":
                    self.registers[int(rest)] = int(value)
                case "transaction":
                    self.transactions.append(msgspec.json.decode(value, type=Tx))
                case "queue":
                    self.queue.append(msgspec.json.decode(value, type=Queued))
                case "data":
                    local_id = int(rest.partition("/")[0])
                    self.data.setdefault(local_id, []).append(msgspec.json.decode(value))
        self.queue.sort(key=lambda queued: queued.seq)
        for queued in self.queue:
            queued.next_us = 0  # the clock may have been set meanwhile
