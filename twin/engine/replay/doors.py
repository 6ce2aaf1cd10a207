"""The attempts to connect that a recording knows, and patience with those that it does not."""

from collections import deque
from collections.abc import Iterable

from twin.engine.replay.script import Door

_BACKOFF_US = 250_000  # before the second connection more than recorded, and twice as long each time
MOST_VAIN = 6


class Doors:
    """Which attempt is next: refused, or let in. ``vain``: how many more than recorded have led nowhere."""

    def __init__(self, doors: Iterable[Door]) -> None:
        self._left = deque(doors)
        self.vain = 0

    def __bool__(self) -> bool:
        return bool(self._left)

    @property
    def next_seq(self) -> int | None:
        """``seq`` of the next recorded attempt."""
        return self._left[0].seq if self._left else None

    @property
    def expects_refusal(self) -> bool:
        return bool(self._left) and self._left[0].refused

    @property
    def deflate(self) -> bool:
        """Whether the next recorded connection that was let in compressed its messages."""
        return next((door.deflate for door in self._left if not door.refused), False)

    def refuse(self) -> int | None:
        """The status with which this attempt was refused; ``None`` lets it in."""
        return (self._left.popleft().status or 503) if self.expects_refusal else None

    def let_in(self) -> int | None:
        """``seq`` of the recorded connection that this one is; refusals before it did not come."""
        while self.expects_refusal:
            self._left.popleft()
        return self._left.popleft().seq if self._left else None

    def more_after_us(self) -> int:
        """How long to wait before one more connection than was recorded."""
        self.vain += 1
        return (1 << self.vain - 2) * _BACKOFF_US if self.vain > 1 else 0

    def close(self) -> None:
        """Nobody is waited for any longer."""
        self._left.clear()
