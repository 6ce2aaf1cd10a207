"""Two captures compared: what must differ does not count, and no single change of a session goes unseen."""

import json
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from tests.conftest import REPOSITORY
from tests.playbook import Play, after, cp, cs, meter, play, stamp
from twin.engine.recording import station_links
from twin.engine.replay.diff import Diff, diff
from twin.io.formats import open_capture
from twin.model import Frame, Kind, Side
from twin.protocol.fold import TIME_FIELDS


def session(transaction: int = 7, connector: int = 1, start_s: float = 0) -> Play:
    p = play().booted().started(connector, transaction) << after(start_s)
    p.station("MeterValues", meter(start_s + 60, connector=connector, transaction=transaction), {})
    stop = {"transactionId": transaction, "meterStop": 2000, "timestamp": stamp(start_s + 61)}
    return p.station("StopTransaction", stop, {}).csms("ClearCache", {}, {"status": "Accepted"})


def told(found: Diff) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(d.kind, d.action, tuple(change.path for change in d.changes)) for d in found.divergences]


def renamed(frames: list[Frame]) -> list[Frame]:
    """Every messageId another one."""
    texts = [json.loads(frame.text) if frame.text else None for frame in frames]
    again = [t and json.dumps([t[0], f"new-{t[1]}", *t[2:]]) for t in texts]
    return [replace(frame, text=text) for frame, text in zip(frames, again, strict=True)]


def test_ids_and_times_that_must_differ_do_not_count() -> None:
    assert told(diff(session().frames, renamed(session(transaction=123, start_s=500).frames))) == []


def test_jitter_between_streams_does_not_count() -> None:
    first, second = play().booted(), play().booted()
    heartbeat = ("Heartbeat", {}, {"currentTime": stamp()})
    status = ("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Available"}, {})
    first.station(*heartbeat).station(*status)
    second.station(*status).station(*heartbeat)
    assert diff(first.frames, second.frames).equal


def test_order_inside_a_stream_does() -> None:
    plays = []
    for order in (("Available", "Preparing"), ("Preparing", "Available")):
        p = play().booted()
        for status in order:
            p.station("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": status}, {})
        plays.append(p.frames)
    assert not diff(*plays).equal


@pytest.mark.parametrize(
    ("recorded", "replayed", "changes"),
    [
        ({"data": "1"}, {"data": 1}, ("request/data",)),  # a text is no number
        ({"data": 1}, {"data": 1.0}, ()),
        ({"data": None}, {}, ("request/data",)),
        ({}, {"data": None}, ("request/data",)),
        ({"data": [1, 2]}, {"data": [1]}, ("request/data/#", "request/data/1")),
        ({"timestamp": "2026-09-21T14:13:20Z"}, {"timestamp": "2026-09-21T14:13:21.5Z"}, ()),
        ({"timestamp": "2026-09-21T14:13:20Z"}, {"timestamp": "2026-09-21T14:14:20Z"},
         ("request/timestamp",)),
        ({"timestamp": "2026-09-21T14:13:20Z"}, {"timestamp": "2026-09-21T14:13:20+02:00"},
         ("request/timestamp",)),
        ({"timestamp": "2026-09-21T14:13:20Z"}, {"timestamp": "soon"}, ("request/timestamp",)),
        ({"data": 10**400}, {"data": 10**400 + 1}, ("request/data",)),
        ({"data": 2**53}, {"data": 2**53 + 1}, ("request/data",)),
    ],
)  # fmt: skip
def test_a_value_is_compared_as_what_it_is(
    recorded: dict[str, object], replayed: dict[str, object], changes: tuple[str, ...]
) -> None:
    pair = [play().booted().station("DataTransfer", {"vendorId": "x"} | data, {"status": "Accepted"}).frames
            for data in (recorded, replayed)]  # fmt: skip
    wanted = [("changed", "DataTransfer", changes)] if changes else []
    assert told(diff(*pair)) == wanted


def test_a_refusal_is_another_answer() -> None:
    pair = [
        play().booted().csms("ClearCache", {}, answer).frames
        for answer in ({"status": "Accepted"}, "NotSupported")
    ]
    ((kind, action, paths),) = told(diff(*pair))
    assert (kind, action, set(paths)) == ("changed", "ClearCache", {"answer", "answer/status"})


def test_silence_is_another_answer() -> None:
    pair = [
        play().booted().csms("ClearCache", {}, answer).frames for answer in ({"status": "Accepted"}, None)
    ]
    ((kind, action, paths),) = told(diff(*pair))
    assert (kind, action) == ("changed", "ClearCache")
    assert "answer" in paths


# ── every single change of the shipped session ──────────────────────────────────────────────────


def leaves(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every scalar in a payload that is no time and no transactionId (both are bound)."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in TIME_FIELDS and key != "transactionId":
                yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path


def altered(elements: list[object], path: tuple[str | int, ...]) -> str:
    copy = json.loads(json.dumps(elements))
    place = copy
    for step in path[:-1]:
        place = place[step]
    value = place[path[-1]]
    place[path[-1]] = f"{value}~" if isinstance(value, str) else not value if isinstance(value, bool) else 1
    if place[path[-1]] == value:
        place[path[-1]] = 2
    return json.dumps(copy)


def single_changes(frames: list[Frame]) -> Iterator[tuple[str, list[Frame]]]:
    """Every exchange dropped, every one duplicated, every scalar of every payload altered."""
    pairs: dict[tuple[Side | None, str], list[int]] = {}
    for place, frame in enumerate(frames):
        if frame.kind is not Kind.TEXT or frame.text is None:
            continue
        elements = json.loads(frame.text)
        asker = frame.sender if elements[0] == 2 else frame.sender and frame.sender.other
        pairs.setdefault((asker, elements[1]), []).append(place)
        payload_at = 3 if elements[0] == 2 else 2
        for path in leaves(elements[payload_at], (payload_at,)):
            if len(path) > 1:
                changed = replace(frame, text=altered(elements, path))
                yield f"#{frame.seq} {path} altered", [*frames[:place], changed, *frames[place + 1 :]]
    for (_, message_id), places in pairs.items():
        seqs = [frames[place].seq for place in places]
        yield f"{seqs} dropped", [frame for place, frame in enumerate(frames) if place not in places]
        copies = []
        for place in places:
            elements = json.loads(frames[place].text or "")
            copies.append(
                replace(frames[place], text=json.dumps([elements[0], f"{message_id}x", *elements[2:]]))
            )
        last = max(places) + 1
        yield f"{seqs} duplicated", [*frames[:last], *copies, *frames[last:]]


@pytest.mark.slow
def test_no_single_change_of_a_session_goes_unseen() -> None:
    frames = station_links(list(open_capture(REPOSITORY / "captures" / "otmk-shaped-demo").frames))
    tried = list(single_changes(frames))[::5]
    survived = [name for name, changed in tried if diff(frames, changed).equal]
    assert len(survived) <= len(tried) // 100, f"{len(survived)} of {len(tried)}: {survived}"


def test_a_text_outside_any_exchange_is_compared_too() -> None:
    clean = play().booted().frames
    stray = (play().booted() << cp("no message at all") << cs('[3,"nobody asked",{}]')).frames
    assert [(d.kind, d.recorded_seq) for d in diff(stray, clean).divergences] == [
        ("missing", 4),
        ("missing", 5),
    ]
    assert [(d.kind, d.replayed_seq) for d in diff(clean, stray).divergences] == [("extra", 4), ("extra", 5)]
    assert diff(stray, stray).equal
