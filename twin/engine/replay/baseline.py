"""Divergences that a release is known to have: they fail nothing, new ones do, and vanished ones are told."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from twin.engine.replay.evidence import Result, went_through
from twin.engine.replay.outcome import Diff

VERSION = 1


class Baseline:
    """How often each divergence is known to occur in each session."""

    def __init__(self, known: Mapping[str, Mapping[str, int]] | None = None) -> None:
        self._known = {name: Counter(dict(counts)) for name, counts in (known or {}).items()}

    @property
    def sessions(self) -> dict[str, dict[str, int]]:
        """A copy of all that is known, by session."""
        return {name: dict(counts) for name, counts in self._known.items()}

    def apply(self, name: str, diff: Diff) -> tuple[Diff, list[str]]:
        """The diff without what is known of session ``name``, and what of it has vanished."""
        left = Counter(self._known.get(name, {}))
        new, known = [], []
        for one in diff.divergences:
            if left[one.known_as] > 0:
                left[one.known_as] -= 1
                known.append(one)
            else:
                new.append(one)
        gone = sorted(signature for signature, count in left.items() if count > 0)
        return replace(diff, divergences=tuple(new), known=(*diff.known, *known)), gone


def baseline_of(document: Any, source: str) -> Baseline:
    """A baseline as read from JSON. Raises ``ValueError`` that says what is wrong."""
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise ValueError(f"{source}: no baseline of version {VERSION}; --write-baseline makes one")
    sessions = document.get("sessions")
    fits = isinstance(sessions, dict) and all(
        isinstance(counts, dict) and all(isinstance(count, int) for count in counts.values())
        for counts in sessions.values()
    )
    if not fits:
        raise ValueError(f"{source}: expected sessions: {{name: {{divergence: count}}}}")
    return Baseline(sessions)


def document_of(diffs: Iterable[tuple[str, Diff]], before: Baseline | None = None) -> dict[str, Any]:
    """What a baseline file holds: every divergence there is now; of other sessions what was known before."""
    sessions = before.sessions if before is not None else {}
    for name, diff in diffs:
        sessions.pop(name, None)
        if counts := Counter(one.known_as for one in (*diff.known, *diff.divergences)):
            sessions[name] = dict(sorted(counts.items()))
    return {"version": VERSION, "sessions": sessions}


def against(known: Baseline | None, result: Result) -> Result:
    """The result without what is known of it; what has vanished stands in its facts."""
    if known is None or result.error:
        return result
    diff, gone = known.apply(result.capture, result.diff)
    facts = {**result.facts, "vanished": gone} if gone else result.facts
    return replace(result, diff=diff, facts=facts, passed=went_through(facts) and diff.equal)
