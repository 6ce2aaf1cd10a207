"""twin show: what is in a capture, and the certified profile."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from twin.cli.common import frames_of, opened, say, say_json
from twin.engine.analyzer import Analyzer
from twin.engine.inferred import Inferred, infer
from twin.io.formats import Reading
from twin.model import Call, CallError, Frame, Kind
from twin.protocol import codec
from twin.protocol.timestamps import format_us
from twin.report.words import plain

_DAMAGE = ("truncated", "abbreviated", "reconstructed", "blocked")


def kind_of(frame: Frame) -> str:
    """CALL, CALLRESULT, CALLERROR, or the frame's own kind."""
    if frame.kind is not Kind.TEXT or frame.text is None:
        return frame.kind.value
    message = codec.parse(frame.text).message
    if message is None:
        return frame.kind.value
    if isinstance(message, Call):
        return "CALL"
    return "CALLERROR" if isinstance(message, CallError) else "CALLRESULT"


def overview(path: Path, reading: Reading, frames: list[Frame]) -> dict[str, Any]:
    """The object that ``twin show --json`` prints. Times are UTC microseconds, ``None`` for no frames.

    ``messages`` counts the OCPP messages recovered, damaged ones included; ``unusable_lines`` the non-blank
    lines of the source that gave nothing.
    """
    by_link: dict[str, list[Frame]] = {}
    for frame in frames:
        if frame.link:
            by_link.setdefault(frame.link, []).append(frame)
    by_kind = Counter(kind_of(frame) for frame in frames)
    report = reading.report
    return {
        "capture": path.name,
        "format": reading.format,
        "messages": sum(1 for frame in frames if frame.kind is Kind.TEXT),
        "by_kind": dict(sorted(by_kind.items())),
        "damaged": sum(1 for frame in frames if any(frame.facts.get(mark) for mark in _DAMAGE)),
        "links": len(by_link),
        "stations": sorted({frame.station for frame in frames if frame.station}),
        "first_us": min((frame.at_us for frame in frames), default=None),
        "last_us": max((frame.at_us for frame in frames), default=None),
        "lines": report.lines,
        "unusable_lines": report.unusable,
        "unusable_by_reason": dict(report.unusable_by_reason),
        "duplicates": report.duplicates,
        "notes": report.notes,
        "connections": [_link(link, held) for link, held in by_link.items()],
        "manifest": {key: reading.manifest.get(key) for key in ("capture_id", "vantage", "mode", "note")}
        if reading.manifest
        else {},
    }


def _link(link: str, frames: list[Frame]) -> dict[str, Any]:
    return {
        "link": link,
        "station": next((frame.station for frame in frames if frame.station), ""),
        "messages": sum(1 for frame in frames if frame.kind is Kind.TEXT),
        "first_us": frames[0].at_us,
        "last_us": frames[-1].at_us,
        "ended": next((frame.kind.value for frame in reversed(frames) if frame.kind is Kind.END), None),
    }


def inferred(frames: list[Frame]) -> list[Inferred]:
    """Every plug, tag, unplug, power cycle and link loss that the traffic gives away."""
    analyzer = Analyzer(rules=())
    return [one for frame in frames for step in analyzer.steps(frame) for one in infer(step)]


def show(
    path: Path,
    *,
    frames: bool,
    events: bool,
    format: str | None,  # noqa: A002  # the option's own name
    log_timezone: str | None,
    logged_by: str | None,
    as_json: bool,
) -> None:
    """Print the overview; with ``events`` what is inferred, with ``frames`` every frame, a line each."""
    reading = opened(path, format=format, log_timezone=log_timezone, logged_by=logged_by)
    held = frames_of(reading)
    found = overview(path, reading, held)
    guessed = inferred(held) if events else []
    if as_json:
        say_json(found | ({"events": [msgspec.to_builtins(one) for one in guessed]} if events else {}))
        return
    say(f"{found['capture']}  ({found['format']})")
    if held:
        say(f"  from       {format_us(found['first_us'])}")
        say(f"  to         {format_us(found['last_us'])}")
    say(f"  stations   {plain(', '.join(found['stations'])) or 'unknown'}")
    say(f"  messages   {found['messages']:,}" + (f", {found['damaged']} damaged" if found["damaged"] else ""))
    say("  kinds      " + ", ".join(f"{kind} {count:,}" for kind, count in found["by_kind"].items()))
    for link in found["connections"]:
        say(f"  link       {plain(link['link'])}  {plain(link['station'])}  {link['messages']:,} messages")
    say(f"  unusable   {found['unusable_lines']:,} of {found['lines']:,} lines")
    for why, count in found["unusable_by_reason"].items():
        say(f"             {count:,} {why}")
    for text in found["notes"]:
        say(f"  note       {plain(text)}")
    for one in guessed:
        place = "" if one.connector_id is None else f" on connector {one.connector_id}"
        said = f"{one.what.value}{place} ({one.confidence.value}): {one.why}"
        say(f"  {format_us(one.at_us)} #{one.seq} {plain(said)}")
    if events and not guessed:
        say("  events     none that the traffic gives away")
    for frame in held if frames else ():
        say(plain(f"{format_us(frame.at_us)} {frame}"))


def show_certificate(*, as_json: bool) -> None:
    """Print the certified profile of the OctoFLEX OTM-K."""
    from twin import certificate
    from twin.report import certificate as report

    held = certificate.load()
    if as_json:
        say(report.as_json(held).rstrip())
    else:
        say(report.as_text(held).rstrip())
