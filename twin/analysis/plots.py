"""Pictures of the tables. Every function takes ``ax=`` and returns the Axes; units stand on the axes.

The style sheet is found by its name: ``plt.style.use(STYLE)``.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator
from matplotlib.ticker import FuncFormatter

from twin.certificate import Certificate

STYLE = "twin.analysis.octoflex"

_EPOCH = pd.Timestamp(0, unit="us", tz="UTC")

# Okabe and Ito; a status keeps its colour in every plot, what is wrong is vermilion.
STATUS_COLOURS = {
    "Available": "#d9dee3",
    "Preparing": "#E69F00",
    "Charging": "#0072B2",
    "SuspendedEV": "#56B4E9",
    "SuspendedEVSE": "#CC79A7",
    "Finishing": "#009E73",
    "Reserved": "#F0E442",
    "Unavailable": "#5f6b76",
    "Faulted": "#D55E00",
}
SIDE_COLOURS = {"station": "#0072B2", "csms": "#D55E00"}
WRONG, QUIET, INK = "#D55E00", "#5f6b76", "#000000"
LABELS = {
    "energy_wh": "Energy register [Wh]",
    "current_a": "Current [A]",
    "voltage_v": "Voltage [V]",
    "power_w": "Power [W]",
}


def conversation(calls: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Every CALL as a tick in the row of its action, coloured by its sender; busiest action on top."""
    ax = ax or plt.gca()
    actions = list(calls["action"].astype("str").value_counts(ascending=True).index)
    row = {action: place for place, action in enumerate(actions)}
    for side, own in calls.groupby("side", observed=True):
        places = own["action"].astype("str").map(row)
        colour = SIDE_COLOURS.get(str(side), QUIET)
        ax.scatter(_times(own["at"]), places, marker="|", s=60, color=colour, label=f"sent by {side}")
    ax.xaxis_date()
    ax.set_yticks(range(len(actions)), actions)
    ax.set_ylim(-0.6, len(actions) - 0.4)
    ax.grid(axis="x", visible=False)
    ax.set(xlabel="Time (UTC)", title="CALLs by action")
    _legend_above(ax, 2)
    return ax


def connector_status(status: pd.DataFrame, until: pd.Timestamp, ax: Axes | None = None) -> Axes:
    """Each connector's status over time, from StatusNotification to StatusNotification and to ``until``."""
    ax = ax or plt.gca()
    own = status[status["connector_id"].notna()].sort_values("at", kind="stable")
    ends = own.groupby(["station", "connector_id"])["at"].shift(-1).fillna(until)
    start, width = _times(own["at"]), _times(ends) - _times(own["at"])
    shown: set[str] = set()
    for begin, length, connector, name in zip(start, width, own["connector_id"], own["status"], strict=True):
        colour = STATUS_COLOURS.get(name, "#000000")
        label = None if name in shown else name
        ax.broken_barh([(begin, length)], (int(connector) - 0.4, 0.8), facecolor=colour, label=label)
        shown.add(name)
    ax.xaxis_date()
    _connector_axis(ax, own["connector_id"])
    ax.grid(visible=False)
    ax.set(xlabel="Time (UTC)", ylabel="Connector", title="Connector status")
    _legend_above(ax, 5)
    return ax


def by_connector(samples: pd.DataFrame, column: str, ax: Axes | None = None) -> Axes:
    """One column of ``wide(meter)`` as colour, by connector and time; with a colour bar in its unit."""
    ax = ax or plt.gca()
    own = samples.dropna(subset=[column])
    points = ax.scatter(
        _times(own["stamp"]), own["connector_id"].astype("int64"), c=own[column], marker="s", s=26
    )
    ax.xaxis_date()
    _connector_axis(ax, own["connector_id"])
    ax.set(xlabel="Time of the sample (UTC)", ylabel="Connector", title=LABELS[column].partition(" [")[0])
    ax.figure.colorbar(points, ax=ax, label=LABELS[column], pad=0.01)
    return ax


