"""Ids are changed where the schema says they stand, and nothing else of a text is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.engine.replay.binding import Bindings, Conflict, Space, with_message_id, with_our_location
from twin.model import Call
from twin.protocol.codec import parse


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ('[2,"a","Heartbeat",{}]', '[2,"NEW","Heartbeat",{}]'),
        (' [ 3 , "a" , { } ]', ' [ 3 , "NEW" , { } ]'),
        ('[3,"a\\"b",{"x":"a"}]', '[3,"NEW",{"x":"a"}]'),
        ('[4,"","GenericError","",{}]', '[4,"NEW","GenericError","",{}]'),
        ('[2,7,"Heartbeat",{}]', '[2,7,"Heartbeat",{}]'),
        ("no JSON", "no JSON"),
    ],
)
def test_another_message_id_and_the_spelling_kept(text: str, changed: str) -> None:
    assert with_message_id(text, "NEW") == changed


@pytest.mark.parametrize(
    ("action", "payload", "changed"),
    [
        ("StopTransaction", '{"transactionId" : 7, "meterStop":7}', '{"transactionId" : 99, "meterStop":7}'),
        ("RemoteStopTransaction", '{"transactionId":7}', '{"transactionId":99}'),
        ("MeterValues", '{"connectorId":7,"transactionId":7}', '{"connectorId":7,"transactionId":99}'),
        ("MeterValues", '{"transactionId":8}', '{"transactionId":8}'),  # never bound: older than the capture
        ("MeterValues", '{"transactionId":"7"}', '{"transactionId":"7"}'),
        ("MeterValues", '{"transactionId":7.0}', '{"transactionId":7.0}'),
        ("MeterValues", '{"transactionId":true}', '{"transactionId":true}'),
        ("DataTransfer", '{"transactionId":7}', '{"transactionId":7}'),
        ("MeterValues", '{"x":{"transactionId":7},"transactionId":7}',
         '{"x":{"transactionId":7},"transactionId":99}'),
        ("MeterValues", '{"x":"\\"transactionId\\":7","transactionId":7}',
         '{"x":"\\"transactionId\\":7","transactionId":99}'),
        ("SetChargingProfile", '{"connectorId":7,"csChargingProfiles":{"transactionId":7,"stackLevel":7}}',
         '{"connectorId":7,"csChargingProfiles":{"transactionId":99,"stackLevel":7}}'),
        ("RemoteStartTransaction", '{"idTag":"7","chargingProfile":{"transactionId":7}}',
         '{"idTag":"7","chargingProfile":{"transactionId":99}}'),
        ("MeterValues", '{"transactionId":7,"transactionId":7}', '{"transactionId":7,"transactionId":99}'),
    ],
)  # fmt: skip
def test_another_transaction_id_where_the_schema_has_it(action: str, payload: str, changed: str) -> None:
    bound = Bindings()
    bound.bind(Space.TRANSACTION, 7, 99)
    text = f'[2,"1","{action}",{payload}]'
    assert bound.to_live(text, action, answer=False) == f'[2,"1","{action}",{changed}]'


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("GetDiagnostics", '{"location":"ftp://real.example/up"}'),
        ("getdiagnostics", '{"location":"ftp://real.example/up"}'),
        ("GetDiagnostics", '{"location":"ftp://real.example/1","location":"ftp://real.example/2"}'),
        ("GetDiagnostics", '{"Location":"ftp:\\/\\/real.example"}'),
        ("GETLOG", '{"log":{"remoteLocation":"sftp://real.example","x":[{"y":"http://real.example"}]}}'),
        ("UpdateFirmware", '{"location":"real.example"}'),
    ],
)
def test_no_place_of_a_recording_is_told_however_it_is_spelt(action: str, payload: str) -> None:
    text = with_our_location(f'[2,"1","{action}",{payload}]', action)
    assert "real.example" not in text
    assert isinstance(parse(text).message, Call)


@given(st.integers(-(2**62), 2**62), st.integers(-(2**62), 2**62), st.text(max_size=20))
def test_there_and_back_is_the_same_text(recorded: int, live: int, reason: str) -> None:
    bound = Bindings()
    bound.bind(Space.TRANSACTION, recorded, live)
    text = json.dumps(
        [2, "1", "StopTransaction", {"reason": reason, "transactionId": recorded, "meterStop": 0}]
    )
    there = bound.to_live(text, "StopTransaction", answer=False)
    message = parse(there).message
    assert isinstance(message, Call)
    assert (message.payload["transactionId"], message.payload["reason"]) == (live, reason)
    assert bound.to_recorded(there, "StopTransaction", answer=False) == text


def test_every_tag_of_a_list_is_its_own() -> None:
    bound = Bindings({"A": "idt-1", "B": "idt-2"})
    text = '[2,"1","SendLocalList",{"localAuthorizationList":[{"idTag":"B"},{"idTag":"C"},{"idTag" : "A"}]}]'
    there = bound.to_live(text, "SendLocalList", answer=False)
    assert there == text.replace('"B"', '"idt-2"').replace('"A"', '"idt-1"')
    assert bound.to_recorded(there, "SendLocalList", answer=False) == text


def test_a_live_id_given_twice_is_a_conflict_and_is_used_all_the_same() -> None:
    bound = Bindings()
    for recorded, live in ((1, 10), (1, 10), (2, 10)):
        bound.bind(Space.TRANSACTION, recorded, live)
    assert bound.conflicts == [Conflict(Space.TRANSACTION, 10, 1, 2)]
    # a station uses the id that it was told; the recorded one might be somebody's
    assert bound.to_live('[2,"1","MeterValues",{"transactionId":2}]', "MeterValues", answer=False).endswith(
        '{"transactionId":10}]'
    )
    assert bound.to_recorded(
        '[2,"1","MeterValues",{"transactionId":10}]', "MeterValues", answer=False
    ).endswith('{"transactionId":1}]')


def test_a_recorded_id_used_twice_means_the_newer_live_one() -> None:
    """Refused starts are often all number 0 or -1: that is the recording's habit and nobody's conflict."""
    bound = Bindings()
    bound.bind(Space.TRANSACTION, -1, 10)
    bound.bind(Space.TRANSACTION, -1, 11)
    assert bound.conflicts == []
    text = '[2,"1","StopTransaction",{"transactionId":-1}]'
    assert "11" in bound.to_live(text, "StopTransaction", answer=False)


def test_what_is_born_in_an_exchange_is_learnt_from_both_sides() -> None:
    bound = Bindings()
    bound.learn("ReserveNow", {"reservationId": 5}, {"reservationId": 77}, answer=False)
    bound.learn("StartTransaction", {"transactionId": 1}, {"transactionId": "x1"}, answer=True)
    assert bound.pairs(Space.RESERVATION) == {5: 77}
    assert bound.pairs(Space.TRANSACTION) == {1: "x1"}
    text = '[2,"1","CancelReservation",{"reservationId":77}]'
    assert bound.to_recorded(text, "CancelReservation", answer=False) == text.replace("77", "5")
