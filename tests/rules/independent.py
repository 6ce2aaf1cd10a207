"""What is found in traffic that nobody here wrote, and a reader's verdict on each finding.

``python -m tests.rules.independent FOLDER`` writes a dossier per finding into FOLDER, outside the checkout:
the rule's statement and clause, and the frames around it, for a reader who knows the clause and not the code.
The reading is that of a stranger who saw dossiers, clauses and traffic, and no code; what it found false was
mended where the clause allowed it.
The verdicts stand in ``independent.tsv``: file, frame, rule, severity, verdict, reason; no text of the logs.
"""

import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.conftest import REPOSITORY
from twin.engine.analyzer import Analyzer
from twin.io.formats import open_capture
from twin.model import Finding, Frame, Severity
from twin.protocol.timestamps import format_us
from twin.rules import RULES

CORPORA = REPOSITORY.parent / "shared" / "corpora"
VERDICTS = Path(__file__).parent / "independent.tsv"
_LOUD = (Severity.ERROR, Severity.WARNING)
_AROUND, _LONGEST = 12, 900


@dataclass(frozen=True)
class Line:
    """One finding of severity error or warning, by what identifies it."""

    file: str
    seq: int
    rule: str
    severity: str


@dataclass(frozen=True)
class Judged:
    """A reader's word on it: ``true``, ``false``, or ``unclear`` where the clause leaves it open."""

    verdict: str
    reason: str


@cache
def files() -> tuple[Path, ...]:
    logs = sorted((CORPORA / "field-logs").glob("*.log"))
    return (*logs, *sorted((CORPORA / "peer-sessions").glob("*.jsonl")))


@cache
def judged_traffic(path: Path) -> tuple[tuple[Frame, ...], tuple[Finding, ...]]:
    """The frames of one file, and every finding in them."""
    frames = tuple(open_capture(path).frames)
    analyzer = Analyzer()
    found = [finding for frame in frames for finding in analyzer.receive(frame)]
    return frames, (*found, *analyzer.finish())


def loud(path: Path) -> list[tuple[Line, Finding]]:
    """The findings of one file that claim a fault, in order."""
    held = [finding for finding in judged_traffic(path)[1] if finding.severity in _LOUD]
    return [(Line(path.name, f.seq or 0, f.rule, f.severity.value), f) for f in held]


def verdicts() -> dict[Line, list[Judged]]:
    """What the reader said; a line may stand more than once where a frame breaks a rule more than once."""
    table: dict[Line, list[Judged]] = {}
    for row in VERDICTS.read_text(encoding="utf-8").splitlines()[1:]:
        file, seq, rule, severity, verdict, reason = row.split("\t")
        table.setdefault(Line(file, int(seq), rule, severity), []).append(Judged(verdict, reason))
    return table


def dossier(path: Path, line: Line, finding: Finding) -> str:
    """Everything a reader needs: statement, clause, what is claimed, and the frames around the evidence."""
    rule = next(rule for rule in RULES if rule.id == line.rule)
    frames = judged_traffic(path)[0]
    near = {
        index
        for place, frame in enumerate(frames)
        if frame.seq in finding.evidence
        for index in range(place - _AROUND // 2, place + _AROUND // 2 + 1)
    }
    said = [
        f"{'*' if frame.seq in finding.evidence else ' '} {format_us(frame.at_us)[:23]} {_text(frame)}"
        for index, frame in enumerate(frames)
        if index in near
    ]
    return "\n".join(
        (
            f"{line.file} #{line.seq} {line.rule} {line.severity}, to blame: {finding.fault}",
            f"statement: {rule.statement}",
            f"clause: {rule.reference}",
            f"claimed at {format_us(finding.at_us)[:23]}: {finding.detail}",
            *(["value judged by: " + finding.provenance] if finding.provenance else []),
            "",
            *said,
            "",
        )
    )


def _text(frame: Frame) -> str:
    who = {"station": "station ->", "csms": "CSMS    ->", None: "          "}[
        frame.sender.value if frame.sender else None
    ]
    body = frame.text if frame.text is not None else f"({frame.kind} {dict(frame.facts)})"
    return f"#{frame.seq} {frame.link} {who} {body[:_LONGEST]}"


def main(folder: Path) -> None:
    counts: Counter[str] = Counter()
    known = verdicts()
    folder.mkdir(parents=True, exist_ok=True)
    for path in files():
        parts = [
            f"[{'known' if line in known else 'NEW'}] {dossier(path, line, finding)}"
            for line, finding in loud(path)
        ]
        counts.update(line.rule for line, _ in loud(path))
        if parts:
            (folder / f"{path.stem}.txt").write_text("\n".join(parts), encoding="utf-8")
    sys.stdout.write("\n".join(f"{rule} {count}" for rule, count in sorted(counts.items())) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