def register(samples: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The energy register of one connector over time, a line for each transaction."""
    ax = ax or plt.gca()
    own = samples.dropna(subset=["energy_wh", "transaction_id"])
    for transaction_id, one in own.groupby("transaction_id"):
        ax.plot(_times(one["stamp"]), one["energy_wh"], marker="o", label=f"transaction {transaction_id}")
    ax.xaxis_date()
    few = AutoDateLocator(minticks=2, maxticks=4)  # type: ignore[no-untyped-call]  # matplotlib has no type here
    ax.xaxis.set_major_locator(few)  # it is often one of many panels
    ax.set(xlabel="Time of the sample (UTC)", ylabel=LABELS["energy_wh"])
    return ax


def energy_balance(balance: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Each transaction's register difference against ∫V·I·dt, with equality and 10 % around it (T017)."""
    ax = ax or plt.gca()
    top = float(np.nanmax([balance["integral_wh"].max(), balance["register_wh"].max(), 1])) * 1.05
    edge = np.array([0, top])
    ax.fill_between(edge, edge * 0.9, edge * 1.1, color="#d9dee3", label="within 10 %", linewidth=0)
    ax.plot(edge, edge, color=QUIET, linewidth=1)
    off = (balance["ratio"] - 1).abs() > 0.1
    for chosen, colour, label in ((~off, "#0072B2", "agrees"), (off, WRONG, "more than 10 % apart")):
        own = balance[chosen]
        marker = "o" if label == "agrees" else "D"
        ax.scatter(
            own["integral_wh"],
            own["register_wh"],
            color=colour,
            marker=marker,
            s=22,
            label=f"{label} ({len(own)})",
        )
    ax.set(xlim=(0, top), ylim=(0, top), xlabel="∫V·I·dt [Wh]", ylabel="Register ΔE [Wh]")
    ax.set(title="Register against integral, by transaction", aspect="equal")
    ax.legend(loc="upper left")
    return ax


def cadence(intervals: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """What came after how long (``after_s`` by ``at``), and when it was due, in seconds.

    ``intervals`` comes from ``measures.cadence`` or ``measures.heartbeats``.
    """
    ax = ax or plt.gca()
    own = intervals.dropna(subset=["after_s"]).sort_values("at")
    ax.scatter(_times(own["at"]), own["after_s"], s=18, alpha=0.6, label="seen", zorder=3)
    ax.plot(_times(own["at"]), own["due_s"], color=WRONG, drawstyle="steps-post", linewidth=1, label="due")
    ax.xaxis_date()
    ax.set_ylim(0, 1.15 * float(np.nanmax([own["after_s"].max(), own["due_s"].max(), 1])))
    ax.set(xlabel="Time (UTC)", ylabel="Since the one before [s]")
    _legend_above(ax, 2)
    return ax


def latency_ecdf(calls: pd.DataFrame, certificate: Certificate | None = None, ax: Axes | None = None) -> Axes:
    """The share of CALLs answered within a time, a step line for each action, on a logarithmic axis.

    With ``certificate`` its limit and what the laboratory measured stand as vertical lines: they hold for
    answers of the station, so ``calls`` should then be those of the CSMS.
    """
    ax = ax or plt.gca()
    timed = calls[calls["took_ms"] > 0]
    styles = ("-", "--", ":")
    for place, (action, own) in enumerate(timed.groupby("action", observed=True)):
        style = styles[place // 7 % len(styles)]
        marker = "o" if len(own) <= 20 else ""
        ax.ecdf(own["took_ms"] / 1000, label=f"{action} ({len(own)})", linestyle=style, marker=marker)
    ax.set_xscale("log")
    if certificate:
        _certified_lines(ax, certificate)
    ax.xaxis.set_major_formatter(FuncFormatter(_seconds))
    ax.set(ylim=(0, 1.03), xlabel="CALL to answer", ylabel="Share of the CALLs")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return ax


def _certified_lines(ax: Axes, certificate: Certificate) -> None:
    """A vertical line for each certified time, named in the legend; figures of one length share theirs."""
    lines: dict[tuple[str, int], list[str]] = {}
    for figure in certificate.performance:
        name = figure.id.replace("_", " ")
        lines.setdefault(("limit", figure.limit_s), []).append(name)
        lines.setdefault(("measured", figure.measured_s), []).append(name)
    for (word, seconds), names in sorted(lines.items()):
        every = len(names) == len(certificate.performance)
        label = f"{word} {seconds} s" + ("" if every else f" ({', '.join(names)})")
        thick = {"linewidth": 1.6} if word == "limit" else {"linewidth": 1, "linestyle": (0, (seconds, 2))}
        ax.axvline(seconds, color=INK, label=label, **thick)
    ax.set_xlim(right=2.4 * max(figure.limit_s for figure in certificate.performance))


def _legend_above(ax: Axes, columns: int) -> None:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=columns, borderaxespad=0.2)


def _connector_axis(ax: Axes, connectors: "pd.Series[Any]") -> None:
    lowest, highest = (int(connectors.min()), int(connectors.max())) if len(connectors) else (1, 1)
    ax.set_ylim(highest + 0.6, lowest - 0.6)  # connector 1 on top
    ax.set_yticks(range(lowest, highest + 1, 1 + (highest - lowest) // 25))
    ax.tick_params(axis="y", labelsize="small", length=0)


def _times(stamps: "pd.Series[Any]") -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Days since matplotlib's epoch (1970), from UTC stamps."""
    return np.asarray((stamps - _EPOCH) / pd.Timedelta(days=1), dtype=np.float64)


def _seconds(value: float, _: int | None) -> str:
    return f"{value:g} s" if value >= 1 else f"{value * 1000:g} ms"
