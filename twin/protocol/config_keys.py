"""The standard configuration keys of OCPP 1.6 as one table, and how the texts of their values compare."""

import re
from enum import StrEnum

import msgspec

type Value = bool | int | str | tuple[str, ...]


class ValueType(StrEnum):
    """What the text of a value spells (OCPP 1.6 chapter 9); LIST is the comma-separated list."""

    BOOL = "bool"
    INT = "int"
    LIST = "list"
    STRING = "string"


class Access(StrEnum):
    """What the CSMS may do with a key. EITHER: the station chooses between R and RW."""

    R = "R"
    RW = "RW"
    W = "W"
    EITHER = "R or RW"

    @property
    def readonly(self) -> bool | None:
        """The ``readonly`` that GetConfiguration.conf must say; ``None`` where none is prescribed."""
        return {Access.R: True, Access.RW: False}.get(self)

    def allows(self, other: "Access") -> bool:
        """Whether a station that gives ``other`` keeps to this access."""
        return other is self or (self is Access.EITHER and other in (Access.R, Access.RW))


class ConfigKey(msgspec.Struct, frozen=True):
    """One row of chapter 9.

    ``required`` holds where the station implements ``profile`` (spelt as in SupportedFeatureProfiles,
    "Security" for the whitepaper). ``reference``: a bare number is a section of OCPP 1.6 edition 2, ER the
    errata sheet v4.0, JE that of OCPP-J, SW the security whitepaper. ``minimum`` is the least legal integer.
    ``item`` matches one legal item of a list. A ``secret`` value is never stored or shown.
    """

    name: str
    type: ValueType
    unit: str
    access: Access
    required: bool
    profile: str
    reference: str
    minimum: int | None = None
    item: re.Pattern[str] | None = None
    secret: bool = False


# OCPP 1.6 §7.31, §7.34 and §3.3: the words that lists are made of. They are case-sensitive.
MEASURANDS = (
    "Current.Export",
    "Current.Import",
    "Current.Offered",
    "Energy.Active.Export.Register",
    "Energy.Active.Import.Register",
    "Energy.Reactive.Export.Register",
    "Energy.Reactive.Import.Register",
    "Energy.Active.Export.Interval",
    "Energy.Active.Import.Interval",
    "Energy.Reactive.Export.Interval",
    "Energy.Reactive.Import.Interval",
    "Frequency",
    "Power.Active.Export",
    "Power.Active.Import",
    "Power.Factor",
    "Power.Offered",
    "Power.Reactive.Export",
    "Power.Reactive.Import",
    "RPM",
    "SoC",
    "Temperature",
    "Voltage",
)
PHASES = ("L1", "L2", "L3", "N", "L1-N", "L2-N", "L3-N", "L1-L2", "L2-L3", "L3-L1")
FEATURE_PROFILES = (
    "Core",
    "FirmwareManagement",
    "LocalAuthListManagement",
    "Reservation",
    "SmartCharging",
    "RemoteTrigger",
)


def _one_of(words: tuple[str, ...]) -> str:
    return f"(?:{'|'.join(re.escape(word) for word in words)})"


# 9.1.17: a measurand may carry a phase ("Voltage.L1").
_MEASURAND = re.compile(rf"{_one_of(MEASURANDS)}(?:\.{_one_of(PHASES)})?")
# 9.1.7: "1.RST, 2.RTS". A token without its connector is met too; the certificate itself has one.
_ROTATION = re.compile(
    r"(?:[0-9]{1,9}\.)?" + _one_of(("NotApplicable", "Unknown", "RST", "RTS", "SRT", "STR", "TRS", "TSR"))
)
_FEATURE_PROFILE = re.compile(_one_of(FEATURE_PROFILES))
_RATE_UNIT = re.compile(_one_of(("Current", "Power")))  # 9.4.2
_TRANSFER = re.compile(_one_of(("FTP", "FTPS", "HTTP", "HTTPS", "SFTP")))  # ER 3.88

_BOOL, _INT, _LIST, _STRING = ValueType.BOOL, ValueType.INT, ValueType.LIST, ValueType.STRING
_R, _RW, _W, _EITHER = Access.R, Access.RW, Access.W, Access.EITHER
_REQUIRED, _OPTIONAL = True, False
_CORE, _FIRMWARE, _LIST_MANAGEMENT, _RESERVATION, _SMART, _ = FEATURE_PROFILES
_SECURITY = "Security"

