"""The certified configuration and figures of a product as typed data, one TOML file for each certificate."""

from twin.certificate.reading import NAMES, UNDECLARED, load, parse, read_cell
from twin.certificate.sheet import (
    Approval,
    Certificate,
    ConfigurationRow,
    Functionality,
    Identification,
    LaboratoryTest,
    Line,
    Performance,
)

__all__ = [
    "NAMES",
    "UNDECLARED",
    "Approval",
    "Certificate",
    "ConfigurationRow",
    "Functionality",
    "Identification",
    "LaboratoryTest",
    "Line",
    "Performance",
    "load",
    "parse",
    "read_cell",
]
