"""Recorded values and live values: where they stand by schema path, and the bijection between them.

Never by text search: an id that happens to equal a meter reading is no id.
"""

import json
import re
from collections.abc import Mapping, Set
from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from twin.engine.recording import recording_of
from twin.model import Frame
from twin.protocol.places import ANY, Path, places, replaced

# OCPP 1.6: the requests that carry an id given by StartTransaction.conf, at this top-level field.
TRANSACTION_ID_IN = frozenset({"MeterValues", "StopTransaction", "RemoteStopTransaction"})


class Space(StrEnum):
    """A space of values that are one thing in the recording and another live."""

    TRANSACTION = "transactionId"
    RESERVATION = "reservationId"
    PROFILE = "chargingProfileId"
    LIST_VERSION = "listVersion"
    REQUEST = "requestId"
    TAG = "idTag"


class Spot(msgspec.Struct, frozen=True):
    """Where a value of a space stands in a payload; ``born``: where it is given first."""

    space: Space
    action: str
    answer: bool
    path: Path
    born: bool = False


_T, _R, _P, _L, _Q, _G = Space
_TAGS = (
    ("Authorize", False, ("idTag",)),
    ("Authorize", True, ("idTagInfo", "parentIdTag")),
    ("StartTransaction", False, ("idTag",)),
    ("StartTransaction", True, ("idTagInfo", "parentIdTag")),
    ("StopTransaction", False, ("idTag",)),
    ("StopTransaction", True, ("idTagInfo", "parentIdTag")),
    ("RemoteStartTransaction", False, ("idTag",)),
    ("ReserveNow", False, ("idTag",)),
    ("ReserveNow", False, ("parentIdTag",)),
    ("SendLocalList", False, ("localAuthorizationList", ANY, "idTag")),
    ("SendLocalList", False, ("localAuthorizationList", ANY, "idTagInfo", "parentIdTag")),
)

# OCPP 1.6 chapters 4 to 6, and "Improved security for OCPP 1.6-J" for requestId.
SPOTS: tuple[Spot, ...] = (
    Spot(_T, "StartTransaction", True, ("transactionId",), born=True),
    Spot(_T, "MeterValues", False, ("transactionId",)),
    Spot(_T, "StopTransaction", False, ("transactionId",)),
    Spot(_T, "RemoteStopTransaction", False, ("transactionId",)),
    Spot(_T, "SetChargingProfile", False, ("csChargingProfiles", "transactionId")),
    Spot(_T, "RemoteStartTransaction", False, ("chargingProfile", "transactionId")),
    Spot(_R, "ReserveNow", False, ("reservationId",), born=True),
    Spot(_R, "CancelReservation", False, ("reservationId",)),
    Spot(_R, "StartTransaction", False, ("reservationId",)),
    Spot(_P, "SetChargingProfile", False, ("csChargingProfiles", "chargingProfileId"), born=True),
    Spot(_P, "RemoteStartTransaction", False, ("chargingProfile", "chargingProfileId"), born=True),
    Spot(_P, "ClearChargingProfile", False, ("id",)),
    Spot(_L, "SendLocalList", False, ("listVersion",), born=True),
    Spot(_L, "GetLocalListVersion", True, ("listVersion",)),
    Spot(_Q, "GetLog", False, ("requestId",), born=True),
    Spot(_Q, "SignedUpdateFirmware", False, ("requestId",), born=True),
    Spot(_Q, "LogStatusNotification", False, ("requestId",)),
    Spot(_Q, "SignedFirmwareStatusNotification", False, ("requestId",)),
    *(Spot(_G, action, answer, path) for action, answer, path in _TAGS),
)

# Where a CSMS tells a station to upload to or to install from; nobody is sent where the recording said.
LOCATIONS: Mapping[str, Path] = {
    "GetDiagnostics": ("location",),
    "UpdateFirmware": ("location",),
    "GetLog": ("log", "remoteLocation"),
    "SignedUpdateFirmware": ("firmware", "location"),
}
_LOCATIONS = {action.casefold(): path for action, path in LOCATIONS.items()}
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_OUR_LOCATION = '"ftp://127.0.0.1/twin-replay"'

_PLAIN_ID = re.compile(r'(\s*\[\s*[234]\s*,\s*)"[^"\\]*"(?=\s*,)')  # as nearly all are
_BY_MESSAGE: dict[tuple[str, bool], tuple[Spot, ...]] = {}
for _spot in SPOTS:
    _BY_MESSAGE[_spot.action, _spot.answer] = (*_BY_MESSAGE.get((_spot.action, _spot.answer), ()), _spot)


class Conflict(msgspec.Struct, frozen=True):
    """The live ``value`` of ``space`` was given for ``first`` and then for ``second`` of the recording."""

    space: Space
    value: Any
    first: Any
    second: Any


