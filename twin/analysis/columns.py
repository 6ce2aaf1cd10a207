"""The column dictionary: every column of every table, its dtype and its meaning, in the order of the table.

The names are an interface. A column that is renamed, removed or means something else raises ``VERSION``; a
new one does not.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

VERSION = 1

type Dtype = Literal["stamp", "int64", "Int64", "float64", "str", "category"]


class Column(NamedTuple):
    """One column. ``stamp`` is ``datetime64[us, UTC]``; only ``Int64``, ``float64`` and ``stamp`` have gaps
    (``<NA>``, ``NaN``, ``NaT``): a text that is not there is "".
    """

    name: str
    dtype: Dtype
    meaning: str


_WHERE = (
    Column("station", "str", 'identity in the path of the WebSocket, "" if unknown'),
    Column("link", "str", "the WebSocket connection"),
)
_CONNECTOR = Column("connector_id", "Int64", "connectorId; 0 is the whole station")
_TRANSACTION = Column("transaction_id", "Int64", "transactionId")

COLUMNS: Mapping[str, tuple[Column, ...]] = MappingProxyType(
    {
        "frames": (
            Column("seq", "int64", "number of the frame in the capture, from 1"),
            Column("at", "stamp", "when it was seen on the wire"),
            *_WHERE,
            Column("side", "category", 'who sent it: station, csms, "" for remarks of the recorder'),
            Column("kind", "category", "what it is: text, ping, open, end, gap and so on"),
            Column("event", "category", 'what it means: called, answered, malformed and so on; "" unjudged'),
            Column("action", "category", "OCPP action, also on the answers to it"),
            Column("message_id", "str", "messageId"),
            Column("bytes", "int64", "length on the wire before compression; text as UTF-8"),
            Column("text", "str", "the text, verbatim"),
        ),
        "calls": (
            Column("seq", "int64", "frame of the CALL"),
            Column("at", "stamp", "when the CALL was seen"),
            *_WHERE,
            Column("side", "category", "who sent the CALL"),
            Column("action", "category", "OCPP action"),
            Column("message_id", "str", "messageId"),
            Column("outcome", "category", "answered, refused (CALLERROR), timed out, or open at the end"),
            Column("answered_seq", "Int64", "frame of the answer"),
            Column("answered_at", "stamp", "when the answer was seen"),
            Column("took_ms", "float64", "milliseconds from CALL to answer, at the place of recording"),
            Column("status", "str", "status, or idTagInfo.status, of the answer"),
            Column("error_code", "str", "errorCode of a CALLERROR"),
            Column("outstanding", "int64", "other CALLs of the sender that were unanswered when it was sent"),
            Column("connector_id", "Int64", "connectorId of the CALL"),
            Column("transaction_id", "Int64", "transactionId of the CALL, or of StartTransaction.conf"),
            Column("id_tag", "str", "idTag of the CALL, as recorded (it may be a pseudonym)"),
        ),
        "meter": (
            Column("seq", "int64", "frame of the CALL; one row for each sampledValue in it"),
            Column("at", "stamp", "arrival: when the CALL was seen"),
            Column("stamp", "stamp", "time of the sample by the station's clock (payload)"),
            *_WHERE,
            Column("source", "category", "MeterValues or transactionData"),
            _CONNECTOR,
            _TRANSACTION,
            Column("context", "category", "reading context; Sample.Periodic if omitted"),
            Column("measurand", "category", "measurand; Energy.Active.Import.Register if omitted"),
            Column("phase", "category", 'phase, "" for a total'),
            Column("location", "category", "location; Outlet if omitted"),
            Column("value_text", "str", "the value, exactly as on the wire"),
            Column("value", "float64", "the value as a number in `unit`; NaN if the text is none"),
            Column("unit", "category", 'unit as on the wire, "" if omitted'),
            Column("base_value", "float64", "the value in `base_unit`"),
            Column("base_unit", "category", "Wh, W, varh, var, VA, A, V …: no kilo; by measurand if omitted"),
        ),
        "transactions": (
            *_WHERE,
            _CONNECTOR,
            _TRANSACTION,
            Column("id_tag", "str", "idTag of StartTransaction, as recorded"),
            Column("start_seq", "Int64", "frame of StartTransaction; missing if it began before the capture"),
            Column("start_at", "stamp", "arrival of StartTransaction"),
            Column("started", "stamp", "timestamp of StartTransaction"),
            Column("meter_start_wh", "Int64", "meterStart"),
            Column("status", "str", "idTagInfo.status of StartTransaction.conf"),
            Column("stop_seq", "Int64", "frame of StopTransaction; missing while it is open"),
            Column("stop_at", "stamp", "arrival of StopTransaction"),
            Column("stopped", "stamp", "timestamp of StopTransaction"),
            Column("meter_stop_wh", "Int64", "meterStop"),
            Column("reason", "str", 'reason of StopTransaction; Local if omitted, "" while it is open'),
        ),
        "status": (
            Column("seq", "int64", "frame of StatusNotification"),
            Column("at", "stamp", "arrival"),
            Column("stamp", "stamp", "timestamp of the payload, which may omit it"),
            *_WHERE,
            _CONNECTOR,
            Column("status", "category", "status of the connector"),
            Column("error_code", "category", "errorCode"),
            Column("info", "str", "info"),
        ),
        "configuration": (
            Column("seq", "int64", "frame that showed or changed the value"),
            Column("at", "stamp", "from when on it is in force"),
            *_WHERE,
            Column("key", "str", "configuration key, as spelt on the wire"),
            Column("value", "str", "value, as on the wire"),
            Column("source", "category", "GetConfiguration, ChangeConfiguration or BootNotification.conf"),
        ),
        "findings": (
            Column("rule", "category", "rule id; `twin check --explain` says what it means"),
            Column("severity", "category", "error, warning, drift or note"),
            Column("fault", "category", "who is to blame: station, csms, capture or nobody"),
            Column("seq", "Int64", "frame that gave rise to it"),
            Column("at", "stamp", "when it became true"),
            *_WHERE,
            _CONNECTOR,
            _TRANSACTION,
            Column("detail", "str", "the evidence in words"),
        ),
    }
)


def frame_of(table: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The DataFrame of a table of ``COLUMNS`` from records by column name; what a record lacks is a gap.

    Stamps are given in µs UTC. Integers that do not fit 64 bits become gaps.
    """
    records = list(rows)
    columns = COLUMNS[table]
    return pd.DataFrame(
        {
            column.name: _series([record.get(column.name) for record in records], column.dtype)
            for column in columns
        },
        columns=[column.name for column in columns],
    )


def _series(values: list[Any], dtype: Dtype) -> "pd.Series[Any]":
    if dtype == "stamp":
        ticks = [np.iinfo(np.int64).min if value is None else value for value in values]  # NaT
        stamps = pd.Series(np.array(ticks, dtype=np.int64).view("datetime64[us]"))
        return stamps.dt.tz_localize("UTC")
    if dtype == "category":
        return pd.Series(pd.Categorical([_text(value) for value in values]))
    if dtype == "str":
        return pd.Series([_text(value) for value in values], dtype="str")
    if dtype == "Int64":
        return pd.Series([_int64(value) for value in values], dtype="Int64")
    return pd.Series(values, dtype=dtype)


def _text(value: Any) -> str:
    """A lone surrogate, which JSON can spell and no table can hold, stays visible as its escape."""
    text = "" if value is None else str(value)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _int64(value: int | None) -> int | None:
    return value if value is not None and -(2**63) <= value < 2**63 else None
