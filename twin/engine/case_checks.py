"""The checks of test cases that look beyond single fields: keys, tags, and the time without a connection."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from twin.certificate.case_words import CONNECTOR, OTHER_TAG, TAG, VALUE, Check
from twin.engine.case_reading import OTHER, RIGHT, Opinion, Said, value_at
from twin.protocol.config_keys import REQUIRED_CORE_KEYS, lookup, same_value
from twin.protocol.state import StationState
from twin.protocol.timestamps import parse_stamp
from twin.rules import Step

_STAMP_SLACK_US = 2_000_000


class Context(msgspec.Struct, frozen=True):
    """What a check may know: names, the state at the begin, and when what happened.

    The link was down from ``cut_us`` to ``restored_us``, this stage began at ``entered_us``. ``parents`` are
    the parentIdTags that the CSMS told by case-folded idTag ("" for none), ``cache_cleared_us`` the last
    ClearCache that was accepted.
    """

    names: Mapping[str, Any]
    opened: StationState
    opened_us: int
    entered_us: int
    cut_us: int | None
    restored_us: int | None
    parents: Mapping[str, str]
    cache_cleared_us: int | None

    def called(self, names: Mapping[str, Any]) -> "Context":
        """The same with other names."""
        return replace(self, names=names)


def check(wanted: Check, step: Step, context: Context) -> Opinion:
    """What the message of ``step`` is by this check."""
    return _CHECKS[wanted](step, context)


def _told(step: Step) -> dict[str, Any]:
    """Case-folded key to its entry, as GetConfiguration.conf tells it."""
    entries = value_at(step.payload, "configurationKey")
    found = {}
    for entry in entries if isinstance(entries, tuple) else ():
        if isinstance(entry, dict) and isinstance(entry.get("key"), str):
            found[entry["key"].casefold()] = entry
    return found


def _requested(step: Step) -> tuple[str, ...]:
    keys = value_at(step.asked, "key")
    return tuple(key for key in keys if isinstance(key, str)) if isinstance(keys, tuple) else ()


def _unknown(step: Step) -> frozenset[str]:
    keys = value_at(step.payload, "unknownKey")
    found = keys if isinstance(keys, tuple) else ()
    return frozenset(key.casefold() for key in found if isinstance(key, str))


def _core_profile(step: Step, context: Context) -> Opinion:
    value = _told(step).get("supportedfeatureprofiles", {}).get("value")
    if not isinstance(value, str):
        return Said.WRONG, "SupportedFeatureProfiles was not told"
    if "Core" not in [word.strip() for word in value.split(",")]:
        return Said.WRONG, "SupportedFeatureProfiles does not hold Core"
    return (Said.WRONG, "a requested key was named as unknown") if _unknown(step) else RIGHT


def _required_keys(step: Step, context: Context) -> Opinion:
    told = _told(step)
    if str(len(told)) == str(told.get("getconfigurationmaxkeys", {}).get("value")):
        return Said.DOUBTFUL, "the station told as many keys as it tells at most: there may be more"
    missing = [name for name in REQUIRED_CORE_KEYS if name.casefold() not in told]
    if missing:
        return Said.WRONG, f"required keys were not told: {', '.join(missing)}"
    for name in REQUIRED_CORE_KEYS:
        key = lookup(name)
        readonly = key.access.readonly if key else None
        if readonly is not None and told[name.casefold()].get("readonly") is not readonly:
            return Said.WRONG, f"{name} should be {'read-only' if readonly else 'writable'}"
    return RIGHT


def _answers_keys(step: Step, context: Context) -> Opinion:
    answered = _told(step).keys() | _unknown(step)
    missing = [key for key in _requested(step) if key.casefold() not in answered]
    if not missing:
        return RIGHT
    most = step.before.config.get("getconfigurationmaxkeys")
    if len(_requested(step)) > 20 or (most and str(len(answered)) == most.value):
        return Said.DOUBTFUL, "more keys were requested than the station tells at a time"
    return Said.WRONG, f"a requested key was not answered: {missing[0][:60]}"


def _read_back(step: Step, context: Context) -> Opinion:
    key = "MeterValueSampleInterval"
    requested = _requested(step)
    if requested and key.casefold() not in [name.casefold() for name in requested]:
        return OTHER
    entry = _told(step).get(key.casefold())
    if entry is None:
        return (Said.WRONG, f"{key} was not told") if requested else OTHER
    value, written = entry.get("value"), context.names.get(VALUE)
    if isinstance(value, str) and isinstance(written, str) and same_value(key, value, written):
        return RIGHT
    return Said.WRONG, f"{key} was read back as {str(value)[:40]} after {str(written)[:40]} was accepted"


def _tag(context: Context, name: str) -> str:
    return str(context.names.get(name, "")).casefold()


def _from_cache(step: Step, context: Context) -> Opinion:
    tag = str(step.payload.get("idTag", "")).casefold()
    known, now = context.opened.id_tags.get(tag), step.before.id_tags.get(tag)
    if now is not None and now.at_us > context.opened_us:
        return Said.DOUBTFUL, "the CSMS was asked about the idTag; a cached answer may have expired"
    connector = context.opened.connectors.get(context.names.get(CONNECTOR, -1))
    free_us = connector.at_us if connector else context.opened_us
    remote = step.before.remote_starts.get(tag)
    remote_us = remote.at_us if remote is not None else 0
    if (known is not None and known.at_us >= free_us) or remote_us >= free_us:
        return OTHER  # it was asked about, or started remotely, before the cable was plugged in
    if known is None or known.status != "Accepted":
        return Said.DOUBTFUL, "no answer that could have been cached was seen"
    if context.cache_cleared_us is not None and known.at_us <= context.cache_cleared_us:
        return Said.DOUBTFUL, "the cache had been cleared"
    return RIGHT


def _while_offline(step: Step, context: Context) -> Opinion:
    text = step.payload.get("timestamp")
    stamp = parse_stamp(text) if isinstance(text, str) else None
    if stamp is None or context.cut_us is None or context.restored_us is None:
        return OTHER
    inside = context.cut_us - _STAMP_SLACK_US <= stamp.at_us <= context.restored_us - _STAMP_SLACK_US
    return RIGHT if inside else OTHER


def _own_tag(step: Step, context: Context) -> Opinion:
    tag = step.payload.get("idTag")
    if not isinstance(tag, str) or tag.casefold() == _tag(context, TAG):
        return RIGHT
    own, other = context.parents.get(_tag(context, TAG)), context.parents.get(tag.casefold())
    if own is not None and other is not None and (own == "" or own != other):
        return Said.WRONG, "the transaction was stopped with an idTag that has not the same parent"
    return OTHER


def _same_parent(step: Step, context: Context) -> Opinion:
    own, other = context.parents.get(_tag(context, TAG)), context.parents.get(_tag(context, OTHER_TAG))
    if _tag(context, TAG) == _tag(context, OTHER_TAG):
        return OTHER
    return RIGHT if own and own == other else OTHER


_CHECKS: dict[Check, Callable[[Step, Context], Opinion]] = {
    Check.CORE_PROFILE: _core_profile,
    Check.REQUIRED_KEYS: _required_keys,
    Check.ANSWERS_KEYS: _answers_keys,
    Check.READ_BACK: _read_back,
    Check.FROM_CACHE: _from_cache,
    Check.WHILE_OFFLINE: _while_offline,
    Check.OWN_TAG: _own_tag,
    Check.SAME_PARENT: _same_parent,
}
