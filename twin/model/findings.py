"""A Finding is an opinion: which rule, how bad, whose fault, on what evidence. Always derivable again."""

from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """Worst first: a MUST broken, a SHOULD broken, a difference from the certificate, worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    DRIFT = "drift"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for the worst; ``a.rank <= b.rank`` reads "a is at least as bad as b"."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class Fault(StrEnum):
    """Who is to blame."""

    STATION = "station"
    CSMS = "csms"
    CAPTURE = "capture"  # the source is damaged: no verdict on a peer
    NOBODY = "nobody"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One opinion about one event.

    ``seq`` is the frame that gave rise to it (for a time-out, the unanswered CALL) and ``at_us`` the
    moment it became true. ``evidence`` lists every frame it rests on. ``provenance`` says where the value
    it was judged by comes from: certified, observed, specification, tolerance.
    """

    rule: str
    severity: Severity
    fault: Fault
    seq: int | None
    at_us: int
    detail: str
    link: str = ""
    station: str = ""
    connector_id: int | None = None
    transaction_id: int | None = None
    evidence: tuple[int, ...] = ()
    provenance: str = ""
    reference: str = ""
