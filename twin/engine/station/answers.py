"""How the station answers the CSMS's CALLs: one function an action, and the right CALLERROR for the rest."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from twin.model import Call, Side
from twin.protocol.actions import ACTIONS
from twin.protocol.schema import conforms, violations
from twin.protocol.state import Registration

if TYPE_CHECKING:
    from twin.engine.station.station import Station

_encode = msgspec.json.Encoder().encode
_DETAIL = 200
# OCPP-J 1.6 table 7, by the schema keyword that is broken.
_CODES = {
    "enum": "PropertyConstraintViolation",
    "maxLength": "PropertyConstraintViolation",
    "multipleOf": "PropertyConstraintViolation",
    "minItems": "PropertyConstraintViolation",
    "type": "TypeConstraintViolation",
    "required": "OccurenceConstraintViolation",
    "additionalProperties": "FormationViolation",
}


class Reply(msgspec.Struct, frozen=True):
    """The text of an answer, and what is done once it is said."""

    text: str
    then: Callable[[], None] | None = None


type Answer = tuple[dict[str, Any], Callable[[], None] | None]


def answer(station: "Station", call: Call, now_us: int) -> Reply:
    """The answer to any CALL: never an exception, never silence."""
    action = ACTIONS.get(call.action)
    if action is None:
        return _error(call, "NotImplemented", f"unknown action {call.action[:40]}")
    handler = _HANDLERS.get(call.action)
    if handler is None or Side.CSMS not in action.senders:
        if call.action == "SetChargingProfile" and "accepts-profiles" in station.quirks:
            return Reply(_result(station, call, {"status": "Accepted"}))
        return _error(call, station.behaviour.non_core_error, f"{call.action} is not supported")
    if not conforms(call.action, call.payload, answer=False) and (
        broken := violations(call.action, call.payload, answer=False)
    ):
        code = _CODES.get(broken[0].keyword, "FormationViolation")
        return _error(call, code, f"{broken[0].path or '/'}: {broken[0].reason}")
    payload = call.payload if isinstance(call.payload, dict) else {}
    asked = payload.get("key")
    if (
        call.action == "GetConfiguration"
        and station.behaviour.max_keys_policy == "error"
        and isinstance(asked, list)
        and len(asked) > station.configuration.count("GetConfigurationMaxKeys")
    ):
        return _error(call, "OccurenceConstraintViolation", "too many keys")
    if station.registration is Registration.PENDING and call.action in _REMOTE:
        if station.behaviour.pending_remote == "CALLERROR":
            return _error(call, "GenericError", "not accepted yet")
        return Reply(_result(station, call, {"status": "Rejected"}))
    told, then = handler(station, payload, now_us)
    return Reply(_result(station, call, told), then)


def _result(station: "Station", call: Call, payload: dict[str, Any]) -> str:
    elements: list[Any] = [3, call.message_id, payload]
    if "four-elements" in station.quirks:
        elements.append({})
    return _encode(elements).decode()


def _error(call: Call, code: str, why: str) -> Reply:
    return Reply(_encode([4, call.message_id, code, why[:_DETAIL], {}]).decode())


def _get_configuration(station: "Station", payload: dict[str, Any], now_us: int) -> Answer:
    keys = payload.get("key") or []
    if station.behaviour.max_keys_policy == "truncate":
        keys = keys[: station.configuration.count("GetConfigurationMaxKeys")]
    return station.configuration.read(keys), None


def _change_configuration(station: "Station", payload: dict[str, Any], now_us: int) -> Answer:
    key, value = payload["key"], payload["value"]
    status = station.configuration.write(key, value)
    if status != "Accepted":
        return {"status": status}, None

    if station.configuration.has(key):
        station.set_key(key, station.configuration.text(key))
    return {"status": status}, lambda: station.interval_changed(key, now_us)


def _remote_start(station: "Station", payload: dict[str, Any], now_us: int) -> Answer:
    """5.11: a connector that can start, and only then; a charging profile is ignored."""
    connector_id = payload.get("connectorId")
    if connector_id is None:
        point = next(
            (p for p in station.points.values() if p.free and p.outlet.plugged and not p.post_tx), None
        )
    else:
        point = station.points.get(connector_id)
    if point is None or not point.free or not station.online or station.restarting:
        return {"status": "Rejected"}, None
    chosen = point
    return {"status": "Accepted"}, lambda: station.ask_remote(payload["idTag"], chosen, now_us)


def _remote_stop(station: "Station", payload: dict[str, Any], now_us: int) -> Answer:
    tx = station.open_transaction(payload["transactionId"])
    if tx is None:
        return {"status": "Rejected"}, None
    running = tx
    return {"status": "Accepted"}, lambda: station.stop_remotely(running, now_us)


def _change_availability(station: "Station", payload: dict[str, Any], now_us: int) -> Answer:
    """5.2: Scheduled where something goes on; connector 0 means all of them."""
    number, operative = payload["connectorId"], payload["type"] == "Operative"
    if number != 0 and number not in station.points:
        return {"status": "Rejected"}, None
    points = list(station.points.values()) if number == 0 else [station.points[number]]
    changed: list[int] = []
    scheduled = False
    if number == 0 and station.operative0 is not operative:
        station.operative0 = operative
        station.persist("operative/0", b"1" if operative else b"0")
        changed.append(0)
    for point in points:
        busy = point.transaction is not None or point.authorization is not None or point.asking
        busy = busy or (point.outlet.plugged and not point.post_tx and point.operative)
        if not operative and busy:
            station.schedule(point, operative=False)
            scheduled = True
            continue
        station.schedule(point, operative=None)
        if point.operative is not operative:
            point.operative = operative
            station.persist(f"operative/{point.connector_id}", b"1" if operative else b"0")
            changed.append(point.connector_id)
    status = "Scheduled" if scheduled else "Accepted"
    return {"status": status}, lambda: station.tell_availability(changed, now_us)


def _reset(station: "Station", payload: dict[str, Any], now_us: int) -> Answer:
    if station.restarting:
        return {"status": "Rejected"}, None
    return {"status": "Accepted"}, lambda: station.reset(payload["type"], now_us)


def _unlock(station: "Station", payload: dict[str, Any], now_us: int) -> Answer:
    """A fixed cable has no lock (ER 3.85)."""
    return {"status": "Unlocked" if "unlocks" in station.quirks else "NotSupported"}, None


def _clear_cache(station: "Station", payload: dict[str, Any], now_us: int) -> Answer:
    if station.behaviour.cache == "absent":
        return {"status": "Rejected"}, None
    station.cache.clear()
    return {"status": "Accepted"}, None


def _data_transfer(station: "Station", payload: dict[str, Any], now_us: int) -> Answer:
    return {"status": "UnknownVendorId"}, None


_REMOTE = frozenset({"RemoteStartTransaction", "RemoteStopTransaction"})
_HANDLERS: dict[str, Callable[["Station", dict[str, Any], int], Answer]] = {
    "ChangeAvailability": _change_availability,
    "ChangeConfiguration": _change_configuration,
    "ClearCache": _clear_cache,
    "DataTransfer": _data_transfer,
    "GetConfiguration": _get_configuration,
    "RemoteStartTransaction": _remote_start,
    "RemoteStopTransaction": _remote_stop,
    "Reset": _reset,
    "UnlockConnector": _unlock,
}
