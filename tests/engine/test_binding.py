"""Ids are changed where the schema says they stand, and nothing else of a text is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.engine.binding import Bijection, with_message_id, with_transaction_id
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
        ("DataTransfer", '{"transactionId":7}', '{"transactionId":7}'),
        ("MeterValues", '{"x":{"transactionId":7},"transactionId":7}',
         '{"x":{"transactionId":7},"transactionId":99}'),
        ("MeterValues", '{"x":"\\"transactionId\\":7","transactionId":7}',
         '{"x":"\\"transactionId\\":7","transactionId":99}'),
    ],
)  # fmt: skip
def test_another_transaction_id_where_the_schema_has_it(action: str, payload: str, changed: str) -> None:
    bound = Bijection()
    bound.bind(7, 99)
    text = f'[2,"1","{action}",{payload}]'
    assert with_transaction_id(text, action, bound.live) == f'[2,"1","{action}",{changed}]'


@given(st.integers(-(2**40), 2**40), st.integers(-(2**40), 2**40), st.text(max_size=20))
def test_there_and_back_is_the_same_text(recorded: int, live: int, reason: str) -> None:
    bound = Bijection()
    bound.bind(recorded, live)
    text = json.dumps(
        [2, "1", "StopTransaction", {"reason": reason, "transactionId": recorded, "meterStop": 0}]
    )
    there = with_transaction_id(text, "StopTransaction", bound.live)
    message = parse(there).message
    assert isinstance(message, Call)
    assert (message.payload["transactionId"], message.payload["reason"]) == (live, reason)
    assert with_transaction_id(there, "StopTransaction", bound.recorded) == text


def test_a_second_partner_for_either_side_is_a_conflict_and_changes_nothing() -> None:
    bound = Bijection()
    for recorded, live in ((1, 10), (1, 10), (1, 11), (2, 10), (2, 20)):
        bound.bind(recorded, live)
    assert bound.conflicts == [(1, 11), (2, 10)]
    assert (bound.live(1), bound.live(2), bound.recorded(10), bound.recorded(20)) == (10, 20, 1, 2)
    assert (bound.live(3), bound.recorded(30)) == (3, 30)
