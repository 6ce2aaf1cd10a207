"""When a recorded frame is due in a replay: the mode, and the played time of a recorded moment."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal

import msgspec

from twin.model import Frame
from twin.protocol.timestamps import SECOND_US

_FASTEST, _LONGEST_GAP_S = 10_000.0, 86_400.0
HELP = "causal, original, xN, max-gap=SECONDS or virtual"


class Timing(msgspec.Struct, frozen=True):
    """``causal``: nothing is due, the gates alone decide. Otherwise a frame is due as long after the start as
    it was recorded after the first one, divided by ``speed``, each silence cut to ``max_gap_us``.
    """

    mode: Literal["causal", "original"] = "causal"
    speed: float = 1.0
    max_gap_us: int | None = None
    virtual: bool = False


CAUSAL = Timing()


def timing_of(text: str) -> Timing:
    """What ``--timing`` says. Raises ``ValueError`` with what may be said."""
    match text:
        case "causal":
            return CAUSAL
        case "original":
            return Timing("original")
        case "virtual":
            return Timing("original", virtual=True)
    if text.startswith("x"):
        return Timing("original", speed=_number(text, text[1:], _FASTEST))
    if text.startswith("max-gap="):
        gap_s = _number(text, text.removeprefix("max-gap="), _LONGEST_GAP_S)
        return Timing("original", max_gap_us=int(gap_s * SECOND_US))
    raise ValueError(f"{text!r} is none of {HELP}")


def _number(text: str, digits: str, most: float) -> float:
    try:
        value = float(digits)
    except ValueError:
        value = 0.0
    if not 0 < value <= most:
        raise ValueError(f"{text!r}: expected a number above 0, at most {most:g}")
    return value


class Clockwork:
    """Played times of the frames of one recording, in µs after the first one; 0 for all where causal.

    ``cut`` lists the silences that were shortened, as (seq of the frame after it, µs left out).
    """

    def __init__(self, frames: Iterable[Frame], timing: Timing = CAUSAL) -> None:
        self.timing = timing
        self.cut: list[tuple[int, int]] = []
        self._played: dict[int, int] = {}
        self._gap_us: dict[int, int] = {}
        held = list(frames)
        played_us = 0
        if held:
            self._played[held[0].seq] = 0
        for before, frame in pairwise(held):
            gap_us = self._gap_us[frame.seq] = max(0, frame.at_us - before.at_us)
            if timing.max_gap_us is not None and gap_us > timing.max_gap_us:
                self.cut.append((frame.seq, gap_us - timing.max_gap_us))
                gap_us = timing.max_gap_us
            played_us += gap_us
            self._played[frame.seq] = int(played_us / timing.speed)

    def after_us(self, seq: int) -> int:
        """How long after the start the frame with this number is due."""
        return 0 if self.timing.mode == "causal" else self._played.get(seq, 0)

    def recorded_gap_us(self, seq: int) -> int:
        """The recorded silence before this frame."""
        return self._gap_us.get(seq, 0)

    def between_us(self, first_seq: int, second_seq: int) -> int:
        """The played time between two frames; an answer is due so long after its live CALL."""
        return max(0, self.after_us(second_seq) - self.after_us(first_seq))