KEYS: tuple[ConfigKey, ...] = (
    ConfigKey("AllowOfflineTxForUnknownId", _BOOL, "", _RW, _OPTIONAL, _CORE, "9.1.1"),
    ConfigKey("AuthorizationCacheEnabled", _BOOL, "", _RW, _OPTIONAL, _CORE, "9.1.2"),
    ConfigKey("AuthorizeRemoteTxRequests", _BOOL, "", _EITHER, _REQUIRED, _CORE, "9.1.3"),
    ConfigKey("BlinkRepeat", _INT, "times", _RW, _OPTIONAL, _CORE, "9.1.4", 0),
    ConfigKey("ClockAlignedDataInterval", _INT, "s", _RW, _REQUIRED, _CORE, "9.1.5", 0),
    ConfigKey("ConnectionTimeOut", _INT, "s", _RW, _REQUIRED, _CORE, "9.1.6", 0),
    ConfigKey("ConnectorPhaseRotation", _LIST, "", _RW, _REQUIRED, _CORE, "9.1.7", item=_ROTATION),
    ConfigKey("ConnectorPhaseRotationMaxLength", _INT, "", _R, _OPTIONAL, _CORE, "9.1.8", 0),
    ConfigKey("GetConfigurationMaxKeys", _INT, "", _R, _REQUIRED, _CORE, "9.1.9", 0),
    ConfigKey("HeartbeatInterval", _INT, "s", _RW, _REQUIRED, _CORE, "9.1.10", 0),
    ConfigKey("LightIntensity", _INT, "%", _RW, _OPTIONAL, _CORE, "9.1.11", 0),
    ConfigKey("LocalAuthorizeOffline", _BOOL, "", _RW, _REQUIRED, _CORE, "9.1.12"),
    ConfigKey("LocalPreAuthorize", _BOOL, "", _RW, _REQUIRED, _CORE, "9.1.13"),
    ConfigKey("MaxEnergyOnInvalidId", _INT, "Wh", _RW, _OPTIONAL, _CORE, "9.1.14", 0),
    ConfigKey("MessageTimeout", _INT, "s", _RW, _OPTIONAL, _CORE, "ER 3.82", 0),
    ConfigKey("MeterValuesAlignedData", _LIST, "", _RW, _REQUIRED, _CORE, "9.1.15", item=_MEASURAND),
    ConfigKey("MeterValuesAlignedDataMaxLength", _INT, "", _R, _OPTIONAL, _CORE, "9.1.16", 0),
    ConfigKey("MeterValuesSampledData", _LIST, "", _RW, _REQUIRED, _CORE, "9.1.17", item=_MEASURAND),
    ConfigKey("MeterValuesSampledDataMaxLength", _INT, "", _R, _OPTIONAL, _CORE, "9.1.18", 0),
    ConfigKey("MeterValueSampleInterval", _INT, "s", _RW, _REQUIRED, _CORE, "9.1.19", 0),
    ConfigKey("MinimumStatusDuration", _INT, "s", _RW, _OPTIONAL, _CORE, "9.1.20", 0),
    ConfigKey("NumberOfConnectors", _INT, "", _R, _REQUIRED, _CORE, "9.1.21", 0),
    ConfigKey("ResetRetries", _INT, "times", _RW, _REQUIRED, _CORE, "9.1.22", 0),
    ConfigKey("StopTransactionMaxMeterValues", _INT, "", _R, _OPTIONAL, _CORE, "ER 3.89", 0),
    # Required and RW in 9.1.23; the erratum made it optional and left the access to the station.
    ConfigKey("StopTransactionOnEVSideDisconnect", _BOOL, "", _EITHER, _OPTIONAL, _CORE, "ER 3.79"),
    ConfigKey("StopTransactionOnInvalidId", _BOOL, "", _RW, _REQUIRED, _CORE, "9.1.24"),
    ConfigKey("StopTxnAlignedData", _LIST, "", _RW, _REQUIRED, _CORE, "9.1.25", item=_MEASURAND),
    ConfigKey("StopTxnAlignedDataMaxLength", _INT, "", _R, _OPTIONAL, _CORE, "9.1.26", 0),
    ConfigKey("StopTxnSampledData", _LIST, "", _RW, _REQUIRED, _CORE, "9.1.27", item=_MEASURAND),
    ConfigKey("StopTxnSampledDataMaxLength", _INT, "", _R, _OPTIONAL, _CORE, "9.1.28", 0),
    ConfigKey("SupportedFeatureProfiles", _LIST, "", _R, _REQUIRED, _CORE, "9.1.29", item=_FEATURE_PROFILE),
    ConfigKey("SupportedFeatureProfilesMaxLength", _INT, "", _R, _OPTIONAL, _CORE, "9.1.30, ER 3.80", 0),
    ConfigKey("TransactionMessageAttempts", _INT, "times", _RW, _REQUIRED, _CORE, "9.1.31", 0),
    ConfigKey("TransactionMessageRetryInterval", _INT, "s", _RW, _REQUIRED, _CORE, "9.1.32", 0),
    # R with a fixed cable, RW with a socket: which of them, a certificate says.
    ConfigKey("UnlockConnectorOnEVSideDisconnect", _BOOL, "", _EITHER, _REQUIRED, _CORE, "9.1.33, ER 3.83"),
    ConfigKey("WebSocketPingInterval", _INT, "s", _RW, _OPTIONAL, _CORE, "9.1.34", 0),
    ConfigKey("LocalAuthListEnabled", _BOOL, "", _RW, _REQUIRED, _LIST_MANAGEMENT, "9.2.1"),
    ConfigKey("LocalAuthListMaxLength", _INT, "", _R, _REQUIRED, _LIST_MANAGEMENT, "9.2.2", 0),
    ConfigKey("SendLocalListMaxLength", _INT, "", _R, _REQUIRED, _LIST_MANAGEMENT, "9.2.3", 0),
    ConfigKey("ReserveConnectorZeroSupported", _BOOL, "", _R, _OPTIONAL, _RESERVATION, "9.3.1"),
    ConfigKey("ChargeProfileMaxStackLevel", _INT, "", _R, _REQUIRED, _SMART, "9.4.1", 0),
    ConfigKey(
        "ChargingScheduleAllowedChargingRateUnit", _LIST, "", _R, _REQUIRED, _SMART, "9.4.2", item=_RATE_UNIT
    ),
    ConfigKey("ChargingScheduleMaxPeriods", _INT, "", _R, _REQUIRED, _SMART, "9.4.3", 0),
    ConfigKey("ConnectorSwitch3to1PhaseSupported", _BOOL, "", _R, _OPTIONAL, _SMART, "9.4.4"),
    ConfigKey("MaxChargingProfilesInstalled", _INT, "", _R, _REQUIRED, _SMART, "9.4.5", 0),
    ConfigKey(
        "SupportedFileTransferProtocols", _LIST, "", _R, _OPTIONAL, _FIRMWARE, "ER 3.88", item=_TRANSFER
    ),
    ConfigKey("AdditionalRootCertificateCheck", _BOOL, "", _R, _OPTIONAL, _SECURITY, "SW"),
    ConfigKey("AuthorizationKey", _STRING, "", _W, _OPTIONAL, _SECURITY, "JE 3.10, SW", secret=True),
    ConfigKey("CertificateSignedMaxChainSize", _INT, "", _R, _OPTIONAL, _SECURITY, "SW", 0),
    ConfigKey("CertificateStoreMaxLength", _INT, "", _R, _OPTIONAL, _SECURITY, "SW", 0),
    ConfigKey("CpoName", _STRING, "", _RW, _OPTIONAL, _SECURITY, "SW"),
    ConfigKey("SecurityProfile", _INT, "", _RW, _OPTIONAL, _SECURITY, "SW", 0),
)

