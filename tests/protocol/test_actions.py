"""The table of actions against the schema files there are and the chapters of the specification."""

from collections import Counter
from importlib.resources import files

from twin.model import Side
from twin.protocol.actions import ACTIONS, TRANSACTION_ACTIONS


def test_every_action_has_its_two_schemas_and_every_schema_its_action() -> None:
    there = {
        entry.name.removesuffix(".json") for entry in (files("ocpp") / "v16" / "schemas").iterdir()
        if entry.name.endswith(".json")
    }  # fmt: skip
    assert there == {name + suffix for name in ACTIONS for suffix in ("", "Response")}


def test_the_numbers_are_those_of_the_specification() -> None:
    assert Counter(action.profile for action in ACTIONS.values()) == {
        "Core": 16, "FirmwareManagement": 4, "LocalAuthListManagement": 2, "Reservation": 2,
        "SmartCharging": 3, "RemoteTrigger": 1, "Security": 11,
    }  # fmt: skip


def test_only_data_transfer_goes_both_ways() -> None:
    assert [name for name, action in ACTIONS.items() if action.senders == frozenset(Side)] == ["DataTransfer"]


def test_names_are_their_own_keys() -> None:
    assert all(name == action.name for name, action in ACTIONS.items())


def test_transaction_messages_come_from_the_station() -> None:
    assert all(ACTIONS[name].senders == frozenset({Side.STATION}) for name in TRANSACTION_ACTIONS)
