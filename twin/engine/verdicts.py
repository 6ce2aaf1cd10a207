"""The verdicts of the certificate sheet and what each of them means, as one table."""

from enum import StrEnum


class Verdict(StrEnum):
    """What the traffic says of one row of the certificate."""

    AS_CERTIFIED = "as certified"
    SEEN = "seen"
    WITHIN = "within the limit"
    CONSISTENT = "consistent"
    DIFFERS = "differs"
    VIOLATED = "violated"
    BEYOND = "beyond the limit"
    INCONSISTENT = "not consistent"
    LAB = "set by the lab"
    NOT_SEEN = "not seen"
    NOT_OBSERVABLE = "not observable"
    UNDECLARED = "undeclared"
    NO_CERTIFICATE = "no certificate"

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]

    @property
    def tone(self) -> str:
        """``good`` was observed and agrees, ``bad`` was observed and disagrees, ``open`` is not known."""
        if self in _GOOD:
            return "good"
        return "bad" if self in _BAD else "open"


_GOOD = frozenset({Verdict.AS_CERTIFIED, Verdict.SEEN, Verdict.WITHIN, Verdict.CONSISTENT})
_BAD = frozenset({Verdict.DIFFERS, Verdict.VIOLATED, Verdict.BEYOND, Verdict.INCONSISTENT})
_MEANINGS = {
    Verdict.AS_CERTIFIED: "the traffic shows what the certificate says",
    Verdict.SEEN: "used in this traffic, and no error of the station was found in it",
    Verdict.WITHIN: "every observed value keeps the limit",
    Verdict.CONSISTENT: "the value itself was not read; how the station behaves agrees with it",
    Verdict.DIFFERS: "the traffic shows something else than the certificate",
    Verdict.VIOLATED: "used against the specification or the certificate",
    Verdict.BEYOND: "at least one observed value exceeds the limit",
    Verdict.INCONSISTENT: "the value itself was not read; how the station behaves does not agree with it",
    Verdict.LAB: "written by the test tool: no departure of the station",
    Verdict.NOT_SEEN: "this traffic does not show it; neither passed nor failed",
    Verdict.NOT_OBSERVABLE: "no traffic can show it; it must be looked at on site",
    Verdict.UNDECLARED: "the certificate declares nothing here, so nothing can depart from it",
    Verdict.NO_CERTIFICATE: "the station was held against the specification alone",
}
