"""Replayed sessions as JUnit XML: a suite a session, a case a transaction, one for all the rest."""

from collections.abc import Sequence
from xml.etree import ElementTree

from twin.engine.replay.evidence import Result
from twin.engine.replay.outcome import Divergence
from twin.report.junit import legal
from twin.report.replayed import headline, place

_OTHER = "boot, status and everything else"


def as_junit(results: Sequence[Result]) -> str:
    """A session that could not be replayed is an error; what was not stimulated is skipped."""
    root = ElementTree.Element("testsuites", {"name": "twin replay"})
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for result in results:
        suite = ElementTree.SubElement(root, "testsuite", {"name": legal(result.capture)})
        counts = _suite(suite, result)
        suite.set("time", f"{result.played_s:.3f}")
        for name, count in counts.items():
            suite.set(name, str(count))
            totals[name] += count
    for name, count in totals.items():
        root.set(name, str(count))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _suite(suite: ElementTree.Element, result: Result) -> dict[str, int]:
    if result.error:
        case = _case(suite, result, "replay")
        ElementTree.SubElement(case, "error", {"message": legal(result.error)})
        return {"tests": 1, "failures": 0, "errors": 1, "skipped": 0}
    streams = streams_of(result)
    failures = skipped = 0
    for name, (divergences, waiting) in streams.items():
        case = _case(suite, result, name)
        if divergences:
            failures += 1
            failure = ElementTree.SubElement(
                case,
                "failure",
                {"type": divergences[0].kind, "message": legal(headline(divergences[0]))},
            )
            failure.text = legal("\n".join(map(_line, divergences)))
        elif waiting:
            skipped += 1
            ElementTree.SubElement(case, "skipped", {"message": f"{waiting} not stimulated"})
    if not result.passed and (not failures or _troubles(result)):
        failures += 1
        case = _case(suite, result, "the replay went through")
        ElementTree.SubElement(case, "failure", {"type": "replay", "message": legal(why_not(result))})
        return {"tests": len(streams) + 1, "failures": failures, "errors": 0, "skipped": skipped}
    return {"tests": len(streams), "failures": failures, "errors": 0, "skipped": skipped}


def why_not(result: Result) -> str:
    """What went wrong beside the comparison."""
    return "; ".join(_troubles(result)) or "the recording was not played to its end"


def _troubles(result: Result) -> list[str]:
    names = ("required_stimuli", "id_conflicts", "ended_early", "link_lost")
    return [str(one) for name in names for one in result.facts.get(name, ())]


def streams_of(result: Result) -> dict[str, tuple[list[Divergence], int]]:
    """By transaction, and one for the rest: its divergences, and how many exchanges were not stimulated."""
    waiting = {one.stream for one in result.diff.unstimulated}
    names = sorted(
        {one.stream for one in result.diff.divergences} | set(result.streams) | waiting, key=_order
    )
    found: dict[str, tuple[list[Divergence], int]] = {_OTHER: ([], 0)}
    for name in names:
        if name.startswith("transaction "):
            found[name] = ([], 0)
    for one in result.diff.divergences:
        found[one.stream if one.stream in found else _OTHER][0].append(one)
    for one in result.diff.unstimulated:
        name = one.stream if one.stream in found else _OTHER
        found[name] = (found[name][0], found[name][1] + 1)
    return found


def _order(name: str) -> tuple[int, str]:
    number = name.rpartition(" ")[2]
    return (int(number) if number.isdecimal() else 0, name)


def _case(suite: ElementTree.Element, result: Result, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite, "testcase", {"classname": legal(result.capture), "name": legal(name), "time": "0"}
    )


def _line(one: Divergence) -> str:
    return f"{headline(one)} ({place(one)}, in {one.stream})"
