"""A session's verdict by its parts, each reported on its own: boot, link, transactions, the rest."""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from twin.engine.recording import recording_of
from twin.engine.replay.evidence import Result, evidence_of, went_through
from twin.engine.replay.outcome import Divergence
from twin.engine.replay.streams import marked, names_of
from twin.model import Frame, Side

BOOT, LINK, CALLS, REST = "boot", "link", "calls", "rest"
_STREAMS = {"boot": BOOT, "connections": LINK}


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """A replayed session as a whole and by parts. Where there was no replay the whole has an ``error``."""

    whole: Result
    parts: dict[str, Result] = {}

    def part(self, name: str) -> Result:
        return self.parts.get(name, self.whole)


def parts_of(frames: Iterable[Frame]) -> list[str]:
    """The parts of a recording, known before anything is played: ``boot``, ``transaction-1`` … ``rest``.

    ``calls`` are the exchanges that the CSMS begins, ``link`` the connections. A prologue counts, as it does
    when the capture is played: a transaction that it starts goes on in the recording.
    """
    held = list(frames)
    exchanges = recording_of(held).exchanges
    boots = any(x.call.action == "BootNotification" and not marked(x, "prologue") for x in exchanges)
    calls = any(x.call.sender is Side.CSMS for x in exchanges)
    transactions = [_slug(name) for name in transactions_in(held)]
    return [*([BOOT] if boots else []), LINK, *transactions, *([CALLS] if calls else []), REST]


def transactions_in(frames: Iterable[Frame]) -> list[str]:
    """The transactions of a recording by the names that a comparison gives them."""
    names, _ = names_of(recording_of(frames).exchanges, [])
    return list(names.starts.values())


def by_parts(result: Result, recorded: Sequence[Frame], replayed: Sequence[Frame]) -> Played:
    """The result once for each part, with evidence of its own. What no divergence tells fails the rest."""
    whole = went_through(result.facts)
    parts = parts_of(recorded)

    def of(part: str, held: Iterable[Divergence]) -> tuple[Divergence, ...]:
        return tuple(one for one in held if _part(one.stream, parts) == part)

    found = {}
    for part in parts:
        diff = replace(
            result.diff,
            divergences=of(part, result.diff.divergences),
            known=of(part, result.diff.known),
            unstimulated=of(part, result.diff.unstimulated),
            answered=of(part, result.diff.answered),
        )
        found[part] = replace(
            result,
            diff=diff,
            passed=diff.equal and (whole or part != REST),
            evidence=evidence_of(diff, recorded, replayed),
            facts=result.facts if part == REST else {},
        )
    return Played(whole=result, parts=found)


def _part(stream: str, parts: Sequence[str]) -> str:
    part = CALLS if stream.startswith("CSMS ") else _STREAMS.get(stream, _slug(stream))
    return part if part in parts else REST


def _slug(name: str) -> str:
    return name.replace(" ", "-")
