"""Short conversations as frames, for the tests of the tables."""

import json
from typing import Any

import pandas as pd

from twin.model import Frame, Kind, Side

SECOND = 1_000_000
T0 = 1_767_607_200 * SECOND  # 2026-01-05T10:00:00Z

START = [
    2,
    "s",
    "StartTransaction",
    {"connectorId": 3, "idTag": "A", "meterStart": 100, "timestamp": "2026-01-05T10:00:01Z"},
]
STARTED = [3, "s", {"transactionId": 7, "idTagInfo": {"status": "Accepted"}}]


def frames(*said: tuple[float, str, Any], end: bool = False) -> list[Frame]:
    """``(second, ">" or "<", message)`` as frames of one link; ">" is sent by the station."""
    listing = [Frame(seq=1, at_us=T0, link="c1", station="CP-1", kind=Kind.OPEN)]
    for number, (second, arrow, message) in enumerate(said, start=2):
        text = message if isinstance(message, str) else json.dumps(message)
        side = Side.STATION if arrow == ">" else Side.CSMS
        at_us = T0 + int(second * SECOND)
        listing.append(
            Frame(seq=number, at_us=at_us, link="c1", station="CP-1", kind=Kind.TEXT, sender=side, text=text)
        )
    if end:
        last = listing[-1]
        listing.append(Frame(seq=last.seq + 1, at_us=last.at_us, link="c1", kind=Kind.END))
    return listing


def at(second: float) -> pd.Timestamp:
    return pd.Timestamp(T0 + int(second * SECOND), unit="us", tz="UTC")
