"""From frames to tables: what one row is, its dtypes, and that nothing a peer sends gives a traceback."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analysis.traffic import START, STARTED, at, frames
from tests.conftest import REPOSITORY
from twin.analysis import COLUMNS, Tables, load, tables
from twin.io.formats import CaptureError

DTYPES = {"stamp": "datetime64[us, UTC]", "str": "str"}


def value(text: str, **more: str) -> dict[str, str]:
    return {"value": text, **more}


def meter_values(connector_id: int, values: Iterable[Any], stamp: str = "2026-01-05T10:01:00Z") -> list[Any]:
    payload = {"connectorId": connector_id, "transactionId": 7}
    return [
        2,
        "m",
        "MeterValues",
        payload | {"meterValue": [{"timestamp": stamp, "sampledValue": list(values)}]},
    ]


def assert_columns(capture: Tables) -> None:
    for name, columns in COLUMNS.items():
        table = getattr(capture, name)
        assert list(table.columns) == [column.name for column in columns]
        for column in columns:
            assert str(table[column.name].dtype) == DTYPES.get(column.dtype, column.dtype), column


def test_a_call_and_its_answer_are_one_row() -> None:
    capture = tables(
        frames(
            (1, ">", [2, "a", "Authorize", {"idTag": "X"}]),
            (1.25, "<", [3, "a", {"idTagInfo": {"status": "Blocked"}}]),
        )
    )
    (call,) = capture.calls.to_dict("records")
    assert (call["action"], call["side"], call["outcome"], call["status"]) == (
        "Authorize",
        "station",
        "answered",
        "Blocked",
    )
    assert (call["seq"], call["answered_seq"], call["took_ms"]) == (2, 3, 250.0)
    assert (call["at"], call["answered_at"], call["id_tag"]) == (at(1), at(1.25), "X")
    assert capture.frames["event"].tolist() == ["opened", "called", "answered"]
    assert capture.frames["action"].tolist() == ["", "Authorize", "Authorize"]


def test_refused_timed_out_and_open_calls_say_so() -> None:
    capture = tables(
        frames(
            (1, "<", [2, "r", "Reset", {"type": "Soft"}]),
            (2, ">", [4, "r", "NotSupported", "", {}]),
            (3, "<", [2, "t", "ClearCache", {}]),
            (90, ">", [3, "t", {"status": "Accepted"}]),
            (91, ">", [2, "o", "Heartbeat", {}]),
        )
    )
    calls = capture.calls.set_index("message_id")
    assert calls["outcome"].to_dict() == {"r": "refused", "t": "timed out", "o": "open"}
    assert calls.loc["r", "error_code"] == "NotSupported"
    assert calls["took_ms"].isna().to_dict() == {"r": False, "t": True, "o": True}


def test_a_link_that_ends_leaves_its_calls_unanswered() -> None:
    capture = tables(frames((1, ">", [2, "a", "Heartbeat", {}]), end=True))
    assert capture.calls["outcome"].tolist() == ["timed out"]
    assert capture.frames["event"].tolist() == ["opened", "called", "closed"]


def test_the_same_id_in_both_directions_is_two_calls() -> None:
    capture = tables(
        frames(
            (1, ">", [2, "x", "Heartbeat", {}]),
            (2, "<", [2, "x", "ClearCache", {}]),
            (3, ">", [3, "x", {"status": "Accepted"}]),
            (5, "<", [3, "x", {"currentTime": "2026-01-05T10:00:05Z"}]),
        )
    )
    assert capture.calls[["side", "took_ms"]].values.tolist() == [["station", 4000.0], ["csms", 1000.0]]


def test_meter_values_keep_the_exact_text_beside_the_number() -> None:
    said = meter_values(
        3,
        [
            value("0.10", unit="kWh"),
            value("32.110", measurand="Current.Import", unit="A", phase="L1"),
            value("5", measurand="Voltage"),
            value("1,5"),
        ],
    )
    capture = tables(frames((60.5, ">", said)))
    meter = capture.meter
    assert meter["value_text"].tolist() == ["0.10", "32.110", "5", "1,5"]
    assert meter["value"].tolist()[:3] == [0.1, 32.11, 5.0]
    assert meter["base_value"].tolist()[:3] == [100.0, 32.11, 5.0]
    assert meter["base_unit"].tolist() == ["Wh", "A", "V", "Wh"]
    assert meter["unit"].tolist() == ["kWh", "A", "", ""]
    assert meter["value"].isna().tolist() == [False, False, False, True]
    assert meter["measurand"].tolist()[::3] == ["Energy.Active.Import.Register"] * 2
    assert set(meter["at"]) == {at(60.5)}
    assert set(meter["stamp"]) == {at(60)}
    assert meter[["connector_id", "transaction_id"]].values.tolist() == [[3, 7]] * 4


def test_transaction_data_takes_the_connector_of_its_transaction() -> None:
    data = [{"timestamp": "2026-01-05T10:02:00Z", "sampledValue": [value("150", context="Transaction.End")]}]
    stop = {
        "transactionId": 7,
        "meterStop": 150,
        "timestamp": "2026-01-05T10:02:00Z",
        "transactionData": data,
    }
    capture = tables(
        frames((1, ">", START), (2, "<", STARTED), (120, ">", [2, "e", "StopTransaction", stop]))
    )
    (sample,) = capture.meter.to_dict("records")
    assert (sample["source"], sample["connector_id"], sample["context"]) == (
        "transactionData",
        3,
        "Transaction.End",
    )
    (transaction,) = capture.transactions.to_dict("records")
    assert transaction["transaction_id"] == 7
    assert (transaction["start_seq"], transaction["stop_seq"]) == (2, 4)
    assert (transaction["start_at"], transaction["started"], transaction["stopped"]) == (
        at(1),
        at(1),
        at(120),
    )
    assert (transaction["meter_start_wh"], transaction["meter_stop_wh"]) == (100, 150)
    assert (transaction["status"], transaction["reason"]) == ("Accepted", "Local")
    assert capture.calls.loc[0, "transaction_id"] == 7


def test_a_stop_sent_again_is_still_one_transaction_with_its_first_arrival() -> None:
    stop = {"transactionId": 7, "meterStop": 150, "timestamp": "2026-01-05T10:02:00Z"}
    capture = tables(
        frames(
            (1, ">", START),
            (2, "<", STARTED),
            (120, ">", [2, "e", "StopTransaction", stop]),
            (180, ">", [2, "f", "StopTransaction", stop]),
        )
    )
    assert capture.transactions["stop_at"].tolist() == [at(120)]


def test_a_transaction_begun_before_the_capture_has_only_an_end() -> None:
    stop = {"transactionId": 9, "meterStop": 150, "timestamp": "2026-01-05T10:02:00Z", "reason": "Remote"}
    capture = tables(frames((1, ">", [2, "e", "StopTransaction", stop])))
    (transaction,) = capture.transactions.to_dict("records")
    assert (transaction["transaction_id"], transaction["reason"]) == (9, "Remote")
    assert pd.isna(transaction["start_seq"])
    assert pd.isna(transaction["connector_id"])


def test_configuration_lists_what_came_into_force() -> None:
    write = [2, "c", "ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "30"}]
    boot = {"status": "Accepted", "currentTime": "2026-01-05T10:00:01Z", "interval": 300}
    capture = tables(
        frames(
            (1, ">", [2, "b", "BootNotification", {"chargePointVendor": "X", "chargePointModel": "Y"}]),
            (1, "<", [3, "b", boot]),
            (2, "<", write),
            (3, ">", [3, "c", {"status": "Accepted"}]),
            (4, "<", [2, "d", *write[2:]]),
            (5, ">", [3, "d", {"status": "Rejected"}]),
        )
    )
    assert capture.configuration[["seq", "key", "value", "source"]].values.tolist() == [
        [3, "HeartbeatInterval", "300", "BootNotification.conf"],
        [5, "MeterValueSampleInterval", "30", "ChangeConfiguration"],
    ]


def test_findings_are_those_of_the_analyzer() -> None:
    capture = tables(
        frames(
            (1, ">", "[2,"),
            (
                2,
                ">",
                [
                    2,
                    "s",
                    "StatusNotification",
                    {"connectorId": 1, "errorCode": "NoError", "status": "Broken"},
                ],
            ),
        )
    )
    assert {"J001", "J021"} <= set(capture.findings["rule"])
    assert capture.status["status"].tolist() == ["Broken"]


def test_tables_have_the_columns_of_the_dictionary_even_when_empty() -> None:
    capture = tables([])
    assert_columns(capture)
    assert all(len(getattr(capture, name)) == 0 for name in COLUMNS)


def test_integers_that_fit_no_table_are_gaps() -> None:
    started = [3, "s", {"transactionId": 2**70, "idTagInfo": {"status": "Accepted"}}]
    capture = tables(frames((1, ">", START), (2, "<", started)))
    assert capture.transactions["transaction_id"].isna().tolist() == [True]
    assert_columns(capture)


words = st.sampled_from(
    ["MeterValues", "StartTransaction", "StopTransaction", "StatusNotification", "\ud800", "é"]
)
odd = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(st.characters(), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "connectorId",
                    "transactionId",
                    "timestamp",
                    "meterValue",
                    "sampledValue",
                    "value",
                    "unit",
                    "transactionData",
                    "status",
                    "idTagInfo",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
messages = st.one_of(
    st.tuples(st.just(2), st.sampled_from("ab"), words, odd),
    st.tuples(st.just(3), st.sampled_from("ab"), odd),
    st.tuples(st.just(4), st.sampled_from("ab"), odd, odd, odd),
    st.text(max_size=20),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 100), st.sampled_from("<>"), messages), max_size=6))
def test_any_traffic_gives_tables(said: list[tuple[int, str, Any]]) -> None:
    listing = frames(*sorted(said, key=lambda one: one[0]), end=True)
    capture = tables(listing)
    assert_columns(capture)
    assert capture.frames["seq"].tolist() == [frame.seq for frame in listing]


def test_a_capture_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(CaptureError):
        load(tmp_path / "absent.jsonl")


def test_twin_alone_loads_no_pandas_and_the_tables_no_matplotlib() -> None:
    program = (
        "import sys, twin, twin.io.formats\n"
        "assert 'pandas' not in sys.modules\n"
        "import twin.analysis\n"
        "assert 'pandas' in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_document_lists_every_column() -> None:
    text = (REPOSITORY / "docs" / "notebooks.md").read_text(encoding="utf-8")
    for name, columns in COLUMNS.items():
        section = text.partition(f"### `{name}`")[2].partition("\n### ")[0]
        rows = [line for line in section.splitlines() if line.startswith("| `")]
        assert rows == [f"| `{column.name}` | {column.dtype} | {column.meaning} |" for column in columns]


@pytest.mark.corpus
def test_a_session_of_twenty_connectors(corpora: Path) -> None:
    capture = load(corpora / "peer-sessions" / "otmk-shaped-sap--ocpp-csms.jsonl")
    assert_columns(capture)
    assert (len(capture.frames), len(capture.calls), len(capture.transactions)) == (2053, 1026, 81)
    assert int(capture.transactions["stop_seq"].notna().sum()) == 68
    assert set(capture.calls["outcome"]) == {"answered"}
    assert capture.frames["at"].is_monotonic_increasing
