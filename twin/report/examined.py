"""How driven test cases went, as text, as one JSON object and as JUnit XML."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import msgspec

from twin.engine.certify import CaseVerdict, Examined
from twin.report.words import plain

READING = "our reading of the Core test cases for a charge point; it is no OCTT, and no pass of it"
# XML 1.0 §2.2: characters that no document may hold, not even escaped.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENTS = {
    CaseVerdict.FAILED: "failure",
    CaseVerdict.INCONCLUSIVE: "error",
    CaseVerdict.NOT_APPLICABLE: "skipped",
}


def line(one: Examined) -> str:
    """One case in a line."""
    why = f"  {one.why}" if one.why else ""
    return plain(f"{one.verdict.value:<14} {one.case_id:<9} {one.name}{why}")


def closing(examined: Sequence[Examined]) -> str:
    """How many there were of each verdict, and what they are a reading of."""
    counts = Counter(one.verdict for one in examined)
    told = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in CaseVerdict if counts[verdict])
    return f"{len(examined)} cases: {told or 'none'}\n({READING})"


def as_json(examined: Sequence[Examined]) -> dict[str, Any]:
    """``cases`` in the order they were driven, and ``counts`` of the verdicts."""
    cases = []
    for one in examined:
        told = msgspec.to_builtins(one)
        cases.append({"id": told.pop("case_id"), **told})
    counts = Counter(one.verdict.value for one in examined)
    return {"reading": READING, "cases": cases, "counts": {v.value: counts[v.value] for v in CaseVerdict}}


def as_junit(examined: Sequence[Examined]) -> str:
    """A test case each: failed is a failure, inconclusive an error, not applicable is skipped."""
    counts = Counter(one.verdict for one in examined)
    suite = ElementTree.Element(
        "testsuite",
        {
            "name": "twin certify",
            "tests": str(len(examined)),
            "failures": str(counts[CaseVerdict.FAILED]),
            "errors": str(counts[CaseVerdict.INCONCLUSIVE]),
            "skipped": str(counts[CaseVerdict.NOT_APPLICABLE]),
            "time": f"{sum(one.took_s for one in examined):.3f}",
        },
    )
    for one in examined:
        name = _ILLEGAL.sub("\ufffd", f"{one.case_id} {one.name}")
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": "twin certify", "name": name, "time": f"{one.took_s:.3f}"}
        )
        if one.verdict in _ELEMENTS:
            why = _ILLEGAL.sub("\ufffd", one.why)
            ElementTree.SubElement(case, _ELEMENTS[one.verdict], {"message": why})
    root = ElementTree.Element("testsuites", {"name": "twin certify"})
    root.append(suite)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'
