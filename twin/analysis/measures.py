"""What is measured on the tables: samples side by side, energy balance, cadence and answer times."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from twin.certificate.profile import Tolerances

# Columns of `wide`: (measurand, base unit), whole-station values at the outlet.
MEASURED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "energy_wh": ("Energy.Active.Import.Register", "Wh"),
        "current_a": ("Current.Import", "A"),
        "voltage_v": ("Voltage", "V"),
        "power_w": ("Power.Active.Import", "W"),
    }
)

_SAMPLE = ["station", "connector_id", "transaction_id", "context", "stamp"]
_TRANSACTION = ["station", "connector_id", "transaction_id"]
_UNTIMED = ("GetDiagnostics", "UpdateFirmware")  # excluded by the certificate, as in rule P001


def wide(meter: pd.DataFrame) -> pd.DataFrame:
    """Samples side by side: a row for each (station, connector, transaction, context, stamp).

    Columns: those five, ``at`` (first arrival) and the names of ``MEASURED``, NaN where a sample has no such
    value. Readings of one phase, of another location than the outlet and with an unreadable stamp or number
    are left out. Samples split over several messages are merged. Sorted by connector, then by stamp.
    """
    kept = meter[
        (meter["phase"] == "") & (meter["location"] == "Outlet") & (meter["source"] == "MeterValues")
    ]
    kept = kept[kept["stamp"].notna() & kept["base_value"].notna()]
    place = pd.Series("", index=kept.index, dtype="str")
    for name, (measurand, unit) in MEASURED.items():
        place[(kept["measurand"] == measurand) & (kept["base_unit"] == unit)] = name
    kept = kept.astype({"context": "str"}).assign(place=place)[place != ""]
    table = kept.pivot_table(
        index=_SAMPLE, columns="place", values="base_value", aggfunc="first", observed=True, dropna=False
    ).reindex(columns=list(MEASURED))
    arrival = kept.groupby(_SAMPLE, dropna=False, observed=True)["at"].min()
    joined = table.join(arrival).dropna(subset=list(MEASURED), how="all").reset_index()
    joined.columns.name = None
    ordered = joined.sort_values(["station", "connector_id", "stamp"], ignore_index=True)
    return ordered[[*_SAMPLE, "at", *MEASURED]]


def increments(samples: pd.DataFrame) -> pd.DataFrame:
    """What each periodic sample of a transaction added to the register, and what flowed since the one before.

    ``samples`` is ``wide(meter)``; only those with register, current and voltage take part. Columns: station,
    connector_id, transaction_id, ``stamp``, ``after_s``, ``register_wh`` (ΔWh) and ``integral_wh``: ∫V·I·dt
    of one phase by a trapeze, so the power between two samples is taken as a straight line.
    """
    own = samples[samples["context"] == "Sample.Periodic"].dropna(
        subset=["transaction_id", "energy_wh", "current_a", "voltage_v"]
    )
    own = own.assign(w=own["voltage_v"] * own["current_a"])
    before = own.groupby(_TRANSACTION)
    own["after_s"] = before["stamp"].diff().dt.total_seconds()
    own["register_wh"] = before["energy_wh"].diff()
    own["integral_wh"] = (own["w"] + before["w"].shift()) / 2 * own["after_s"] / 3600
    columns = [*_TRANSACTION, "stamp", "after_s", "register_wh", "integral_wh"]
    return own.dropna(subset=["after_s"])[columns].reset_index(drop=True)


def energy_balance(increments: pd.DataFrame) -> pd.DataFrame:
    """ΔWh of the register against ∫V·I·dt for each transaction, from its first to its last sample (T017).

    Columns: station, connector_id, transaction_id, ``seconds``, ``register_wh``, ``integral_wh`` and
    ``ratio``, register over integral (NaN where nothing flowed).
    """
    summed = increments.groupby(_TRANSACTION, as_index=False).agg(
        seconds=("after_s", "sum"), register_wh=("register_wh", "sum"), integral_wh=("integral_wh", "sum")
    )
    summed["ratio"] = summed["register_wh"] / summed["integral_wh"].replace(0, np.nan)
    return summed


def cadence(samples: pd.DataFrame, configuration: pd.DataFrame, otherwise_s: float) -> pd.DataFrame:
    """The interval before each periodic sample of a transaction, against MeterValueSampleInterval in force.

    ``samples`` is ``wide(meter)``; ``otherwise_s`` holds where the capture has not shown the key yet. By the
    station's stamps, so a drained queue does no harm. Columns: station, connector_id, transaction_id, stamp,
    ``at``, ``after_s``, ``due_s`` and ``missed``: samples that did not come, with the tolerance of the rules.
    A change of the interval restarts the phase (§9.1.19): across one, the longer of the two is due.
    """
    own = samples[(samples["context"] == "Sample.Periodic") & samples["transaction_id"].notna()]
    own = own[[*_TRANSACTION, "stamp", "at"]].copy()
    own["due_s"] = in_force_s(own, configuration, "MeterValueSampleInterval", otherwise_s)
    by_transaction = own.groupby(_TRANSACTION)
    own["after_s"] = by_transaction["stamp"].diff().dt.total_seconds()
    own["due_s"] = own["due_s"].combine(by_transaction["due_s"].shift(), np.fmax)
    own = own.dropna(subset=["after_s"]).reset_index(drop=True)
    slack_s = np.fmax(Tolerances().timer_us / 1e6, own["due_s"] * Tolerances().timer_share)
    own["missed"] = ((own["after_s"] + slack_s) // own["due_s"] - 1).clip(lower=0).astype("int64")
    return own[[*_TRANSACTION, "stamp", "at", "after_s", "due_s", "missed"]]


def heartbeats(calls: pd.DataFrame, configuration: pd.DataFrame, otherwise_s: float) -> pd.DataFrame:
    """The silence before each Heartbeat and the interval in force (OCPP 1.6 §4.6, §9.1.10).

    Columns: station, ``at``, ``after_s`` since the Heartbeat before it, ``silence_s`` since any CALL of the
    station, ``due_s``. Only the second one is owed: a Heartbeat may be skipped where other CALLs were sent.
    """
    own = calls[calls["side"] == "station"][["station", "at", "action"]].copy()
    own["silence_s"] = own.groupby("station")["at"].diff().dt.total_seconds()
    own = own[own["action"] == "Heartbeat"].reset_index(drop=True)
    own["after_s"] = own.groupby("station")["at"].diff().dt.total_seconds()
    own["due_s"] = in_force_s(own, configuration, "HeartbeatInterval", otherwise_s)
    return own[["station", "at", "after_s", "silence_s", "due_s"]]


def in_force_s(
    rows: pd.DataFrame, configuration: pd.DataFrame, key: str, otherwise_s: float
) -> "pd.Series[float]":
    """The integer key in force for each row's station at its ``at``, in seconds; keys are CiStrings."""
    known = configuration[configuration["key"].str.casefold() == key.casefold()]
    known = known.assign(due_s=pd.to_numeric(known["value"], errors="coerce").astype("float64"))
    merged = pd.merge_asof(
        rows[["station", "at"]].reset_index(names="row").sort_values("at"),
        known[["station", "at", "due_s"]].dropna().sort_values("at"),
        on="at",
        by="station",
    ).set_index("row")
    return merged["due_s"].fillna(otherwise_s).reindex(rows.index)


