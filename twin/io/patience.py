"""How long the relay waits for its recorder: as long as that shows life, at the end within a bound."""

import time
from collections.abc import Callable

from twin.io import clock

HUNG_S = 120.0  # a recorder that takes nothing for so long is replaced
QUIET_S = 10.0  # at the end it has seconds to show any life, not minutes
FAREWELL_S = 60.0  # and so long in all to start, to write down what it has, to seal and to go
SETTLE_S = 20.0  # for the one that is started then to say what was lost; all of it below TimeoutStopSec
_SCHEDULED = 2  # of the clocks of a process the one that counts in nanoseconds (clock_getcpuclockid(3))


def cpu_s(pid: int) -> float:
    """What a process, all threads of it, has used of a processor; 0 where that cannot be known.

    A nice recorder on a machine short of CPU may need seconds for what one read of its pipe gave it.
    """
    try:
        return time.clock_gettime(~pid << 3 | _SCHEDULED)
    except (OSError, OverflowError):  # gone, or no Linux
        return 0.0


class Patience:
    """With one recorder. Life is bytes that it takes (``took``) and, once we end, CPU that it uses."""

    def __init__(self, used_s: Callable[[], float], hung_s: float, quiet_s: float, farewell_s: float) -> None:
        self._used_s = used_s
        self._hung_s = hung_s
        self._quiet_s = min(hung_s, quiet_s)
        self._farewell_s = farewell_s
        self._used = -1.0
        self._alive_ns = clock.now().mono_ns
        self._ending_ns = 0

    def took(self) -> None:
        """It took bytes just now."""
        self._alive_ns = clock.now().mono_ns

    def ending(self) -> bool:
        """The proxy ends; True when this is said for the first time."""
        first = not self._ending_ns
        if first:
            self._ending_ns = self._alive_ns = clock.now().mono_ns
        return first

    def over(self) -> bool:
        """Whether it was waited for long enough."""
        now_ns = clock.now().mono_ns
        if not self._ending_ns:
            return now_ns - self._alive_ns > self._hung_s * 1e9
        if (used := self._used_s()) != self._used:
            self._used, self._alive_ns = used, now_ns
        quiet = now_ns - self._alive_ns > self._quiet_s * 1e9
        return quiet or now_ns - self._ending_ns > self._farewell_s * 1e9
