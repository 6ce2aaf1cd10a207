"""The Core test cases for a charge point in one table, restated in our own words.

Built after the public case descriptions for OCPP 1.6, and newer than the edition that the certificate was
tested with: what is judged by it is our reading of a case, never the case itself.
"""

from twin.certificate.case_words import Case
from twin.certificate.cases_control import CONFIGURING, REMOTE, RESETTING, UNLOCKING
from twin.certificate.cases_ending import ENDING, METERING
from twin.certificate.cases_offline import OFFLINE, POWER
from twin.certificate.cases_starting import BOOTING, STARTING

_FAMILIES = (
    BOOTING, STARTING, ENDING, REMOTE, RESETTING, UNLOCKING, CONFIGURING, POWER, OFFLINE, METERING,
)  # fmt: skip

CASES: tuple[Case, ...] = tuple(
    sorted((case for family in _FAMILIES for case in family), key=lambda case: case.id)
)

_BY_NAME = {name: case for case in CASES for name in (*case.aliases, case.id)}


def case_named(name: str) -> Case | None:
    """The case with this id or with this id of another edition."""
    return _BY_NAME.get(name)
