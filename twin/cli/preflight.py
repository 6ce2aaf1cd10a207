"""twin record --preflight: what would stand in the way of this recording, and what to do about it."""

import msgspec

from twin.cli.common import CLEAN, USAGE, say, say_json
from twin.io import clock
from twin.io.preflight import Check, Grade
from twin.io.preflight import preflight as look
from twin.io.settings import Settings
from twin.report.words import plain


def preflight(settings: Settings, *, stations: int, bypass: str, as_json: bool) -> int:
    """Print every check; 0 if none failed, else 2."""
    checks = look(settings, clock.now(), stations=stations, bypass=bypass)
    failed = sum(check.grade is Grade.FAIL for check in checks)
    if as_json:
        say_json({"ready": not failed, "checks": msgspec.to_builtins(checks)})
    else:
        for check in checks:
            _print(check)
        say(f"{failed} failed" if failed else "ready to record")
    return USAGE if failed else CLEAN


def _print(check: Check) -> None:
    say(plain(f"{check.grade.value:<5} {check.name:<16} {check.seen}"))
    if check.next_step:
        say(plain(f"      {'':<16} → {check.next_step}"))