class Bindings:
    """Recorded to live and back, a table a space. A live value given for two recorded ones is a conflict.

    The other way round is none: a recording may use one id twice (a refused start is often number 0 or -1),
    and then the later one counts. ``tags`` maps recorded idTags to live ones from the start.
    """

    def __init__(self, tags: Mapping[str, str] = {}) -> None:
        self._live: dict[Space, dict[Any, Any]] = {space: {} for space in Space}
        self._recorded: dict[Space, dict[Any, Any]] = {space: {} for space in Space}
        self.conflicts: list[Conflict] = []
        for recorded, live in tags.items():
            self.bind(Space.TAG, recorded, live)

    def bind(self, space: Space, recorded: Any, live: Any) -> None:
        held = self._recorded[space].setdefault(live, recorded)
        if held != recorded:
            self.conflicts.append(Conflict(space, live, held, recorded))
        self._live[space][recorded] = live  # also then: a station uses the id that it was told

    def live(self, space: Space, recorded: Any) -> Any:
        """The live value, or the recorded one where none was bound (a transaction older than the capture)."""
        return self._live[space].get(recorded, recorded)

    def recorded(self, space: Space, live: Any) -> Any:
        return self._recorded[space].get(live, live)

    def pairs(self, space: Space) -> dict[Any, Any]:
        """Live values by recorded ones."""
        return dict(self._live[space])

    def knows(self, space: Space, recorded: Any) -> bool:
        return recorded in self._live[space]

    def learn(self, action: str, payload: Any, live_payload: Any, *, answer: bool) -> None:
        """A recorded payload and its live counterpart: what is born there is bound."""
        for spot in _BY_MESSAGE.get((action, answer), ()):
            if spot.born:
                recorded, live = at_path(payload, spot.path), at_path(live_payload, spot.path)
                if _id(recorded) and _id(live):
                    self.bind(spot.space, recorded, live)

    def to_live(self, text: str, action: str, *, answer: bool) -> str:
        """The recorded frame text with live values; everything else stays as it was spelt."""
        return self._rewritten(text, action, self._live, answer=answer)

    def to_recorded(self, text: str, action: str, *, answer: bool) -> str:
        """The live frame text with the recorded values, for comparison."""
        return self._rewritten(text, action, self._recorded, answer=answer)

    def _rewritten(self, text: str, action: str, table: dict[Space, dict[Any, Any]], *, answer: bool) -> str:
        edits = []
        for spot in _BY_MESSAGE.get((action, answer), ()):
            known = table[spot.space]
            if not known:
                continue
            for place in places(text, (2 if answer else 3, *spot.path)):
                value = place[2]
                if _id(value) and known.get(value, value) != value:
                    edits.append((place, json.dumps(known[value], ensure_ascii=False)))
        return replaced(text, edits) if edits else text

    def unbound(self, payload: Any, action: str, born: Set[tuple[Space, Any]]) -> list[tuple[Space, Any]]:
        """Values of a recorded CALL that were ``born`` in the capture and have no live partner yet."""
        found = []
        for spot in _BY_MESSAGE.get((action, False), ()):
            value = at_path(payload, spot.path)
            if _id(value) and (spot.space, value) in born and not self.knows(spot.space, value):
                found.append((spot.space, value))
        return found


def with_recorded_tags(frames: list[Frame], tags: Mapping[str, str]) -> list[Frame]:
    """Replayed frames with the recorded idTags, to compare; ``tags`` are the live ones by recorded ones."""
    if not tags:
        return frames
    ids = Bindings(tags)
    texts: dict[int, str] = {}
    for exchange in recording_of(frames).exchanges:
        for event, answer in ((exchange.call, False), (exchange.answer, True)):
            frame = event.frame if event is not None else None
            if frame is not None and frame.text is not None:
                texts[frame.seq] = ids.to_recorded(frame.text, exchange.call.action, answer=answer)
    return [replace(frame, text=texts.get(frame.seq, frame.text)) for frame in frames]


def bound_paths(action: str, *, answer: bool) -> dict[Path, Space]:
    """Where values of an id space stand in such a payload, as paths; idTags are inputs and not among them."""
    return {
        spot.path: spot.space for spot in _BY_MESSAGE.get((action, answer), ()) if spot.space is not Space.TAG
    }


def with_message_id(text: str, message_id: str) -> str:
    """The frame text under another messageId; everything else stays as it was spelt."""
    if (plain := _PLAIN_ID.match(text)) is not None:
        return f"{plain[1]}{json.dumps(message_id, ensure_ascii=False)}{text[plain.end() :]}"
    found = places(text, (1,))
    if not found or not isinstance(found[0][2], str):
        return text
    return replaced(text, [(found[0], json.dumps(message_id, ensure_ascii=False))])


def with_our_location(text: str, action: str) -> str:
    """A CALL's text with a location of this machine in place of the recorded one."""
    path = _LOCATIONS.get(action.casefold())
    if path is None:
        return text
    text = replaced(text, [(place, _OUR_LOCATION) for place in places(text, (3, *path))])
    # nor where a lenient station might look for it: under a key of another case, or one that stands twice
    return _STRING.sub(
        lambda found: _OUR_LOCATION if "://" in str(json.loads(found[0], strict=False)) else found[0], text
    )


def transaction_id_of(payload: Any) -> int | None:
    """The integer ``transactionId`` of a payload."""
    value = payload.get("transactionId") if isinstance(payload, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def at_path(payload: Any, path: Path) -> Any:
    """What stands at a path of objects, ``None`` if nothing does."""
    for step in path:
        if not isinstance(payload, dict):
            return None
        payload = payload.get(step)
    return payload


def _id(value: Any) -> bool:
    """What may be an id: a text or a whole number, never a float, which is not exact."""
    return isinstance(value, str | int) and not isinstance(value, bool)
