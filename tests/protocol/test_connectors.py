"""The transition table is the one of OCPP 1.6 §4.9, cell by cell."""

from twin.protocol.connectors import CONNECTOR_0_STATUSES, IN_TRANSACTION, TRANSITIONS, omitted_between

# Rows and columns of §4.9 in their order; "." is a cell without an entry, "\" the diagonal.
STATUSES = (
    "Available", "Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Finishing", "Reserved",
    "Unavailable", "Faulted",
)  # fmt: skip
TABLE = r"""
A \2345.789
B 1\3456..9
C 1.\456.89
D 1.3\56.89
E 1.34\6.89
F 12...\.89
G 12....\89
H 12345..\9
I 12345678\
"""


def test_every_cell_of_the_table() -> None:
    rows = [row.split()[1] for row in TABLE.strip().splitlines()]
    cells = {
        before: {after for after, cell in zip(STATUSES, row, strict=True) if cell.isdigit()}
        for before, row in zip(STATUSES, rows, strict=True)
    }
    assert cells == {before: set(after) for before, after in TRANSITIONS.items()}
    assert sum(map(len, cells.values())) == 53


def test_nothing_follows_itself_and_faults_come_from_everywhere() -> None:
    for before, after in TRANSITIONS.items():
        assert before not in after
        assert before == "Faulted" or "Faulted" in after


def test_what_is_reachable_in_two_steps_names_the_step_between() -> None:
    assert set(omitted_between("Finishing", "Charging")) == {
        "Available",
        "Preparing",
        "Unavailable",
        "Faulted",
    }
    assert omitted_between("nonsense", "Charging") == []
    assert omitted_between("Available", "nonsense") == []


def test_small_tables_hold_statuses_of_the_big_one() -> None:
    assert set(STATUSES) >= CONNECTOR_0_STATUSES | IN_TRANSACTION
