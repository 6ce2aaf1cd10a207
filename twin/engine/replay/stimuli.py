"""The CSMS's recorded CALLs that nobody made it send, and what would not have been without them."""

from collections.abc import Iterable


class Unstimulated:
    """``by_seq``: what did not happen, and the CALL that did not come for it to happen."""

    def __init__(self) -> None:
        self.by_seq: dict[int, int] = {}
        self._skipped: set[int] = set()

    @property
    def calls(self) -> list[int]:
        """``seq`` of the CALLs that never came."""
        return sorted(set(self.by_seq.values()))

    def skips(self, seq: int) -> bool:
        """Whether this frame is left out: it depends on a CALL that does not come."""
        return seq in self._skipped

    def add(self, seq: int, dependents: Iterable[int]) -> None:
        """The CALL ``seq`` does not come."""
        self.by_seq[seq] = seq
        for other in dependents:
            self.by_seq[other] = seq
            self._skipped.add(other)

    def came(self, seq: int) -> None:
        """It came after all; what has been left out for it stays so."""
        for other in [other for other, stimulus in self.by_seq.items() if stimulus == seq]:
            if other == seq or other not in self._skipped:
                del self.by_seq[other]
