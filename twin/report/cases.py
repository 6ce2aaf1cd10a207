"""What a capture says of the test cases, as text and as one JSON object."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from twin.certificate.cases import CASES
from twin.engine.cases import CaseResult, Verdict
from twin.report.words import plain

_RANK = {verdict: rank for rank, verdict in enumerate(Verdict)}
_NAMES = {case.id: case.name for case in CASES}
_MOST_FRAMES = 8  # in a line
_OCCURRED = (Verdict.FAILED, Verdict.PASSED, Verdict.MATCHED, Verdict.INCONCLUSIVE)


def overall(results: Iterable[CaseResult]) -> dict[tuple[str, str], Verdict]:
    """One verdict for each station and case: the worst that was found."""
    found: dict[tuple[str, str], Verdict] = {}
    for result in results:
        key = (result.station, result.case_id)
        found[key] = min(found.get(key, result.verdict), result.verdict, key=_RANK.__getitem__)
    return found


def as_text(results: Sequence[CaseResult], *, unseen: bool = False) -> str:
    """A line for each station, case and verdict, worst first, with the first occurrence of each.

    ``unseen`` lists the cases, too, of which there was nothing to be seen.
    """
    lines = []
    by_station: dict[str, list[CaseResult]] = {}
    for result in results:
        by_station.setdefault(result.station, []).append(result)
    for station, own in by_station.items():
        if len(by_station) > 1:
            lines.append(f"{plain(station)}:")
        groups: dict[tuple[str, Verdict], list[CaseResult]] = {}
        for result in own:
            groups.setdefault((result.case_id, result.verdict), []).append(result)
        ordered = sorted(groups.items(), key=lambda item: (_RANK[item[0][1]], item[0][0]))
        lines += [_line(group) for (_, verdict), group in ordered if unseen or verdict in _OCCURRED]
        lines.append(_closing(own))
    return "\n".join(lines)


def as_json(results: Sequence[CaseResult]) -> dict[str, Any]:
    """``results`` in the order they became certain, ``cases`` with the worst verdict each, and ``counts``."""
    worst = overall(results)
    return {
        "reading": "our reading of the Core test cases for a charge point",
        "results": [
            {
                "case": result.case_id,
                "name": _NAMES.get(result.case_id, ""),
                "verdict": result.verdict.value,
                "why": result.why,
                "evidence": list(result.evidence),
                "station": result.station,
            }
            for result in results
        ],
        "cases": [
            {"station": station, "case": case_id, "verdict": verdict.value}
            for (station, case_id), verdict in worst.items()
        ],
        "counts": {
            **{verdict.value: 0 for verdict in Verdict},
            **Counter(verdict.value for verdict in worst.values()),
        },
    }


def _line(group: Sequence[CaseResult]) -> str:
    first = group[0]
    frames = ", ".join(map(str, first.evidence[:_MOST_FRAMES]))
    more = ", …" if len(first.evidence) > _MOST_FRAMES else ""
    noun = "frame" if len(first.evidence) == 1 else "frames"
    shown = f" ({noun} {frames}{more})" if first.evidence else ""
    often = f", {len(group)} times, first" if len(group) > 1 else ""
    why = f": {plain(first.why)}" if first.why else ""
    return f"our reading of {first.case_id}: {first.verdict.value}{often}{shown}{why}"


def _closing(results: Sequence[CaseResult]) -> str:
    counts = Counter(overall(results).values())
    return ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict)