_BY_NAME = {key.name.casefold(): key for key in KEYS}

REQUIRED_CORE_KEYS = tuple(key.name for key in KEYS if key.required and key.profile == "Core")

_INTEGER = re.compile(r"-?[0-9]{1,500}")  # a value has at most 500 characters (7.29)


def lookup(name: str) -> ConfigKey | None:
    """The standard key called ``name`` (a CiString: case does not matter), ``None`` for any other."""
    return _BY_NAME.get(name.casefold())


def length_key(name: str) -> ConfigKey | None:
    """The key that bounds the list ``name`` ("StopTxnSampledData" has "StopTxnSampledDataMaxLength")."""
    key = lookup(name)
    return lookup(f"{key.name}MaxLength") if key and key.type is ValueType.LIST else None


def parse_value(key: ConfigKey, text: str) -> Value | None:
    """What ``text`` from the wire means as a value of ``key``; ``None`` where it is none of its type."""
    return parse_as(key.type, text)


def parse_as(value_type: ValueType, text: str) -> Value | None:
    """What ``text`` from the wire means as a ``value_type``; ``None`` where it does not spell one.

    Tolerated: any case of true and false, leading zeros, blanks around the items of a list. Not tolerated:
    thousands separators, a fraction, a "+", 0 and 1 for a bool.
    """
    match value_type:
        case ValueType.BOOL:
            return {"true": True, "false": False}.get(text.lower())
        case ValueType.INT:
            return int(text) if _INTEGER.fullmatch(text) else None
        case ValueType.LIST:
            return tuple(item.strip() for item in text.split(",")) if text.strip() else ()
        case ValueType.STRING:
            return text


def is_valid_value(name: str, text: str) -> bool:
    """Whether ``text`` has the type of the key ``name``, is in its range and is made of its words.

    Nothing is known against a value of a key that is not in the table. How long a list may be depends on the
    station: see ``length_key``.
    """
    key = lookup(name)
    if key is None:
        return True
    match parse_value(key, text):
        case None:
            return False
        case tuple() as items:
            pattern = key.item
            return pattern is None or all(pattern.fullmatch(item) for item in items)
        case int() as number:
            return key.minimum is None or number >= key.minimum
        case _:
            return True


def same_value(name: str, a: str, b: str) -> bool:
    """Whether two texts from the wire mean the same value of the key ``name``.

    The order of a list means nothing. A text that is no value of its type equals only itself, and so does
    any value of a key that is not in the table.
    """
    if a == b:
        return True
    key = lookup(name)
    if key is None:
        return False
    left, right = parse_value(key, a), parse_value(key, b)
    if isinstance(left, tuple) and isinstance(right, tuple):
        return sorted(left) == sorted(right)
    return left is not None and left == right


def to_wire(value: Value) -> str:
    """How a station spells ``value``: ``true``, ``60``, ``Voltage,SoC``. ``parse_value`` reads it back."""
    match value:
        case bool():
            return "true" if value else "false"
        case tuple():
            return ",".join(value)
        case _:
            return str(value)