def answer_times(calls: pd.DataFrame) -> pd.DataFrame:
    """The CALLs of the CSMS that the station answered, with the certificate's ``figure`` each falls under.

    ``figure`` is ``remote_start`` for RemoteStartTransaction, else ``response``; firmware and diagnostics,
    which the certificate excludes, are left out. ``took_s`` is in seconds at the place of recording.
    """
    own = calls[(calls["side"] == "csms") & calls["took_ms"].notna() & ~calls["action"].isin(_UNTIMED)]
    figure = np.where(own["action"] == "RemoteStartTransaction", "remote_start", "response")
    return own.assign(figure=figure, took_s=own["took_ms"] / 1000).reset_index(drop=True)


class Trigger(NamedTuple):
    """A function and the station's message that follows from it, told by the column they share."""

    action: str
    statuses: tuple[str, ...]
    follows: tuple[str, ...]
    shared: str


TRIGGERS = (
    Trigger("RemoteStartTransaction", ("Accepted",), ("Authorize", "StartTransaction"), "id_tag"),
    Trigger("RemoteStopTransaction", ("Accepted",), ("StopTransaction",), "transaction_id"),
    Trigger("ChangeAvailability", ("Accepted",), ("StatusNotification",), "connector_id"),
    Trigger("Authorize", ("Accepted",), ("StartTransaction",), "id_tag"),
)
"""The chains of rule P002 that a capture shows without knowing what a human did in between."""


def triggered_functions(calls: pd.DataFrame, within_s: float = 60) -> pd.DataFrame:
    """From the end of a function to the station's message that follows from it.

    A row for each accepted function of ``TRIGGERS`` whose message came within ``within_s``: ``action``,
    ``followed_by``, ``seq``, ``followed_seq``, ``at`` (its answer), ``took_s``. Upper bounds: a plug put in
    late, or a CALL that was waiting for its answer, is inside the time.
    """
    rows: list[dict[str, Any]] = []
    own = calls[calls["side"] == "station"]
    for trigger in TRIGGERS:
        done = calls[(calls["action"] == trigger.action) & calls["status"].isin(trigger.statuses)]
        later = own[own["action"].isin(trigger.follows)]
        for function in done.to_dict("records"):
            wait_s = (later["at"] - pd.Timestamp(function["answered_at"])).dt.total_seconds()
            same = (later["station"] == function["station"]) & (
                later[trigger.shared] == function[trigger.shared]
            ).fillna(False)
            rows += [
                {
                    "action": trigger.action,
                    "followed_by": message["action"],
                    "seq": function["seq"],
                    "followed_seq": message["seq"],
                    "at": function["answered_at"],
                    "took_s": (message["at"] - function["answered_at"]).total_seconds(),
                }
                for message in later[same & wait_s.between(0, within_s)].head(1).to_dict("records")
            ]
    columns = ["action", "followed_by", "seq", "followed_seq", "at", "took_s"]
    return pd.DataFrame(rows, columns=columns).astype({"took_s": "float64"})
