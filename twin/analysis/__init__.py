"""Captures as tidy tables for notebooks: the columns, the loader and what is measured on them.

pandas is loaded here and nowhere below; matplotlib only by ``twin.analysis.plots``.
"""

from twin.analysis.columns import COLUMNS, VERSION, Column
from twin.analysis.measures import (
    answer_times,
    cadence,
    energy_balance,
    heartbeats,
    increments,
    triggered_functions,
    wide,
)
from twin.analysis.tables import Tables, load, tables

__all__ = [
    "COLUMNS",
    "VERSION",
    "Column",
    "Tables",
    "answer_times",
    "cadence",
    "energy_balance",
    "heartbeats",
    "increments",
    "load",
    "tables",
    "triggered_functions",
    "wide",
]
