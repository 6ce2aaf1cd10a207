"""The pictures: drawn on the Axes that were given, with a unit on every axis, also where there is nothing."""

from collections.abc import Callable, Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.axes import Axes

from tests.analysis.test_measures import sample, write
from tests.analysis.traffic import START, STARTED, at, frames
from twin import certificate
from twin.analysis import Tables, cadence, energy_balance, increments, plots, tables, wide
from twin.model import Frame

SAID = [
    (
        0,
        ">",
        [2, "i", "StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Available"}],
    ),
    (1, ">", START),
    (2, "<", STARTED),
    sample(60, "1"),
    sample(120, "39"),
    sample(180, "50"),
    *write(190, "HeartbeatInterval", "40"),
]
DRAWN: dict[str, Callable[[Tables, Axes], Axes]] = {
    "conversation": lambda t, ax: plots.conversation(t.calls, ax=ax),
    "status": lambda t, ax: plots.connector_status(t.status, until=at(200), ax=ax),
    "current": lambda t, ax: plots.by_connector(wide(t.meter), "current_a", ax=ax),
    "register": lambda t, ax: plots.register(wide(t.meter), ax=ax),
    "balance": lambda t, ax: plots.energy_balance(energy_balance(increments(wide(t.meter))), ax=ax),
    "cadence": lambda t, ax: plots.cadence(cadence(wide(t.meter), t.configuration, 60), ax=ax),
    "latency": lambda t, ax: plots.latency_ecdf(t.calls, certificate.load(), ax=ax),
}
UNITS = {"Time (UTC)", "Time of the sample (UTC)", "∫V·I·dt [Wh]", "Register ΔE [Wh]", "Energy register [Wh]"}
UNITS |= {"Since the one before [s]", "Connector", "CALL to answer", "Share of the CALLs", ""}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    backend = mpl.get_backend()
    plt.switch_backend("agg")
    with plt.style.context(plots.STYLE):
        yield
    plt.close("all")
    plt.switch_backend(backend)


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("listing", [frames(*SAID), []], ids=["some", "nothing"])
def test_plots_draw_on_the_given_axes(name: str, listing: list[Frame]) -> None:
    figure, ax = plt.subplots()
    assert DRAWN[name](tables(listing), ax) is ax
    figure.canvas.draw()
    assert {ax.get_xlabel(), ax.get_ylabel()} <= UNITS


def test_plots_find_the_current_axes_by_themselves() -> None:
    assert plots.conversation(tables(frames(*SAID)).calls) is plt.gca()


def test_the_certified_times_stand_in_the_latency_plot() -> None:
    ax = plots.latency_ecdf(tables(frames(*SAID)).calls, certificate.load())
    labels = ax.get_legend_handles_labels()[1]
    assert labels[-3:] == [
        "limit 5 s",
        "measured 2 s (response, remote start)",
        "measured 4 s (triggered function)",
    ]
    drawn = {line.get_xdata()[0] for line in ax.lines if line.get_label() in labels[-3:]}  # type: ignore[index]  # a list here
    assert drawn == {2, 4, 5}


def test_a_transaction_that_does_not_add_up_is_marked() -> None:
    balance = pd.DataFrame(
        {"register_wh": [100.0, 50.0], "integral_wh": [101.0, 100.0], "ratio": [0.99, 0.5]}
    )
    ax = plots.energy_balance(balance)
    assert ax.get_legend_handles_labels()[1] == ["within 10 %", "agrees (1)", "more than 10 % apart (1)"]


def test_colours_tell_every_status_of_the_standard_apart() -> None:
    assert len(set(plots.STATUS_COLOURS.values())) == len(plots.STATUS_COLOURS) == 9
