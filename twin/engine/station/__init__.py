"""The station: a behavioural model of the certified product, on any clock, against any CSMS."""

from twin.engine.station.plant import Act, Car
from twin.engine.station.records import Persist
from twin.engine.station.station import Station
from twin.engine.station.switches import PROFILES, QUIRKS, Behaviour, Quirk

__all__ = ["PROFILES", "QUIRKS", "Act", "Behaviour", "Car", "Persist", "Quirk", "Station"]
