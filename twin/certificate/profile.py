"""What a station is judged against: a certificate, or the specification alone."""

import math
import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec

from twin.certificate import NAMES, Certificate, load, parse
from twin.protocol.state import Patience


class Tolerances(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a limit needs slack; the reasons stand in docs/rules.md. Times in µs, energies in Wh."""

    timer_us: int = 2_000_000  # or 5 %, whichever is larger
    timer_share: float = 0.05
    boot_retry_us: int = 1_000_000
    boot_loop_us: int = 10_000_000
    clock_us: int = 60_000_000
    energy_wh: int = 1  # between samples and meterStart or meterStop
    missed_samples: int = 2
    millisecond_stamps: int = 20
    stop_frame_bytes: int = 256 * 1024
    failed_start_us: int = 10_000_000
    retry_share: float = 0.1  # of the retry interval, from the send or from the failure
    reconnect_us: int = 1_000_000  # handshakes closer than this, again and again
    queue_us: int = 60_000_000  # until the delivery of what waited begins
    drift_us: int = 5_000_000  # station clock against currentTime
    grid_us: int = 1_000_000  # of clock-aligned data; a tenth of it is not told at all
    energy_share: float = 0.1  # between the register and the integral of voltage and current
    order_us: int = 1_000_000  # between StopTransaction and its last sample
    busy_connectors: int = 12  # from which the throughput is judged
    flaps: int = 6  # status changes a minute
    triggered_slack_s: float = 0.999  # the certificate measured whole seconds
    triggered_us: int = 60_000_000  # until a message that another one triggers is missing
    unplug_us: int | None = None  # until the Stop of an unplugged car is: as certified, else triggered_us
    reboot_us: int = 300_000_000  # until a boot after Reset is: the certificate's 5 s exclude it
    status_us: int = 10_000_000  # StartTransaction and its status may come in either order

    def timer_slack_us(self, interval_us: int) -> int:
        """max(2 s, 5 % of the interval)."""
        return max(self.timer_us, int(interval_us * self.timer_share))


class Profile(msgspec.Struct, frozen=True):
    """A name for the report, the certificate if there is one, and the tolerances in use.

    ``lab``: a test tool writes its own configuration here, so that another value is no drift.
    """

    name: str
    certificate: Certificate | None = None
    tolerances: Tolerances = Tolerances()
    lab: bool = False

    @property
    def assumed(self) -> Mapping[str, str]:
        """The certified values as a station spells them, by case-folded key; {} without a certificate."""
        return {} if self.certificate is None else self.certificate.assumed

    @property
    def patience(self) -> Patience:
        """The limits of what is waited for, as a station's state holds them."""
        slack = self.tolerances
        certified = self.certificate.figure("triggered_function") if self.certificate else None
        unplug_us = certified.limit_s * 1_000_000 if certified else slack.triggered_us
        return Patience(
            triggered_us=slack.triggered_us,
            unplug_us=unplug_us if slack.unplug_us is None else slack.unplug_us,
            reboot_us=slack.reboot_us,
            status_us=slack.status_us,
            timer_us=slack.timer_us,
            timer_share=slack.timer_share,
        )

    def excludes(self, feature_profile: str) -> bool:
        """Whether there is a certificate and it does not cover this profile ("SmartCharging")."""
        return self.certificate is not None and feature_profile not in self.certificate.feature_profiles


SPEC = Profile("spec")


def certified(name: str) -> Profile:
    """The profile of a shipped certificate. Raises ``ValueError`` for a name that is not in ``NAMES``."""
    return Profile(name, load(name))


def identified(vendor: str, model: str) -> Profile:
    """The profile that a BootNotification identifies, else the specification alone."""
    for name in NAMES:
        if load(name).matches(vendor, model):
            return certified(name)
    return SPEC


def profile_in(name: str, toml_text: str) -> Profile:
    """The profile in the text of a certificate, with its own ``[tolerances]`` if it has such a table.

    Raises ``ValueError`` that names what is wrong.
    """
    certificate = parse(toml_text)
    return Profile(name, certificate, _tolerances(tomllib.loads(toml_text).get("tolerances", {})))


def tolerances_in(toml_text: str) -> Tolerances:
    """The tolerances in a TOML text that is one table ``[tolerances]``; what it leaves out is the default.

    Raises ``ValueError`` for an unknown field, a wrong type, a number below 0, or no such table.
    """
    try:
        document = tomllib.loads(toml_text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not TOML: {error}") from error
    others = ", ".join(repr(name) for name in document if name != "tolerances")
    if others:
        raise ValueError(f"expected one table [tolerances], not {others}")
    if "tolerances" not in document:
        raise ValueError("there is no table [tolerances]")
    return _tolerances(document["tolerances"])


def _tolerances(table: Any) -> Tolerances:
    if not isinstance(table, dict):
        raise ValueError("tolerances: expected a table")
    known = Tolerances.__struct_fields__
    for name, value in table.items():
        if name not in known:
            raise ValueError(f"tolerances: unknown field {name!r}; there is {', '.join(known)}")
        if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"tolerances: {name} is {value}, expected a number from 0")
    try:
        return msgspec.convert(table, Tolerances)
    except msgspec.ValidationError as error:
        raise ValueError(f"tolerances: {error}") from error
