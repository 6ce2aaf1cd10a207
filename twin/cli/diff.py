"""twin diff: compare two captures, cut a divergence down, learn what differs between two equal runs."""

import sys
from pathlib import Path

from twin.cli.common import FINDINGS, LONGEST_S, USAGE, fail, frames_of, note, opened, say, say_json
from twin.engine.replay.diff import Comparison
from twin.engine.replay.diff import diff as compare
from twin.engine.replay.evidence import Result, evidence_of
from twin.engine.replay.fields import Matchers
from twin.engine.replay.noise import as_toml, learn
from twin.engine.replay.outcome import Diff
from twin.engine.replay.shrinking import Shrunk, shrink
from twin.io.capture import write_capture
from twin.io.redact import hushed_frame
from twin.io.replay_setup import told
from twin.model import Frame
from twin.protocol.timestamps import SECOND_US
from twin.report import replayed_html
from twin.report.replayed import as_json as result_json
from twin.report.replayed import as_text, headline

_TIMES = {"auto": None, "compare": True, "ignore": False}


def diff(
    recorded: Path,
    replayed: Path,
    *,
    matchers: Path | None,
    times: str,
    late: float,
    shrink_to: Path | None,
    learned: bool,
    html: Path | None,
    as_json: bool,
) -> int:
    """Compare two captures; the exit code (0 equal, 1 divergence)."""
    left, right = (
        [hushed_frame(frame) for frame in frames_of(opened(path))] for path in (recorded, replayed)
    )
    rules = _rules(matchers)
    if learned:
        say(as_toml(learn(left, right, rules), (recorded.name, replayed.name)).rstrip())
        return 0
    if not 0 <= late <= LONGEST_S:
        raise fail(f"--late {late}: expected seconds, 0 to {LONGEST_S:,}", USAGE)
    late_us = int(late * SECOND_US)
    found = compare(
        left, right, rules, Comparison(timed=_TIMES[times], late_us=late_us, answer_late_us=late_us)
    )
    result = Result(
        capture=recorded.name,
        station=left[0].station if left else "",
        live_station=replayed.name,
        passed=found.equal,
        diff=found,
        evidence=evidence_of(found, left, right),
    )
    if html is not None:
        try:
            html.write_text(replayed_html.page([result]), encoding="utf-8")
        except OSError as error:
            raise fail(f"{html}: {error.strerror or error}", USAGE) from error
    if as_json:
        say_json(result_json(result))
    else:
        say(as_text(result))
    if shrink_to is not None and not found.equal:
        _shrink(left, right, rules, found, shrink_to, recorded.name)
    return 0 if found.equal else FINDINGS


def _rules(path: Path | None) -> Matchers:
    try:
        return Matchers(told(Path.cwd(), matchers=path).rules)
    except ValueError as error:
        raise fail(str(error), USAGE) from error


def _shrink(
    left: list[Frame], right: list[Frame], rules: Matchers, found: Diff, output: Path, name: str
) -> None:
    """The first divergence as two short captures and a test."""

    def tell(units: int, tried: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{tried} comparisons, {units} exchanges ")

    small = shrink(left, right, found.divergences[0], rules, found, tell)
    try:
        output.mkdir(parents=True)
        write_capture(small.recorded, output / "recorded", vantage="import", head={"shrunk_from": name})
        write_capture(small.replayed, output / "replayed", vantage="import", head={"shrunk_from": name})
        (output / "test_divergence.py").write_text(_test(small, name), encoding="utf-8")
    except OSError as error:
        raise fail(f"{error.filename or output}: {error.strerror or error}", USAGE) from error
    note(
        f"{output}: {len(small.recorded)} recorded and {len(small.replayed)} replayed frames still show it "
        f"({small.tried} comparisons); pytest {output} --csms URL replays the recorded ones"
    )


def _test(small: Shrunk, name: str) -> str:
    what = headline(small.divergence).replace("\\", "/").replace('"', "'")
    return f'''"""Cut down from {name}: {what}."""

from pathlib import Path

import pytest

RECORDED = Path(__file__).parent / "recorded"


def test_it_goes_as_it_was_recorded(ocpp_replay, pytestconfig):
    if not pytestconfig.getoption("--csms"):
        pytest.skip("--csms URL: without one the recording meets itself")
    result = ocpp_replay(RECORDED)
    assert result.passed, ocpp_replay.report(result)
'''
