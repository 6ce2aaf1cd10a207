"""Two captures compared: what must differ does not count, everything else does."""

import json

import pytest
from msgspec.structs import replace

from tests.playbook import Play, after, cp, cs, meter, play, stamp
from twin.engine.replay.diff import Diff, diff
from twin.model import Frame


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


@pytest.mark.parametrize("other", [None, 5, 0.5, True, "x", [], [{}], {"x": 1}])
def test_a_payload_that_is_another_thing_altogether(other: object) -> None:
    usual = play().booted().station("DataTransfer", {"vendorId": "x"}, {"status": "Accepted"}).frames
    for text in ("request", "answer"):
        p = play().booted()
        request: object = other if text == "request" else {"vendorId": "x"}
        p.station("DataTransfer", request, other if text == "answer" else {"status": "Accepted"})  # type: ignore[arg-type]  # what the wire may hold
        assert not diff(usual, p.frames).equal
        cut = other is None and text == "answer"  # no answer at the very end: nobody knows
        assert diff(p.frames, usual).equal is cut
        assert diff(p.frames, p.frames).equal


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
        ({"data": [1, 2]}, {"data": [1]}, ("request/data", "request/data/1")),
        ({"timestamp": "2026-09-21T14:13:20Z"}, {"timestamp": "2026-09-21T14:13:21.5Z"}, ()),
        ({"timestamp": "2026-09-21T14:13:20Z"}, {"timestamp": "2026-09-21T14:14:20Z"},
         ("request/timestamp",)),
        ({"timestamp": "2026-09-21T14:13:20Z"}, {"timestamp": "2026-09-21T14:13:20+02:00"},
         ("request/timestamp",)),
        ({"timestamp": "2026-09-21T14:13:20Z"}, {"timestamp": "soon"}, ("request/timestamp",)),
        ({"data": 10**400}, {"data": 10**400 + 1}, ("request/data",)),
        ({"data": 2**53}, {"data": 2**53 + 1}, ("request/data",)),
        # equal hashes in CPython, and different values
        ({"data": -1}, {"data": -2}, ("request/data",)),
        ({"data": 0}, {"data": 2**61 - 1}, ("request/data",)),
        ({"data": "{}"}, {"data": {}}, ("request/data",)),
        ({"data": 0}, {"data": []}, ("request/data",)),
        ({"data": {}}, {"data": []}, ("request/data",)),
        ({"a": {"b": 1}, "a/b": 2}, {"a": {"b": 9}, "a/b": 2}, ("request/a/b",)),
        ({"a~b": 1, "a/b": 2}, {"a~b": 1, "a/b": 3}, ("request/a~1b",)),
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


def test_a_text_outside_any_exchange_is_compared_too() -> None:
    clean = play().booted().frames
    stray = (play().booted() << cp("no message at all") << cs('[3,"nobody asked",{}]')).frames
    assert [(d.kind, d.recorded_seq) for d in diff(stray, clean).divergences] == [
        ("missing", 4),
        ("missing", 5),
    ]
    assert [(d.kind, d.replayed_seq) for d in diff(clean, stray).divergences] == [("extra", 4), ("extra", 5)]
    assert diff(stray, stray).equal


def test_of_several_stations_each_is_compared_with_the_one_of_its_name() -> None:
    def of(station: str, frames: list[Frame], first_seq: int) -> list[Frame]:
        return [
            replace(frame, station=station, link=f"{station}-{frame.link}", seq=first_seq + place)
            for place, frame in enumerate(frames)
        ]

    one, other = session().frames, session(connector=2).frames
    both = of("A", one, 1) + of("B", other, 1_000)
    turned = of("B", other, 1) + of("A", one, 1_000)
    assert diff(both, turned).equal
    worse = of("B", other[:-2], 1) + of("A", one, 1_000)
    (missing,) = diff(both, worse).divergences
    assert (missing.kind, missing.action, missing.stream) == ("missing", "ClearCache", "CSMS ClearCache of B")
    assert {d.kind for d in diff(both, of("A", one, 1)).divergences} == {"missing"}
    # one capture numbers the frames of all: what came first is told first, whatever the station is called
    mixed = sorted(of("B", one, 1) + of("A", other, 2), key=lambda frame: (frame.at_us, frame.seq))
    mixed = [replace(frame, seq=number) for number, frame in enumerate(mixed, 1)]
    found = diff(mixed, [frame for frame in mixed if '"ClearCache"' not in (frame.text or "")]).divergences
    places = [d.recorded_seq for d in found if d.recorded_seq is not None]
    assert len({d.stream[-1] for d in found}) == 2
    assert places == sorted(places)


def test_a_transaction_more_renames_none_that_was_recorded() -> None:
    def of(*connectors: int) -> list[Frame]:
        p = play().booted()
        for number, connector in enumerate(connectors, 1):
            p.started(connector, 10 * number)
            stop = {"transactionId": 10 * number, "meterStop": connector, "timestamp": stamp(61)}
            p.station("StopTransaction", stop, {})
        return p.frames

    found = diff(of(1, 2), of(1, 3, 2)).divergences
    assert {(d.kind, d.stream) for d in found if d.action != "Authorize"} == {("extra", "transaction 3")}


def reserved(**ids: int) -> list[Frame]:
    """A reservation of each connector (``c1=7``: connector 1, reservationId 7), cancelled again."""
    p = play().booted()
    for connector, reservation_id in ids.items():
        request = {"connectorId": int(connector[1:]), "reservationId": reservation_id, "idTag": "A"}
        p.csms("ReserveNow", request, {"status": "Accepted"})
        p.csms("CancelReservation", {"reservationId": reservation_id}, {"status": "Accepted"})
    return p.frames


def asked(action: str, request: dict[str, object], answer: dict[str, object]) -> list[Frame]:
    return play().booted().csms(action, request, answer).frames


def test_ids_that_were_given_have_names_and_other_numbers_are_values() -> None:
    assert diff(reserved(c1=7, c2=8), reserved(c1=1, c2=2)).equal
    assert diff(reserved(c1=7, c2=7), reserved(c1=1, c2=2)).equal  # the recorded CSMS used one again
    assert not diff(reserved(c1=7, c2=8), reserved(c1=1, c2=1)).equal
    versions = [asked("GetLocalListVersion", {}, {"listVersion": version}) for version in (-1, 17)]
    assert not diff(*versions).equal
    cleared = [asked("ClearChargingProfile", {"id": one}, {"status": "Accepted"}) for one in (5, 9)]
    assert not diff(*cleared).equal


def test_an_id_that_was_not_given_renames_no_other() -> None:
    found = diff(reserved(c1=7, c2=8, c3=9), reserved(c2=2, c3=3))
    assert told(found) == [("missing", "ReserveNow", ()), ("missing", "CancelReservation", ())]
