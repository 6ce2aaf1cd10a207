"""JUnit of replays: a case for each transaction of the recording, whatever became of it."""

import asyncio
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.engine.replay.regressions import session
from tests.io.faulty_csms import LiveFaultyCsms
from tests.io.live_csms import serving
from twin.engine.replay.baseline import Baseline, against
from twin.engine.replay.evidence import Result
from twin.io.replay_jobs import Job, play
from twin.io.segments import write_capture
from twin.io.targets import target_of
from twin.report.replayed_html import page
from twin.report.replayed_junit import as_junit

OTHER = "boot, status and everything else"


@pytest.mark.parametrize(("fault", "failed"), [("", []), ("error", ["transaction 1"])])
async def test_a_transaction_that_began_before_the_capture_has_a_case_too(
    tmp_path: Path, fault: str, failed: list[str]
) -> None:
    frames = session(7)
    begun = next(n for n, frame in enumerate(frames) if frame.text and "StartTransaction" in frame.text)
    write_capture(frames[begun + 2 :], tmp_path / "cut", vantage="proxy")
    async with serving(LiveFaultyCsms({"*": fault})) as csms:
        job = Job(path=str(tmp_path / "cut"), station="OTMK-0001", name="cut", target=target_of(csms.url))
        result = await asyncio.to_thread(play, job)
    cases = list(ElementTree.fromstring(as_junit([result])).iter("testcase"))  # noqa: S314  # our own
    assert [case.get("name") for case in cases] == [OTHER, "transaction 1", "transaction 2"]
    assert [case.get("name") for case in cases if case.find("failure") is not None] == failed
    assert len(result.transactions) == 1  # the other one began before


def test_a_replay_that_differs_nowhere_and_failed_says_why() -> None:
    facts = {
        "played_to_the_end": False,
        "required_stimuli": ["#7 did not come"],
        "ended_early": ["nobody there"],
        "not_played": ["#9 of an unknown side"],
    }
    result = Result(capture="a", station="b", live_station="c", passed=False, facts=facts)
    (failure,) = ElementTree.fromstring(as_junit([result])).iter("failure")  # noqa: S314  # our own
    assert failure.get("message") == "#7 did not come; nobody there"
    text = page([result])
    assert all(said in text for said in ("#7 did not come", "nobody there", "#9 of an unknown side"))
    known = against(Baseline({"a": {"x": 1}}), result)
    assert not known.passed  # what is known excuses no stimulus that was required
