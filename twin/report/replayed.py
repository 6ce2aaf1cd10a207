"""Replayed sessions and compared captures as text and JSON: first divergence first, then the counters."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from twin.engine.replay.evidence import MOST_GROUPS, Evidence, Result
from twin.engine.replay.outcome import Diff, Divergence, groups_of

_WITH_CONTEXT = 1  # groups that show it in a terminal; the page has it for all
_LISTED = 8


def as_json(result: Result) -> dict[str, Any]:
    """One session: ``equal``, counters by kind, every divergence with its place on both sides."""
    diff = result.diff
    told = {
        "capture": result.capture,
        "station": result.station,
        "live_station": result.live_station,
        "passed": result.passed,
        "equal": diff.equal,
        "matched": diff.matched,
        "counts": dict(Counter(one.kind for one in diff.divergences)),
        "divergences": _plain(diff.divergences),
        "known": _plain(diff.known),
        "unstimulated": _plain(diff.unstimulated),
        "answered_by_model": _plain(diff.answered),
        "evidence": [msgspec.to_builtins(one) for one in result.evidence],
        "transactions": list(result.transactions),
        "late_ms": result.late_ms,
        "played_s": result.played_s,
        **result.facts,
    }
    return {**told, "error": result.error} if result.error else told


def summary_json(results: Sequence[Result]) -> dict[str, Any]:
    """Many sessions: how many passed, and each of them."""
    return {
        "passed": sum(result.passed for result in results),
        "failed": sum(not result.passed for result in results),
        "sessions": [as_json(result) for result in results],
    }


def _plain(divergences: Iterable[Divergence]) -> list[Any]:
    return [msgspec.to_builtins(one) for one in divergences]


def as_text(result: Result) -> str:
    """At most ten groups of like divergences; the first one with what came before it."""
    if result.error:
        return f"ERROR {result.error}"
    lines = _groups(result.diff, result.evidence)
    lines.append(counted(result.diff))
    if result.late_ms is not None:
        lines.append("late by " + ", ".join(f"{name} {ms:g} ms" for name, ms in result.late_ms.items()))
    lines += [f"MISS     {miss_line(miss)}" for miss in result.facts.get("misses", ())[:_LISTED]]
    for name, value in result.facts.items():
        if isinstance(value, list) and value and name != "misses":
            shown = ", ".join(map(str, value[:_LISTED])) + (", …" if len(value) > _LISTED else "")
            lines.append(f"{name.replace('_', ' ')}: {len(value)} ({shown})")
    if result.facts.get("played_to_the_end") is False:
        lines.append("the recording was not played to its end")
    return "\n".join(lines)


def summary_text(results: Sequence[Result]) -> str:
    """A line a session, and what the failed ones have in common."""
    lines = [
        f"{'pass' if result.passed else 'FAIL'}  {result.capture}  {result.live_station}  "
        + (result.error or counted(result.diff))
        for result in results
    ]
    passed = sum(result.passed for result in results)
    lines += ["", f"{passed:,} of {len(results):,} sessions passed"]
    everywhere = groups_of(one for result in results for one in result.diff.divergences)
    for group in sorted(everywhere, key=len, reverse=True)[:MOST_GROUPS]:
        lines.append(f"{len(group):>5} times: {headline(group[0])}")
    return "\n".join(lines)


def headline(one: Divergence) -> str:
    """What differs, in one line."""
    sender = f" of the {'CSMS' if one.sender == 'csms' else one.sender}" if one.sender else ""
    if len(one.changes) != 1:
        return f"{one.kind} {one.action}{sender}"
    change = one.changes[0]
    return f"{one.kind} {one.action}{sender}: {change.path} {change.recorded} -> {change.replayed}"


def counted(diff: Diff) -> str:
    """The counters in one line."""
    counts = Counter(one.kind for one in diff.divergences)
    told = [f"{count} {kind}" for kind, count in counts.items()] or ["no divergence"]
    for name, held in (
        ("known", diff.known),
        ("not stimulated", diff.unstimulated),
        ("answered by a model", diff.answered),
    ):
        told += [f"{len(held)} {name}"] if held else []
    exchanges = "exchange" if diff.matched == 1 else "exchanges"
    return f"{diff.matched:,} {exchanges} matched, {', '.join(told)}"


def place(one: Divergence) -> str:
    """Where to look, on both sides."""
    sides = (("recorded", one.recorded_seq), ("replayed", one.replayed_seq))
    return ", ".join(f"{name} #{seq}" for name, seq in sides if seq is not None)


def miss_line(miss: dict[str, Any]) -> str:
    """A live CALL that no recording covers, with the recorded one that comes closest."""
    if miss["closest_seq"] is None:
        return f"{miss['action']}: the recording has none"
    same = miss["fields"] - len(miss["changes"])
    state = "played already" if miss["consumed"] else "not played"
    changes = [f"{one['path']} {one['recorded']} -> {one['replayed']}" for one in miss["changes"][:_LISTED]]
    return (
        f"{miss['action']}: closest is recorded #{miss['closest_seq']} ({state}), {same} of {miss['fields']} "
        f"fields equal; {', '.join(changes)}"
    )


def _groups(diff: Diff, evidence: Sequence[Evidence]) -> list[str]:
    groups = groups_of(diff.divergences)
    lines: list[str] = []
    for number, group in enumerate(groups[:MOST_GROUPS]):
        first = group[0]
        count = f" ({len(group)} times)" if len(group) > 1 else ""
        lines.append(f"{first.kind.upper():<8} {first.action}  {place(first)}  in {first.stream}{count}")
        lines += [
            f"         {change.path}  recorded {change.recorded}  replayed {change.replayed}  [{change.how}]"
            for change in first.changes[:_LISTED]
        ]
        if number < len(evidence):
            lines.append(f"         {evidence[number].clause}")
            if number < _WITH_CONTEXT:
                lines += _context(evidence[number])
    if len(groups) > MOST_GROUPS:
        lines.append(f"… {len(groups) - MOST_GROUPS} more groups; --json has them all")
    return lines


def _context(evidence: Evidence) -> Iterable[str]:
    for side, frames, state in (
        ("recorded", evidence.recorded_frames, evidence.recorded_state),
        ("replayed", evidence.replayed_frames, evidence.replayed_state),
    ):
        if not frames:
            continue
        yield f"         {side}, then: {'; '.join(state) or 'nothing known of the station'}"
        yield from (f"           {line}" for line in frames)
