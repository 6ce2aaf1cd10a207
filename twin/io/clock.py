"""The only place where clocks are read. Everything else is told the time."""

import time

import msgspec


class Now(msgspec.Struct, frozen=True):
    """One reading of both clocks: ``wall_ns`` since 1970 for dates, ``mono_ns`` for order and durations."""

    wall_ns: int
    mono_ns: int

    @property
    def wall_us(self) -> int:
        return self.wall_ns // 1000


def now() -> Now:
    """Both clocks, read one after the other."""
    return Now(time.time_ns(), time.monotonic_ns())  # noqa: TID251  # this module is the exception
