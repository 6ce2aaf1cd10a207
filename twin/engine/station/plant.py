"""The world outside the wire: cars, cables, meters and the mains. Energy in integer mWh, times in UTC µs."""

from math import exp, log, sqrt
from typing import Literal

import msgspec

_HOUR_US = 3_600_000_000
NEVER_US = 1 << 62


class Car(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An AC session from parameters: constant power, then a taper, with pauses of the car's own.

    ``power_w`` is drawn until ``taper_from_wh`` are delivered; from there it falls exponentially with the
    time constant ``taper_s`` until 2 % of it are left: the car is full. Without a taper it draws until
    ``full_wh``. ``pauses_s`` are (from, until) in seconds of drawing time since the start.
    """

    power_w: float = 3_520.0
    taper_from_wh: float | None = None
    taper_s: float = 1_200.0
    full_wh: float | None = None
    delay_s: float = 0.0
    pauses_s: tuple[tuple[float, float], ...] = ()


_LEAST_SHARE = 0.02


def energy_mwh(car: Car, drawn_us: int) -> int:
    """What the car has taken after drawing for so long, pauses excluded."""
    wh = car.power_w * drawn_us / _HOUR_US
    if car.taper_from_wh is not None and wh > car.taper_from_wh:
        beyond_s = drawn_us / 1e6 - car.taper_from_wh * 3600 / car.power_w
        tapered_j = car.power_w * car.taper_s * (1 - exp(-beyond_s / car.taper_s))
        wh = car.taper_from_wh + tapered_j / 3600
    return int(wh * 1000)


def power_w(car: Car, drawn_us: int) -> float:
    """What it takes at that moment."""
    if car.taper_from_wh is None:
        return car.power_w
    beyond_s = drawn_us / 1e6 - car.taper_from_wh * 3600 / car.power_w
    return car.power_w * exp(-max(beyond_s, 0.0) / car.taper_s)


def full_after_us(car: Car) -> int:
    """Drawing time until the car is full; :data:`NEVER_US` if it never is."""
    if car.full_wh is not None:
        reach_s = car.full_wh * 3600 / car.power_w
        if car.taper_from_wh is None or car.full_wh <= car.taper_from_wh:
            return int(reach_s * 1e6)
        share = 1 - (car.full_wh - car.taper_from_wh) * 3600 / (car.power_w * car.taper_s)
        if share > _LEAST_SHARE:
            return int((car.taper_from_wh * 3600 / car.power_w - car.taper_s * log(share)) * 1e6)
    if car.taper_from_wh is None:
        return NEVER_US
    return int((car.taper_from_wh * 3600 / car.power_w - car.taper_s * log(_LEAST_SHARE)) * 1e6)


class Reading(msgspec.Struct, frozen=True):
    """The meter of one outlet at one moment; voltage and current multiply to the power."""

    register_mwh: int
    voltage_v: float
    current_a: float

    @property
    def register_wh(self) -> int:
        return self.register_mwh // 1000


class Outlet:
    """One connector's plug, car and meter. ``register_mwh`` never falls and is never re-based."""

    __slots__ = ("_base_mwh", "_drawn_us", "_enabled_us", "_line_ohm", "_since_us", "_voltage_v", "car")

    def __init__(self, register_mwh: int = 0, *, voltage_v: float = 220.0, line_ohm: float = 0.05) -> None:
        self._base_mwh = register_mwh
        self._voltage_v = voltage_v
        self._line_ohm = line_ohm
        self.car: Car | None = None
        self._drawn_us = 0  # drawing time of this session until ``_since_us``
        self._since_us: int | None = None  # drawing since; None while not
        self._enabled_us: int | None = None

    @property
    def plugged(self) -> bool:
        return self.car is not None

    def plug(self, car: Car, now_us: int) -> None:
        self.car = car

    def unplug(self, now_us: int) -> None:
        self.disable(now_us)
        self.car = None

    def enable(self, now_us: int) -> None:
        """Energy is offered from now on; a new session of the car begins unless it was only held up."""
        if self._enabled_us is None and self.car is not None:
            self._enabled_us = now_us
            self._since_us = now_us + int(self.car.delay_s * 1e6)

    def disable(self, now_us: int) -> None:
        """No energy any more: the register stands, and the next session starts at the car's beginning."""
        self._base_mwh = self.read(now_us).register_mwh
        self._enabled_us = self._since_us = None
        self._drawn_us = 0

    def drawn_us(self, now_us: int) -> int:
        """Drawing time of this session, pauses excluded."""
        if self.car is None or self._since_us is None or now_us <= self._since_us:
            return 0
        elapsed_us = now_us - self._since_us
        paused_us = sum(
            max(0, min(elapsed_us, int(until * 1e6)) - int(from_ * 1e6)) for from_, until in self.car.pauses_s
        )
        return min(elapsed_us - paused_us, full_after_us(self.car))

    def draws(self, now_us: int) -> bool:
        """Whether the car takes energy at this moment."""
        if self.car is None or self._since_us is None or now_us < self._since_us:
            return False
        elapsed_s = (now_us - self._since_us) / 1e6
        if any(from_ <= elapsed_s < until for from_, until in self.car.pauses_s):
            return False
        return self.drawn_us(now_us) < full_after_us(self.car)

    def next_change_us(self, now_us: int) -> int:
        """When ``draws`` next changes; :data:`NEVER_US` if it will not by itself."""
        if self.car is None or self._since_us is None:
            return NEVER_US
        edges = [self._since_us] + [
            self._since_us + int(edge * 1e6) for pause in self.car.pauses_s for edge in pause
        ]
        left_us = full_after_us(self.car) - self.drawn_us(now_us)
        if left_us < NEVER_US // 2 and self.draws(now_us):
            edges.append(now_us + left_us)
        return min((edge for edge in edges if edge > now_us), default=NEVER_US)

    def read(self, now_us: int) -> Reading:
        if self.car is None or self._since_us is None:
            return Reading(self._base_mwh, self._voltage_v, 0.0)
        drawn_us = self.drawn_us(now_us)
        register_mwh = self._base_mwh + energy_mwh(self.car, drawn_us)
        if not self.draws(now_us):
            return Reading(register_mwh, self._voltage_v, 0.0)
        return Reading(register_mwh, *self._volts_and_amps(power_w(self.car, drawn_us)))

    def _volts_and_amps(self, watts: float) -> tuple[float, float]:
        """P = V·I with V = V0 - R·I."""
        v0, r = self._voltage_v, self._line_ohm
        amps = watts / v0 if not r else (v0 - sqrt(max(v0 * v0 - 4 * r * watts, 0.0))) / (2 * r)
        return v0 - r * amps, amps


class Act(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that happens to the station: by a person, a car, the mains or the network.

    ``connector_id`` for plug, unplug, fault and clear; ``tag`` for tag; ``car`` for plug.
    """

    do: Literal["plug", "unplug", "tag", "fault", "clear", "power off", "power on", "link down", "link up"]
    connector_id: int = 0
    tag: str = ""
    car: Car = Car()
    error_code: str = "InternalError"
