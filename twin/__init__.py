"""OctoFLEX twin: record, check, replay and model OCPP 1.6-J traffic of a charging station."""

__version__ = "0.1.0"
