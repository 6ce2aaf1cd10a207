"""What a replay waits for: the very messages of the other side that had come before, each by its place."""

from collections import deque
from collections.abc import Iterable

_NEVER = 1 << 62


class Gates:
    """The messages that the other side had said, in order, and which of them have come again.

    ``given_up`` are those that were waited for in vain, once for all later frames.
    """

    def __init__(self, expected: Iterable[int]) -> None:
        self._expected = deque(expected)
        self._settled: set[int] = set()
        self.given_up: list[int] = []

    @property
    def next_seq(self) -> int | None:
        """The first message that has not come."""
        while self._expected and self._expected[0] in self._settled:
            self._settled.discard(self._expected.popleft())
        return self._expected[0] if self._expected else None

    def settle(self, seq: int) -> None:
        """This message has come, or cannot come any more."""
        self._settled.add(seq)

    def open_for(self, seq: int) -> bool:
        """Whether everything that had been heard before the frame ``seq`` has been heard again."""
        next_seq = self.next_seq
        return next_seq is None or next_seq >= seq

    def give_up(self, until_seq: int | None) -> None:
        """Wait no longer for anything before ``until_seq``, ``None``: for anything at all."""
        until = _NEVER if until_seq is None else until_seq
        for seq in self._expected:
            if seq < until and seq not in self._settled:
                self.given_up.append(seq)
                self._settled.add(seq)
