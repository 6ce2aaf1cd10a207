"""The certificate sheet as text for a terminal and as JSON for programs."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from twin.engine.latencies import Place
from twin.engine.setting_rows import SettingRow
from twin.engine.sheet import FigureRow, FunctionalityRow, Sheet
from twin.engine.verdicts import Verdict

_WIDTH = 110


def as_json(sheets: Sequence[Sheet], captures: Sequence[str]) -> list[dict[str, Any]]:
    """One object a station; a frame is ``{"capture": name, "seq": number}``."""
    return [_placed(msgspec.to_builtins(sheet, str_keys=True), captures) for sheet in sheets]


def _placed(value: Any, captures: Sequence[str]) -> Any:
    if isinstance(value, dict):
        if set(value) == set(Place.__struct_fields__):
            return {"capture": captures[value["capture"]], "seq": value["seq"]}
        return {key: _placed(item, captures) for key, item in value.items()}
    return [_placed(item, captures) for item in value] if isinstance(value, list | tuple) else value


def as_text(sheets: Sequence[Sheet], captures: Sequence[str]) -> str:
    """Every row of every sheet: verdict, certified, observed, frame. No line ends in a blank."""
    lines = [
        f"{number}#n is frame n of {name}" for number, name in enumerate(captures, start=1) if number > 1
    ]
    if lines:
        lines.insert(0, f"#n is frame n of {captures[0]}")
    for sheet in sheets:
        lines += ["", *_sheet(sheet)] if lines else _sheet(sheet)
    return "\n".join(line.rstrip() for line in lines)


def _sheet(sheet: Sheet) -> Iterator[str]:
    against = f"{sheet.certificate} {sheet.number}".strip() or "the specification alone, no certificate"
    yield f"Station {sheet.station} against {against}"
    yield f"{sheet.messages:,} messages on {sheet.connections} connection(s), {sheet.gaps} gap(s)"
    yield from _title("Identity, hardware, settings")
    for row in (*sheet.identity, *sheet.lines):
        yield from _row(row.verdict, row.name, row.certified, row.observed, row.place, row.note)
    yield from _title("Functionality")
    for functionality in sheet.functionality:
        yield from _row(
            functionality.verdict,
            functionality.name,
            functionality.certified,
            used_words(functionality),
            None,
            unused_words(functionality),
        )
    yield from _title("Performance")
    for figure in sheet.performance:
        certified = f"limit {figure.limit_s} s, measured {figure.measured_s} s" if figure.limit_s else ""
        yield from _row(
            figure.verdict, figure.name, certified, figure_words(figure), figure.longest_at, figure.note
        )
    yield from _title("Configuration")
    for setting in sheet.configuration:
        yield from _setting(setting)
    if sheet.others:
        yield from _title("Keys that the certificate does not list")
        for setting in sheet.others:
            yield from _setting(setting)
    yield from _title("Verdicts")
    for name, counts in sheet.counts().items():
        told = ", ".join(f"{number} {verdict}" for verdict in Verdict if (number := counts[verdict]))
        yield f"{name}: {told or 'nothing'}"


def used_words(row: FunctionalityRow) -> str:
    """``Heartbeat 12 (2 refused)``, the actions in the order of the specification."""
    return ", ".join(
        f"{used.action} {used.asked}"
        + "".join(
            f" ({number} {word})"
            for number, word in ((used.refused, "refused"), (used.silent, "unanswered"))
            if number
        )
        for used in row.used
    )


def unused_words(row: FunctionalityRow) -> str:
    """The note, and which actions were not seen where others were."""
    unused = f"not seen: {', '.join(row.unused)}" if row.used and row.unused else ""
    return "; ".join(filter(None, (row.note, unused)))


def figure_words(row: FigureRow) -> str:
    """``7 times: median 0.002 s, 95 % 3.023 s, longest 3.023 s``."""
    if row.median_s is None or row.p95_s is None or row.max_s is None:
        return ""
    about = "" if row.exact else " (quantiles within 0.5 %)"
    spread = f"median {row.median_s:.3f} s, 95 % {row.p95_s:.3f} s, longest {row.max_s:.3f} s"
    return f"{row.count:,} times: {spread}{about}"


def _setting(row: SettingRow) -> Iterator[str]:
    name = f"{row.number:2} {row.key}" if row.number else row.key
    note = "; ".join(filter(None, (row.source, row.note)))
    yield from _row(row.verdict, name, row.certified, row.observed, row.place, note)


def _title(title: str) -> Iterator[str]:
    yield ""
    yield title
    yield "-" * len(title)


def _row(
    verdict: Verdict, name: str, certified: str, observed: str, place: Place | None, note: str
) -> Iterator[str]:
    said = " | ".join(
        filter(None, (certified and f"certified {certified}", observed and f"observed {observed}", note))
    )
    head = f"{verdict:<16} {name}"
    text = f"{head}: {said}" if said else head
    yield from textwrap.wrap(
        f"{text}  {place}" if place else text,
        _WIDTH,
        subsequent_indent=" " * 19,
        break_long_words=False,
        break_on_hyphens=False,
    )
