"""What happened at the station is inferred with a confidence, and never claimed."""

from tests.playbook import Play, after, ended, opened, play, stamp
from twin.engine.analyzer import Analyzer
from twin.engine.inferred import Inferred, infer
from twin.model import Kind


def status(p: Play, value: str) -> Play:
    told = {"connectorId": 1, "errorCode": "NoError", "status": value, "timestamp": stamp()}
    return p.station("StatusNotification", told, {})


def events(p: Play) -> list[Inferred]:
    analyzer = Analyzer(rules=())
    return [one for frame in p.frames for step in analyzer.steps(frame) for one in infer(step)]


def told(p: Play) -> list[tuple[str, str]]:
    return [(one.what.value, one.confidence.value) for one in events(p)]


def test_plug_and_unplug_come_from_the_status() -> None:
    p = play().booted()
    for value in ("Available", "Preparing", "Finishing", "Available"):
        status(p, value)
    assert told(p) == [("plug", "likely"), ("unplug", "likely")]
    assert events(p)[0].connector_id == 1


def test_preparing_after_a_tag_is_only_a_possible_plug() -> None:
    p = status(play().booted(), "Available")
    p.station("Authorize", {"idTag": "TAG"}, {"idTagInfo": {"status": "Accepted"}})
    assert told(status(p, "Preparing")) == [("tag", "likely"), ("plug", "possible")]


def test_an_authorize_after_a_remote_start_is_only_a_possible_tag() -> None:
    p = play().booted().csms("RemoteStartTransaction", {"idTag": "TAG"}, {"status": "Accepted"})
    p.station("Authorize", {"idTag": "tag"}, {"idTagInfo": {"status": "Accepted"}})
    assert told(p) == [("tag", "possible")]


def test_link_loss_and_power_cycle_differ_by_the_boot() -> None:
    p = play().booted() << ended(abrupt=True) << after(30) << opened()
    assert told(p) == [("link loss", "likely"), ("link loss", "possible")]
    again = play().booted() << ended() << after(30)
    assert told(again.booted()) == [("link loss", "possible"), ("power cycle", "possible")]


def test_a_reset_explains_the_boot() -> None:
    p = play().booted().csms("Reset", {"type": "Soft"}, {"status": "Accepted"})
    p = p << ended() << after(30)
    assert ("power cycle", "possible") not in told(p.booted())


def test_nothing_is_inferred_of_a_first_status() -> None:
    assert told(status(play().booted(), "Preparing")) == []
    assert {frame.kind for frame in play().booted().frames} == {Kind.OPEN, Kind.TEXT}
