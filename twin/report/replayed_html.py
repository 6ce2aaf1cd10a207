"""Replayed sessions as one self-contained page: what fails first, then each session with its evidence."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from twin import __version__
from twin.engine.replay.evidence import MOST_GROUPS, Evidence, Result
from twin.engine.replay.outcome import Divergence, groups_of
from twin.report.replayed import counted, headline, miss_line, place


def page(results: Sequence[Result]) -> str:
    """The page as text. Every text of the traffic is escaped; nothing is loaded from anywhere."""
    source = (files("twin.report") / "replayed.html.jinja").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(source)
    everywhere = list(_everywhere(results))
    return template.render(
        version=__version__,
        sessions=[_session(number, result) for number, result in enumerate(results, 1)],
        failed=sum(not result.passed for result in results),
        matched=sum(result.diff.matched for result in results),
        known=sum(len(result.diff.known) for result in results),
        everywhere=everywhere[:MOST_GROUPS],
        more_groups=max(0, len(everywhere) - MOST_GROUPS),
    )


def _everywhere(results: Sequence[Result]) -> Iterator[dict[str, Any]]:
    """Like divergences of all sessions together, the most frequent first."""
    held = [(number, one) for number, result in enumerate(results, 1) for one in result.diff.divergences]
    sessions: dict[tuple[str, ...], dict[int, None]] = {}
    for number, one in held:
        sessions.setdefault(one.group, {})[number] = None
    groups = groups_of(one for _, one in held)
    for group in sorted(groups, key=len, reverse=True):
        seen = list(sessions[group[0].group])
        yield {
            "headline": _headline(group),
            "count": len(group),
            "sessions": len(seen),
            "first": seen[0],
            "name": results[seen[0] - 1].capture,
        }


def _headline(group: list[Divergence]) -> str:
    other = any(one.changes != group[0].changes for one in group)
    return headline(group[0]) + (", and other values" if other else "")


def _session(number: int, result: Result) -> dict[str, Any]:
    groups = groups_of(result.diff.divergences)
    facts = result.facts
    return {
        "number": number,
        "capture": result.capture,
        "station": result.live_station,
        "passed": result.passed,
        "error": result.error,
        "counted": counted(result.diff),
        "groups": [
            _group(group, result.evidence[place_] if place_ < len(result.evidence) else None)
            for place_, group in enumerate(groups[:MOST_GROUPS])
        ],
        "more": max(0, len(groups) - MOST_GROUPS),
        "aside": [
            ("exchanges not stimulated", [_line(one) for one in result.diff.unstimulated]),
            ("known divergences", [_line(one) for one in result.diff.known]),
            ("CALLs answered by a model", [_line(one) for one in result.diff.answered]),
            ("known divergences that have vanished", facts.get("vanished", [])),
            ("the end that came early", [*facts.get("ended_early", []), *facts.get("link_lost", [])]),
            ("stimuli that failed", facts.get("failed_stimuli", [])),
            ("CALLs that were required and did not come", facts.get("required_stimuli", [])),
            ("texts that were not played", facts.get("not_played", [])),
            ("ids given twice", facts.get("id_conflicts", [])),
            ("frames waited for in vain", [f"#{seq}" for seq in facts.get("gates_relaxed", [])]),
            ("CALLs that no recording covers", [miss_line(miss) for miss in facts.get("misses", [])]),
        ],
        "transactions": result.transactions,
    }


def _group(group: list[Divergence], evidence: Evidence | None) -> dict[str, Any]:
    first = group[0]
    sides = []
    if evidence is not None:
        for name, frames, state in (
            ("Recorded", evidence.recorded_frames, evidence.recorded_state),
            ("Replayed", evidence.replayed_frames, evidence.replayed_state),
        ):
            if frames:
                sides.append({"name": name, "frames": frames, "state": "; ".join(state)})
    return {
        "headline": _headline(group),
        "count": len(group),
        "place": place(first),
        "stream": first.stream,
        "clause": evidence.clause if evidence is not None else "",
        "changes": first.changes,
        "sides": sides,
    }


def _line(one: Divergence) -> str:
    return f"{headline(one)} ({place(one)}, in {one.stream})"
