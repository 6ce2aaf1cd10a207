"""What an attempt at a test case has gathered: frames, doubts and at last a verdict, given once."""

from enum import StrEnum

import msgspec

from twin.model import Event

_MOST_EVIDENCE = 64
_MOST_NOTES = 3


class Verdict(StrEnum):
    """What a capture says of a case, the most telling first; the first four are about what was seen."""

    FAILED = "failed"
    PASSED = "passed"
    MATCHED = "matched"  # all of it was seen and nothing contradicts it, but not all it rests on is known
    INCONCLUSIVE = "inconclusive"
    NOT_SEEN = "not seen"
    NOT_APPLICABLE = "not applicable"


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt ended; ``None`` for the verdict where it was never recognised as the case."""

    verdict: Verdict | None
    why: str


class Ledger:
    """Evidence and doubts of one attempt. ``known`` in what follows: it was recognised as the case.

    ``doubts`` are about what must be so before the case: they forbid "passed" and "failed". ``notes`` forbid
    "passed" alone. ``outcome`` is ``None`` while the attempt goes on; the first one stays.
    """

    def __init__(self, doubts: list[str], note: str = "") -> None:
        self.outcome: Outcome | None = None
        self.evidence: list[int] = []
        self.doubts = doubts
        self._notes = [note] if note else []

    def dismiss(self, why: str) -> None:
        """It is something else."""
        self._end(None, why)

    def give_up(self, why: str, *, known: bool) -> None:
        """What happens next says nothing of the case any more."""
        self._end(Verdict.INCONCLUSIVE if known else None, why)

    def contradict(self, why: str, *, known: bool) -> None:
        """It went otherwise than the case has it."""
        if not known:
            self._end(None, why)
        elif self.doubts:
            self._end(Verdict.INCONCLUSIVE, f"{why}; but {self.doubts[0]}")
        else:
            self._end(Verdict.FAILED, why)

    def complete(self) -> None:
        """All of it came."""
        doubts = [*self.doubts, *self._notes]
        self._end(Verdict.MATCHED if doubts else Verdict.PASSED, "; ".join(doubts[:_MOST_NOTES]))

    def note(self, why: str) -> None:
        """Something is not known, or not as the case has it, without contradicting it."""
        if why and why not in self._notes and len(self._notes) < _MOST_NOTES:
            self._notes.append(why)

    def remember(self, event: Event) -> None:
        """The frame of an event, or of the CALL that it is about, is evidence."""
        frame = event.frame or (event.asked.frame if event.asked else None)
        if frame is not None and frame.seq not in self.evidence and len(self.evidence) < _MOST_EVIDENCE:
            self.evidence.append(frame.seq)

    def _end(self, verdict: Verdict | None, why: str) -> None:
        if self.outcome is None:
            self.outcome = Outcome(verdict, why)
