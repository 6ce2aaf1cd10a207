"""The records of a certificate: what was tested, what was measured, every certified configuration value."""

import datetime
from functools import cached_property
from typing import Annotated, Literal

import msgspec

from twin.protocol.config_keys import Access, Value, ValueType, lookup, to_wire


class Identification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The words by which BootNotification.req gives the product away."""

    vendor_contains: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...]
    model_contains: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...]


class LaboratoryTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who tested what, when and with which tool."""

    applied: str
    laboratory: str
    location: str
    tested_on: datetime.date
    report: str
    vendor: str
    device_under_test: str
    communication: str
    octt_version: str


class Approval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One party's part of the statement of approval."""

    party: str
    company: str
    location: str
    approved_on: datetime.date


class Functionality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the result summary; ``profile`` is spelt as in SupportedFeatureProfiles."""

    name: str
    profile: str
    optional: bool
    result: Literal["Pass", "N/A"]
    description: str


class Performance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A response time: the limit from the maker's statement (PICS) and what the laboratory measured."""

    id: str
    name: str
    limit_s: int
    measured_s: int
    description: str
    excluded: tuple[str, ...] = ()


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the smaller tables (hardware, settings); ``value`` is ``None`` where nothing is declared."""

    name: str
    text: str
    meaning: str
    value: bool | str | None = None
    id: str = ""


class ConfigurationRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One configuration key. ``text`` is the cell verbatim, ``value`` its meaning, ``None`` if undeclared.

    The remaining fields mean what they mean in ``twin.protocol.config_keys.ConfigKey``. Where the standard
    leaves the access to the station, ``access`` may say which one this station has.
    """

    number: int
    key: str
    text: str
    type: ValueType
    access: Access
    profile: str
    required: bool
    reference: str
    meaning: str
    value: bool | int | str | tuple[str, ...] | None = None
    unit: str = ""

    @property
    def declared(self) -> bool:
        return self.value is not None


class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Everything a certificate says: whose, for which product, against which specification, and the tables.

    ``digest`` is the SHA-256 of its TOML, in hexadecimal.
    """

    name: str
    digest: str
    title: str
    number: str
    holder: str
    product_type: str
    designation: str
    model_code: str
    software_version: str
    certified_on: datetime.date
    specification: str
    errata: str
    errata_released_on: datetime.date
    issuer: str
    scope: str
    identification: Identification
    test: LaboratoryTest
    approval: tuple[Approval, ...] = ()
    functionality: tuple[Functionality, ...]
    performance: tuple[Performance, ...]
    hardware: tuple[Line, ...]
    non_ocpp: tuple[Line, ...] = ()
    setting: tuple[Line, ...] = ()
    configuration: tuple[ConfigurationRow, ...]

    @cached_property
    def _rows(self) -> dict[str, ConfigurationRow]:
        return {row.key.casefold(): row for row in self.configuration}

    @cached_property
    def assumed(self) -> dict[str, str]:
        """Every declared value as a station spells it, by case-folded key."""
        return {key: to_wire(row.value) for key, row in self._rows.items() if row.value is not None}

    def row(self, key: str) -> ConfigurationRow | None:
        """The row of ``key`` in any case (keys are CiStrings); ``None`` where the sheet does not list it."""
        return self._rows.get(key.casefold())

    def certified(self, key: str) -> Value | None:
        """The certified value; ``None`` where it is undeclared or the sheet does not list the key."""
        row = self.row(key)
        return row.value if row else None

    def certified_text(self, key: str) -> str | None:
        """The certified value as a station spells it ("2147483647", not "2.147.483.647")."""
        value = self.certified(key)
        return None if value is None else to_wire(value)

    def access(self, key: str) -> Access | None:
        """What the CSMS may do with ``key``: by the sheet where it lists the key, else by the standard."""
        known = self.row(key) or lookup(key)
        return known.access if known else None

    @property
    def profiles(self) -> frozenset[str]:
        """The functionalities that were tested and passed, by the certificate's names ("Smart Charging")."""
        return frozenset(row.name for row in self.functionality if row.result == "Pass")

    @property
    def feature_profiles(self) -> frozenset[str]:
        """The same, spelt as in SupportedFeatureProfiles ("SmartCharging")."""
        return frozenset(row.profile for row in self.functionality if row.result == "Pass")

    @property
    def fixed_cable(self) -> bool:
        return self._answer("fixed_cable") is True

    @property
    def milliseconds(self) -> bool:
        """Whether the station's time stamps carry milliseconds."""
        return self._answer("milliseconds") is True

    def figure(self, figure_id: str) -> Performance | None:
        """The response time called ``figure_id``: "triggered_function", "response" or "remote_start"."""
        return next((figure for figure in self.performance if figure.id == figure_id), None)

    def _answer(self, line_id: str) -> bool | str | None:
        lines = (*self.hardware, *self.setting)
        return next((line.value for line in lines if line.id == line_id), None)

    def matches(self, vendor: str, model: str) -> bool:
        """Whether a station that boots with this vendor and model is the certified product."""
        return _contains_any(vendor, self.identification.vendor_contains) and _contains_any(
            model, self.identification.model_contains
        )


def _contains_any(text: str, words: tuple[str, ...]) -> bool:
    return any(word.casefold() in text.casefold() for word in words)
