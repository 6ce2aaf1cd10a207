"""Who is who in a replay: recorded station ids and idTags, and those that the live CSMS knows."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from twin.engine.recording import recording_of
from twin.engine.replay.audit import suspects
from twin.engine.replay.binding import SPOTS, Space
from twin.model import Frame
from twin.protocol.places import places


class Identities(msgspec.Struct, frozen=True, kw_only=True):
    """``stations`` and ``tags`` from recorded to live, ``passwords`` (HTTP Basic) by live station id.

    ``workers`` are the live ids of parallel workers: one of them plays one capture at a time under it.
    """

    stations: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    passwords: Mapping[str, str] = {}
    workers: tuple[str, ...] = ()

    def station(self, recorded: str) -> str:
        return self.stations.get(recorded, recorded)


_TABLES = ("stations", "tags", "passwords", "workers")


def identities_of(document: Mapping[str, Any], source: str) -> Identities:
    """What ``ids.toml`` says. Raises ``ValueError`` that names the table and what is wrong with it."""
    for name, table in document.items():
        if name not in _TABLES:
            raise ValueError(f"{source}: unknown table [{name}]; there are {', '.join(_TABLES)}")
        if name == "workers":
            if not isinstance(table, list) or not all(isinstance(one, str) and one for one in table):
                raise ValueError(f"{source}: workers: expected a list of station ids")
        elif not isinstance(table, dict) or not all(isinstance(one, str) for one in table.values()):
            raise ValueError(f"{source}: [{name}]: expected texts, recorded = live")
    workers = list(document.get("workers", ()))
    if (twice := next((one for one in workers if workers.count(one) > 1), None)) is not None:
        raise ValueError(
            f"{source}: workers: {twice!r} stands there twice, and two at once would be one station"
        )
    for name in ("stations", "tags"):
        live = list(document.get(name, {}).values())
        if (twice := next((one for one in live if live.count(one) > 1), None)) is not None:
            raise ValueError(f"{source}: [{name}]: {twice!r} stands for two recorded ones")
    return Identities(
        stations=document.get("stations", {}),
        tags=document.get("tags", {}),
        passwords=document.get("passwords", {}),
        workers=tuple(document.get("workers", ())),
    )


class Needs(msgspec.Struct, kw_only=True):
    """What a CSMS must know before captures are replayed against it.

    ``stations`` in order of appearance; ``tags`` with the status that the recorded CSMS gave each last;
    ``parents`` by tag; ``passwords``: stations that gave one (HTTP Basic; no recording holds it);
    ``stimuli``: how many CALLs of each action somebody must make the CSMS send; ``unbound``: where values
    stand that look like ids and are bound nowhere.
    """

    stations: list[str] = msgspec.field(default_factory=list)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    parents: dict[str, str] = msgspec.field(default_factory=dict)
    passwords: list[str] = msgspec.field(default_factory=list)
    stimuli: dict[str, int] = msgspec.field(default_factory=dict)
    unbound: list[str] = msgspec.field(default_factory=list)


def add_needs(needs: Needs, frames: Iterable[Frame]) -> None:
    """What one more capture asks for."""
    held = list(frames)
    for frame in held:
        if frame.station and frame.station not in needs.stations:
            needs.stations.append(frame.station)
        if "auth" in frame.facts and frame.station not in needs.passwords:
            needs.passwords.append(frame.station)
    for one in suspects(held):
        told = f"{one.born} -> {one.used} ({one.values} values, {one.example})"
        needs.unbound += [told] if told not in needs.unbound else []
    for exchange in recording_of(held).exchanges:
        call = exchange.call
        if call.frame is None or call.frame.text is None:
            continue
        if call.sender == "csms":
            needs.stimuli[call.action] = needs.stimuli.get(call.action, 0) + 1
        tags = _values(call.frame.text, call.action, "idTag", answer=False)
        for tag in tags:
            needs.tags.setdefault(tag, "")
        answer = exchange.answer.frame.text if exchange.answer and exchange.answer.frame else None
        if not tags or answer is None:
            continue
        for _, _, status in places(answer, (2, "idTagInfo", "status")):
            needs.tags[tags[0]] = str(status)
        for parent in _values(answer, call.action, "parentIdTag", answer=True):
            needs.parents[tags[0]] = parent


def _values(text: str, action: str, name: str, *, answer: bool) -> list[str]:
    return [
        value
        for spot in SPOTS
        if spot.space is Space.TAG
        and (spot.action, spot.answer) == (action, answer)
        and spot.path[-1] == name
        for _, _, value in places(text, (2 if answer else 3, *spot.path))
        if isinstance(value, str)
    ]
