"""A diff as text and JSON: first divergence first, grouped, then the counters."""

from collections import Counter
from typing import Any

import msgspec

from twin.engine.diff import Diff, Divergence

_GROUPS = 10


def as_json(diff: Diff) -> dict[str, Any]:
    """``equal``, counters by kind, and every divergence with its place on both sides."""
    return {
        "equal": diff.equal,
        "matched": diff.matched,
        "counts": dict(Counter(divergence.kind for divergence in diff.divergences)),
        "divergences": [msgspec.to_builtins(divergence) for divergence in diff.divergences],
    }


def as_text(diff: Diff) -> str:
    """At most ten groups of like divergences, each with its first occurrence."""
    groups: dict[tuple[str, ...], list[Divergence]] = {}
    for divergence in diff.divergences:
        paths = tuple(path for path, _, _ in divergence.changes)
        groups.setdefault((divergence.kind, divergence.action, *paths), []).append(divergence)
    lines = []
    for group in list(groups.values())[:_GROUPS]:
        first = group[0]
        count = f" ({len(group)} times)" if len(group) > 1 else ""
        lines.append(f"{first.kind.upper():<8} {first.action}  {_place(first)}  in {first.stream}{count}")
        lines += [f"         {path}  recorded {old}  replayed {new}" for path, old, new in first.changes]
    if len(groups) > _GROUPS:
        lines.append(f"… {len(groups) - _GROUPS} more groups")
    counts = Counter(divergence.kind for divergence in diff.divergences)
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "no divergence"
    return "\n".join((*lines, f"{diff.matched:,} exchanges matched, {told}"))


def _place(divergence: Divergence) -> str:
    sides = (("recorded", divergence.recorded_seq), ("replayed", divergence.replayed_seq))
    return ", ".join(f"{name} #{seq}" for name, seq in sides if seq is not None)
