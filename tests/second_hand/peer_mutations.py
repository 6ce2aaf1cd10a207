"""Transactions of independent stations that were read and found clean, and the faults that are put into them."""

from random import Random
from typing import Any

from tests.second_hand.alterations import (
    LIVE,
    Alter,
    altered,
    answer_texted,
    elements,
    put,
    restamp,
    said,
    sampled,
    status,
    tag_status,
    texted,
    unanswered,
    value_of,
    without,
)
from tests.second_hand.conversations import CP, ENERGY, Conversation, Happening, stamp
from twin.model import Kind

# File: transactionId: what it has. "local": started and stopped with a tag; "long": nine samples and more;
# "lasting": the connection outlives it by a minute.
CLEAN: dict[str, dict[int, frozenset[str]]] = {
    "microocpp--ocpp-csms": {
        1795361055: frozenset({"local"}),
        1795361056: frozenset({"remote"}),
    },
    "microocpp-part1--ocpp-csms": {
        1795365234: frozenset({"local", "aligned", "lasting"}),
        1795365235: frozenset({"aligned", "long", "lasting"}),
        1795365477: frozenset({"local", "aligned", "lasting"}),
        1795365478: frozenset({"aligned", "lasting"}),
        1795365479: frozenset({"local", "aligned", "long"}),
    },
}


def id_of_the_start(c: Conversation, _: Random) -> None:
    c.find(part="stop")[0].id = c.find(part="start")[0].id


def second_answer(c: Conversation, chance: Random) -> None:
    x = chance.choice(c.find(part=("start", "stop", *LIVE)))
    at_us, side, text = list(x.texts())[1]
    c.add(Happening(at_us + 500, x.link, Kind.TEXT, side, text))


def register_falls(c: Conversation, chance: Random) -> None:
    """One sample is far above those that follow."""
    samples = c.find(part=LIVE)
    value_of(chance.choice(samples[:-1] or samples), ENERGY)["value"] = "50000"


def meter_stop_falls(c: Conversation, _: Random) -> None:
    """All samples stand at what the meter had, the Stop below the start."""
    stop = c.find(part="stop")[0]
    stop.payload["meterStop"] = c.find(part="start")[0].payload["meterStart"] - 5
    c.drop(*c.find(part=LIVE))


def sample_after_stop(c: Conversation, _: Random) -> None:
    stop = c.find(part="stop")[0]
    c.find(part=LIVE)[-1].at_us = stop.answered_us + 200


def three_samples_missing(c: Conversation, chance: Random) -> None:
    samples = c.find(part="sample")
    place = chance.randrange(1, len(samples) - 4)
    c.drop(*samples[place : place + 3])


def stopping_tag_asked_for(c: Conversation, _: Random) -> None:
    stop = c.find(part="stop")[0]
    answer = {"idTagInfo": {"status": "Accepted"}}
    said(c, stop.at_us - 400_000, CP, "Authorize", {"idTag": stop.payload["idTag"]}, answer)


def in_stamp(change: Any) -> Any:
    return lambda x: restamp(x.payload, change)


ANY: frozenset[str] = frozenset()
ONE_OF = ("start", "stop", *LIVE)
PEER_MUTATIONS: tuple[tuple[str, str, str, frozenset[str], Alter], ...] = (
    ("CALLRESULT of four", "J002", "error", ANY, altered(answer_texted(elements(lambda e: e.append({}))), part=ONE_OF)),
    ("cut short", "J001", "error", ANY, altered(texted(lambda t: t[:-2]), part=ONE_OF)),
    ("id of 37 characters", "J004", "error", ANY, altered(lambda x: setattr(x, "id", "a" * 37), part=ONE_OF)),
    ("id again", "J005", "error", ANY, id_of_the_start),
    ("second answer", "J009", "error", ANY, second_answer),
    ("a field nobody knows", "J021", "error", ANY, altered(put(colour="red"), part=ONE_OF)),
    ("no connectorId", "J021", "error", ANY, altered(without("connectorId"), part=("start", *LIVE))),
    ("empty idTag", "J023", "warning", ANY, altered(put(idTag=""), part="start")),
    ("Start although Invalid", "T003", "error", frozenset({"local"}), altered(tag_status("Invalid"), part="authorize")),
    ("Start although Expired", "T003", "error", frozenset({"local"}), altered(tag_status("Expired"), part="authorize")),
    ("Start on connector 0", "T007", "error", ANY, altered(put(connectorId=0), part="start")),
    ("Stop with id 0", "T011", "error", ANY, altered(put(transactionId=0), part="stop")),
    ("MeterValues with another id", "T011", "error", ANY, altered(put(transactionId=4711), part=LIVE)),
    ("MeterValues after the Stop", "T012", "warning", ANY, sample_after_stop),
    ("meterStop below meterStart", "T014", "error", ANY, meter_stop_falls),
    ("the register falls", "T015", "error", ANY, register_falls),
    ("SoftReset without a Reset", "T018", "note", frozenset({"local"}), altered(put(reason="SoftReset"), part="stop")),
    ("Remote without a RemoteStop", "T018", "note", frozenset({"local"}), altered(put(reason="Remote"), part="stop")),
    ("a foreign tag stops", "T019", "error", frozenset({"local"}), altered(put(idTag="FOREIGN"), part="stop")),
    ("the stopping tag is asked for", "T020", "warning", frozenset({"local"}), stopping_tag_asked_for),
    ("an open transaction is not stopped", "T021", "error", frozenset({"remote"}), altered(status("Rejected"), part="remote stop")),
    ("Start unanswered", "T023", "error", frozenset({"lasting"}), altered(unanswered, part="start")),
    ("MeterValues unanswered", "T023", "error", frozenset({"lasting"}), altered(unanswered, part=LIVE)),
    ("Stop unanswered", "T023", "error", frozenset({"lasting"}), altered(unanswered, part="stop")),
    ("three samples missing", "M001", "error", frozenset({"long"}), three_samples_missing),
    ("another connector", "M004", "error", ANY, altered(lambda x: x.payload.update(connectorId=3 - x.payload["connectorId"]), part=LIVE)),
    ("no transactionId", "M005", "warning", ANY, altered(without("transactionId"), part=LIVE)),
    ("decimal comma", "M006", "error", ANY, altered(sampled(ENERGY, value="0,0"), part=LIVE)),
    ("register in A", "M007", "warning", ANY, altered(sampled(ENERGY, unit="A"), part=LIVE)),
    ("saturated register", "M015", "error", ANY, altered(sampled(ENERGY, value="2147483647"), part=LIVE)),
    ("empty sampledValue", "M016", "error", ANY, altered(lambda x: x.payload["meterValue"][0].update(sampledValue=[]), part=LIVE)),
    ("no time at all", "P006", "error", ANY, altered(in_stamp(lambda _: "yesterday"), part=ONE_OF)),
    ("no zone", "P006", "warning", ANY, altered(in_stamp(lambda t: t[:-1]), part=ONE_OF)),
    ("before 2010", "P007", "warning", ANY, altered(in_stamp(lambda _: stamp(0)), part=LIVE)),
)  # fmt: skip
