"""The station's configuration keys: every certified key, type, range and access, and its answers."""

from functools import lru_cache
from sys import intern
from typing import Any

import msgspec

from twin.certificate import Certificate
from twin.engine.station.switches import Behaviour
from twin.protocol.config_keys import Access, ValueType, is_valid_value, lookup

_PROFILE_KEYS = frozenset(
    {
        "localauthlistenabled", "localauthlistmaxlength", "sendlocallistmaxlength",
        "reserveconnectorzerosupported", "chargeprofilemaxstacklevel",
        "chargingscheduleallowedchargingrateunit",
        "chargingschedulemaxperiods", "connectorswitch3to1phasesupported", "maxchargingprofilesinstalled",
        "supportedfiletransferprotocols",
    }
)  # fmt: skip
_LONGEST = 500  # 7.29
_LARGEST = 1_000_000_000  # a longer interval than a station lives


class Entry(msgspec.Struct, gc=False):
    """One key as this station has it."""

    key: str
    value: str
    readonly: bool


@lru_cache(maxsize=64)
def _tokens(text: str) -> frozenset[str]:
    """A list of measurands as a set; a fleet shares it."""
    return frozenset(token.strip() for token in text.split(","))


class Configuration:
    """The keys by case-folded name; ``written`` are those that were written before, from the store."""

    def __init__(self, certificate: Certificate, behaviour: Behaviour, written: dict[str, str]) -> None:
        self._behaviour = behaviour
        self._entries: dict[str, Entry] = {}
        self._supported: dict[str, frozenset[str]] = {}
        for row in certificate.configuration:
            text = certificate.certified_text(row.key)
            folded = intern(row.key.casefold())
            if text is None or folded in _PROFILE_KEYS or self._is_absent(folded):
                continue
            self._entries[folded] = Entry(row.key, intern(text), self._readonly(folded, row.access))
            if row.type is ValueType.LIST and row.key.endswith("Data"):
                self._supported[folded] = _tokens(text)
        self._entries["numberofconnectors"].value = str(behaviour.connectors)
        if behaviour.cache == "on":
            self._entries["authorizationcacheenabled"].value = "true"
        if behaviour.allow_offline:
            self._entries["localauthorizeoffline"].value = "true"
            self._entries["allowofflinetxforunknownid"].value = "true"
        for key, value in written.items():
            if key in self._entries:
                self._entries[key].value = value

    def _is_absent(self, folded: str) -> bool:
        behaviour = self._behaviour
        return (folded == "authorizationcacheenabled" and behaviour.cache == "absent") or (
            folded == "stoptransactiononevsidedisconnect" and behaviour.evse_stop_key == "absent"
        )

    def _readonly(self, folded: str, access: Access) -> bool:
        behaviour = self._behaviour
        if folded == "stoptransactiononevsidedisconnect":
            return behaviour.evse_stop_key == "R"
        if folded == "authorizeremotetxrequests":
            return behaviour.remote_key == "R"
        return access is Access.R

    def text(self, key: str) -> str:
        """The value of a key as the wire spells it; "" for a key the station does not have."""
        entry = self._entries.get(key.casefold())
        return entry.value if entry else ""

    def has(self, key: str) -> bool:
        """Whether the station has the key, whatever its value."""
        return key.casefold() in self._entries

    def count(self, key: str) -> int:
        """An integer key; 0 for one that the station does not have, or that holds no number."""
        text = self.text(key).strip()
        return min(int(text), _LARGEST) if text.isascii() and text.isdecimal() and len(text) < 20 else 0

    def flag(self, key: str) -> bool:
        return self.text(key).casefold() == "true"

    def measurands(self, key: str) -> tuple[str, ...]:
        return tuple(token.strip() for token in self.text(key).split(",") if token.strip())

    def write(self, key: str, value: str) -> str:
        """ChangeConfiguration: the status, and the value in force if it is Accepted (5.3)."""
        folded = key.casefold()
        entry, quirks = self._entries.get(folded), self._behaviour.quirks
        if entry is None:
            return "Accepted" if "accepts-unknown" in quirks or "stores-nothing" in quirks else "NotSupported"
        if "stores-nothing" in quirks:
            return "Accepted"
        if entry.readonly:
            return "Rejected"
        if "extra-measurand" in quirks and folded in self._supported:
            value = self._known(folded, value) or entry.value
        if not self._fits(folded, entry, value) and "accepts-invalid" not in quirks:
            return "Rejected"
        entry.value = value.strip() if self._kind(folded) is not ValueType.STRING else value
        return "Accepted"

    def set(self, key: str, value: str) -> None:
        """The station itself sets a key (Boot.interval)."""
        entry = self._entries.get(key.casefold())
        if entry is not None:
            entry.value = value

    def read(self, keys: list[Any]) -> dict[str, Any]:
        """GetConfiguration.conf: all keys, or each one asked for, once, known or unknown (5.8)."""
        if not keys:
            known = list(self._entries.values())
            unknown: list[str] = []
        else:
            asked = list(dict.fromkeys(key for key in keys if isinstance(key, str)))
            known = [entry for key in asked if (entry := self._entries.get(key.casefold()))]
            unknown = [key for key in asked if key.casefold() not in self._entries]
        told = [{"key": e.key, "readonly": e.readonly, "value": e.value[:_LONGEST]} for e in known]
        if "lists-secret" in self._behaviour.quirks and not keys:
            told.append({"key": "AuthorizationKey", "readonly": False, "value": ""})
        return {"configurationKey": told} | ({"unknownKey": unknown} if unknown else {})

    def _fits(self, folded: str, entry: Entry, value: str) -> bool:
        if not is_valid_value(entry.key, value):
            return False
        tokens = [token.strip() for token in value.split(",") if token.strip()]
        if folded == "connectorphaserotation":
            return len(tokens) <= self.count("ConnectorPhaseRotationMaxLength")
        if folded in self._supported:
            most = self.count(f"{entry.key}MaxLength")
            return set(tokens) <= self._supported[folded] and len(tokens) <= most
        return True

    def _known(self, folded: str, value: str) -> str:
        """What is left of a list of measurands without those that the station cannot measure."""
        tokens = (token.strip() for token in value.split(","))
        return ",".join(token for token in tokens if token in self._supported[folded])

    def _kind(self, folded: str) -> ValueType:
        row = lookup(folded)
        return row.type if row else ValueType.STRING
