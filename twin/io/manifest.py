"""The manifest of a capture: a fixed head that the first line follows from, and a word on each segment."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from twin.io.segment_lines import open_regular

FORMAT_NAME = "octoflex-twin-capture"
VERSION = 1
MANIFEST = "manifest.json"
QUARANTINE = "quarantine"
_MOST_BYTES = 64 << 20
CHANGING = frozenset({"closed", "segments", "totals", "runs", "signature"})
_SEGMENT = re.compile(r"segment-(\d{5,9})\.jsonl(?:\.zst)?")


def chain_start(manifest: Mapping[str, Any]) -> str:
    """What the first line's ``prev`` must be: the hash of the fixed part of the manifest."""
    fixed = {key: value for key, value in manifest.items() if key not in CHANGING}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest as it stands; ``FileNotFoundError`` or ``ValueError`` where there is none."""
    with open_regular(directory / MANIFEST) as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError("the manifest is too long")
    try:
        held = msgspec.json.decode(data)  # unlike json it refuses what cannot be written again
    except RecursionError as error:
        raise ValueError("the manifest is nested too deeply") from error
    if not isinstance(held, dict) or type(held.get("version", VERSION)) is not int:
        raise ValueError("no manifest")
    return held


def encoded(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n"


def segment_name(number: int) -> str:
    return f"segment-{number:05}.jsonl"


def segment_number(path: Path) -> int:
    """The number in a segment's name, 0 for another file."""
    found = _SEGMENT.fullmatch(path.name)
    return int(found[1]) if found else 0


def segments_of(path: Path) -> list[Path]:
    """The segment files of a capture directory in order; a single file stands for itself.

    Where a segment is there both plain and compressed, the plain one counts.
    """
    if not path.is_dir():
        return [path]
    held: dict[int, Path] = {}
    for file in sorted(path.iterdir()):
        number = segment_number(file)
        if number and (number not in held or file.suffix == ".jsonl"):
            held[number] = file
    return [held[number] for number in sorted(held)]


def seal_of(segment: Path) -> Path:
    """Where the seal of a segment lies."""
    return segment.with_name(f"{segment.name.partition('.')[0]}.seal")


def told_segments(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the manifest tells of segments; nothing of it is taken for true without a look."""
    told = manifest.get("segments")
    return [entry for entry in told if isinstance(entry, dict)] if isinstance(told, list) else []
