"""What a connector may do next: the status transition table of OCPP 1.6 §4.9, as data."""

CONNECTOR_0_STATUSES = frozenset({"Available", "Unavailable", "Faulted"})  # §7.7

# 53 of the 72 off-diagonal cells. Absent: A6 B7 B8 C2 C7 D2 D7 E2 E7 F3 F4 F5 F7 G3 G4 G5 G6 H6 H7.
TRANSITIONS: dict[str, frozenset[str]] = {
    "Available": frozenset(
        {"Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Reserved", "Unavailable", "Faulted"}
    ),
    "Preparing": frozenset(
        {"Available", "Charging", "SuspendedEV", "SuspendedEVSE", "Finishing", "Faulted"}
    ),
    "Charging": frozenset(
        {"Available", "SuspendedEV", "SuspendedEVSE", "Finishing", "Unavailable", "Faulted"}
    ),
    "SuspendedEV": frozenset(
        {"Available", "Charging", "SuspendedEVSE", "Finishing", "Unavailable", "Faulted"}
    ),
    "SuspendedEVSE": frozenset(
        {"Available", "Charging", "SuspendedEV", "Finishing", "Unavailable", "Faulted"}
    ),
    "Finishing": frozenset({"Available", "Preparing", "Unavailable", "Faulted"}),
    "Reserved": frozenset({"Available", "Preparing", "Unavailable", "Faulted"}),
    "Unavailable": frozenset(
        {"Available", "Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Faulted"}
    ),
    "Faulted": frozenset(
        {
            "Available", "Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Finishing", "Reserved",
            "Unavailable",
        }
    ),
}  # fmt: skip

# §7.7: the statuses in which a transaction may be open
IN_TRANSACTION = frozenset({"Charging", "SuspendedEV", "SuspendedEVSE", "Faulted"})


def omitted_between(before: str, after: str) -> list[str]:
    """The statuses that may have been passed over where ``before`` to ``after`` is not in the table."""
    return [middle for middle in TRANSITIONS.get(before, ()) if after in TRANSITIONS.get(middle, ())]
