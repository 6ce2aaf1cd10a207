"""The 33 field logs: exactly the frames that stand beside each of them, in text, direction and station."""

import json

import pytest

from twin.io.formats import textlog
from twin.io.reading import ReadOptions
from twin.model import Side

SENDERS = {"cs->csms": Side.STATION, "csms->cs": Side.CSMS}  # here "cs" is the charging station
FLAGS = {
    "truncated": "truncated",
    "abbreviated_by_logger": "abbreviated",
    "reconstructed_from_python_repr": "reconstructed",
    "blocked_by_proxy": "blocked",
}
MARKS = set(FLAGS.values())
# Source comments with a DataTransfer, which either side may send: nothing in the log says which.
UNKNOWN_DIRECTION = {"code-comments-heliox-eaton": 2}


@pytest.mark.corpus
def test_all_field_logs(corpora):
    logs = sorted((corpora / "field-logs").glob("*.log"))
    assert len(logs) == 33
    for log in logs:
        reading = textlog.FORMAT.read(log, ReadOptions())
        frames = list(reading.frames)
        expected = [json.loads(line) for line in log.with_suffix(".jsonl").read_bytes().splitlines()]
        assert [f.text for f in frames] == [e["frame"] for e in expected], log.name
        assert [f.station for f in frames] == [e["station"] or "" for e in expected], log.name
        known = [(f.sender, SENDERS[e["dir"]]) for f, e in zip(frames, expected, strict=True) if f.sender]
        assert all(ours is theirs for ours, theirs in known), log.name
        assert len(frames) - len(known) == UNKNOWN_DIRECTION.get(log.stem, 0), log.name
        for frame, line in zip(frames, expected, strict=True):
            assert {ours for theirs, ours in FLAGS.items() if line.get(theirs)} == MARKS & frame.facts.keys()
            assert line["ts"] is None or "log_time" in frame.facts


@pytest.mark.corpus
def test_a_log_without_any_frame_is_all_unusable(corpora):
    reading = textlog.FORMAT.read(corpora / "field-logs/tester-elecq-pretty.log", ReadOptions())
    assert list(reading.frames) == []
    assert reading.report.lines == reading.report.unusable == 864


@pytest.mark.corpus
def test_the_same_frames_in_json_lines_of_another_program(corpora):
    """What lies beside each log is read as any collector's JSON lines: texts, stations, times, sides."""
    for path in sorted((corpora / "field-logs").glob("*.jsonl")):
        expected = [json.loads(line) for line in path.read_bytes().splitlines()]
        frames = list(textlog.FORMAT.read(path, ReadOptions()).frames)
        assert len(frames) == len(expected), path.name
        assert [f.station for f in frames] == [e["station"] or "" for e in expected], path.name
        assert ["log_time" in f.facts for f in frames] == [e["ts"] is not None for e in expected], path.name
        for frame, line in zip(frames, expected, strict=True):
            assert frame.text == line["frame"] or line.get("abbreviated_by_logger")
            assert frame.sender in (None, SENDERS[line["dir"]]), path.name
