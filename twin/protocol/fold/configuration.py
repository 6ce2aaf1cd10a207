"""Fold: configuration values and where each was seen."""

from typing import Any

from msgspec.structs import replace

from twin.model import Event
from twin.protocol.fold.payloads import (
    REMEMBERED_WORDS,
    as_object,
    asked_payload,
    newest,
    payload_of,
)
from twin.protocol.state import Configured, Source, StationState


def read(state: StationState, event: Event) -> StationState:
    """GetConfiguration.conf: values, unknown keys, and the whole list where no key was named."""
    payload = payload_of(event)
    held = [as_object(entry) for entry in _list(payload.get("configurationKey"))]
    pairs = [(entry.get("key"), entry.get("value")) for entry in held]
    texts = [(key, value) for key, value in pairs if isinstance(key, str) and isinstance(value, str)]
    names = frozenset(key.casefold() for key, _ in pairs if isinstance(key, str))
    unknown = {key.casefold() for key in _list(payload.get("unknownKey")) if isinstance(key, str)}
    unknown_keys = (state.unknown_keys | unknown) - names
    if unknown_keys != state.unknown_keys and len(unknown_keys) <= REMEMBERED_WORDS:
        state = replace(state, unknown_keys=unknown_keys)
    if not _list(asked_payload(event).get("key")) and len(names) <= REMEMBERED_WORDS:
        state = replace(state, listed_keys=names)
    return configure(state, event, Source.READ, *texts)


def written(state: StationState, event: Event) -> StationState:
    """ChangeConfiguration.conf: in force at once, or from the next boot on."""
    asked = asked_payload(event)
    key, value = asked.get("key"), asked.get("value")
    if not isinstance(key, str) or not isinstance(value, str):
        return state
    match payload_of(event).get("status"):
        case "Accepted":
            return configure(state, event, Source.WRITTEN, (key, value))
        case "RebootRequired":
            waiting = _configured(event, key, value, Source.WRITTEN)
            later = newest({**state.awaiting_reboot, key.casefold(): waiting}, REMEMBERED_WORDS)
            return replace(state, awaiting_reboot=later)
    return state


def configure(state: StationState, event: Event, source: Source, *values: tuple[str, str]) -> StationState:
    """``values`` (key, text) are in force from now on."""
    config = dict(state.config)
    changed, seen = set(), False
    for key, value in values:
        known = config.get(key.casefold())
        written = source is Source.WRITTEN and known is not None and known.source is not source
        # a read-back does not make a written value younger, and a write of what is there already is one
        if known is None or known.value != value or written:
            if state.text_in_force(key) != value:
                changed.add(key.casefold())
            config[key.casefold()] = _configured(event, key, value, source)
            seen = True
    if not seen:
        return state
    state = replace(state, config=newest(config, REMEMBERED_WORDS))
    if "metervaluesampleinterval" in changed:
        # 9.1.19: a new interval restarts the phase of the periodic samples
        open_ = {key: replace(tx, sampled_us=None) for key, tx in state.transactions.items()}
        state = replace(state, transactions=open_)
    return state


def _configured(event: Event, key: str, value: str, source: Source) -> Configured:
    return Configured(key, value, source, event.frame.seq if event.frame else 0, event.at_us)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
