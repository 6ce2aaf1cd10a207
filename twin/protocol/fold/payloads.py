"""What every fold function shares: typed looks into payloads of any shape, and bounded mappings."""

from collections.abc import Iterator, Mapping
from typing import Any

from twin.model import Event
from twin.protocol.timestamps import parse_stamp

_INTEGER_END = 1 << 63
REMEMBERED = 256  # of whatever the station numbers: connectors, transactions, samples
REMEMBERED_WORDS = 4096  # idTags and configuration keys

# Every payload field that holds a time, in requests and confirmations of OCPP 1.6.
TIME_FIELDS = frozenset(
    {
        "timestamp", "currentTime", "expiryDate", "validFrom", "validTo", "startSchedule", "scheduleStart",
        "startTime", "stopTime", "retrieveDate",
    }
)  # fmt: skip


def payload_of(event: Event) -> dict[str, Any]:
    """The payload of the event's own message as an object; {} for ``null`` and for any other shape."""
    payload = getattr(event.message, "payload", None)
    return payload if isinstance(payload, dict) else {}


def asked_payload(event: Event) -> dict[str, Any]:
    """The payload of the CALL that this event answers."""
    payload = event.asked.call.payload if event.asked else None
    return payload if isinstance(payload, dict) else {}


def integer(value: Any) -> int | None:
    """``value`` if it is a JSON integer of at most 64 bits; nothing that is counted needs more."""
    fits = isinstance(value, int) and not isinstance(value, bool) and -_INTEGER_END <= value < _INTEGER_END
    return value if fits else None


def word(value: Any) -> str:
    """``value`` if it is a string, else ""."""
    return value if isinstance(value, str) else ""


def as_object(value: Any) -> dict[str, Any]:
    """``value`` if it is an object, else {}."""
    return value if isinstance(value, dict) else {}


def stamps_of(payload: Any) -> Iterator[tuple[str, str]]:
    """Every time field in a payload as (JSON pointer, text), in document order."""
    todo: list[tuple[str, Any]] = [("", payload)]
    while todo:
        path, value = todo.pop()
        if type(value) is dict:
            for key, item in value.items():
                if type(item) is str:
                    if key in TIME_FIELDS:
                        yield f"{path}/{key}", item
                elif type(item) is dict or type(item) is list:
                    todo.append((f"{path}/{key}", item))
        elif type(value) is list:
            todo += [(f"{path}/{index}", item) for index, item in enumerate(value)]


def stamp_us(value: Any) -> int | None:
    """A payload's time stamp in UTC microseconds; ``None`` where it is none."""
    stamp = parse_stamp(value) if isinstance(value, str) else None
    return stamp.at_us if stamp else None


def without[K, V](mapping: Mapping[K, V], key: K) -> dict[K, V]:
    """``mapping`` without ``key``."""
    return {other: value for other, value in mapping.items() if other != key}


def newest[K, V](mapping: dict[K, V], number: int) -> dict[K, V]:
    """``mapping`` cut down, in place, to its ``number`` newest entries."""
    while len(mapping) > number:
        del mapping[next(iter(mapping))]
    return mapping
