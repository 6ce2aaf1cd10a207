"""twin check --integrity: whether a capture is what was written, and what that does not prove."""

from pathlib import Path

import msgspec

from twin.cli.common import CLEAN, UNREADABLE, USAGE, fail, plain, say, say_json
from twin.io import integrity
from twin.io.extract import is_extract, verify_extract
from twin.io.manifest import segments_of


def check(path: Path, *, public_keys: list[str], as_json: bool) -> int:
    """Print what is wrong, first things first; 0 if nothing is, else 3."""
    pinned = [_public_key(text) for text in public_keys]
    if not path.exists():
        raise fail(f"{path} does not exist", UNREADABLE)
    if path.is_dir() and not segments_of(path):
        raise fail(f"{path} holds no segment-*.jsonl: no capture directory", UNREADABLE)
    try:
        extract = path.is_file() and is_extract(path)
        verdict = verify_extract(path, pinned) if extract else integrity.verify(path, pinned)
    except OSError as error:
        raise fail(f"{path}: {error.strerror or error}", UNREADABLE) from error
    if as_json:
        say_json({"sound": not verdict.problems, **msgspec.to_builtins(verdict)})
    else:
        _print(path, verdict, pinned=bool(pinned))
    return UNREADABLE if verdict.problems else CLEAN


def _print(path: Path, verdict: integrity.Verdict, *, pinned: bool) -> None:
    state = "NOT what was written" if verdict.problems else "is what was written"
    say(f"{path.name}  {state}: {verdict.lines:,} lines in {verdict.segments:,} segments")
    for problem in verdict.problems:
        line = f" line {problem.line}" if problem.line else ""
        seq = f" (seq {problem.seq})" if problem.seq is not None else ""
        say(plain(f"  bad      {problem.segment}{line}{seq}: {problem.what}"))
    if verdict.sealed_to_seq:
        say(f"  sealed   to seq {verdict.sealed_to_seq:,}")
    for key in verdict.keys:
        say(
            plain(
                f"  key      {key}" + ("" if pinned else "  (not pinned: --seal-public-key says whose it is)")
            )
        )
    for note in verdict.notes:
        say(plain(f"  note     {note}"))
    say("  This does not prove:")
    for limit in verdict.not_proven:
        say(f"           {limit}")


def _public_key(text: str) -> str:
    """64 hex digits, given as they are or in a file."""
    path = Path(text)
    try:
        held = path.read_text(encoding="ascii").strip() if path.is_file() else text
        if len(bytes.fromhex(held)) != 32:
            raise ValueError("32 bytes")
    except (OSError, ValueError) as error:
        raise fail(f"--seal-public-key {text}: expected 64 hex digits or a file of them", USAGE) from error
    return held.casefold()
