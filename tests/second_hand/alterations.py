"""How a conversation is altered: small functions that find a place by chance and change what is said."""

import itertools
import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

from tests.second_hand.conversations import (
    CP,
    CS,
    ENERGY,
    OPEN,
    TX_ACTIONS,
    Conversation,
    Exchange,
    Happening,
    Refused,
    stamp,
    wire,
)
from tests.second_hand.scenarios import converse
from twin.model import Kind, Side
from twin.protocol.timestamps import parse_stamp

type Alter = Callable[[Conversation, Random], Conversation | None]
type Edit = Callable[[Exchange], object]
LIVE = ("sample", "aligned")


def rebuilt(**quirks: Any) -> Alter:
    """The same scenario from the start with a station or a CSMS that is another one."""
    return lambda c, _: converse(c.name, c.seed, **quirks)


def altered(edit: Edit, action: str = "", **how: Any) -> Alter:
    """One exchange that fits is edited."""

    def alter(c: Conversation, chance: Random) -> None:
        edit(chance.choice(c.find(action, **how)))

    return alter


def every(edit: Edit, action: str = "", **how: Any) -> Alter:
    def alter(c: Conversation, _: Random) -> None:
        found = c.find(action, **how)
        assert found
        for exchange in found:
            edit(exchange)

    return alter


def put(**fields: Any) -> Edit:
    """Edit: these fields of the request."""
    return lambda x: x.payload.update(deepcopy(fields))


def without(*fields: str) -> Edit:
    def edit(x: Exchange) -> None:
        for name in fields:
            del x.payload[name]

    return edit


def answered(answer: Any) -> Edit:
    """Edit: another answer."""
    return lambda x: setattr(x, "answer", deepcopy(answer))


def answer_put(**fields: Any) -> Edit:
    return lambda x: x.answer.update(deepcopy(fields))


def status(word: str) -> Edit:
    return answered({"status": word})


def tag_status(word: str) -> Edit:
    return lambda x: x.answer["idTagInfo"].update(status=word)


def took(seconds: float) -> Edit:
    return lambda x: setattr(x, "took_us", int(seconds * 1e6))


def unanswered(x: Exchange) -> None:
    x.answer = None


def texted(change: Callable[[str], str]) -> Edit:
    """Edit: another text of the CALL."""

    def edit(x: Exchange) -> None:
        x.call_text = change(next(x.texts())[2])

    return edit


def answer_texted(change: Callable[[str], str]) -> Edit:
    def edit(x: Exchange) -> None:
        x.answer_text = change(list(x.texts())[1][2])

    return edit


def elements(change: Callable[[list[Any]], object]) -> Callable[[str], str]:
    """A text whose array is changed in place."""

    def rewrite(text: str) -> str:
        array = json.loads(text)
        change(array)
        return wire(*array)

    return rewrite


# samples


def values_of(x: Exchange) -> list[dict[str, Any]]:
    entries = x.payload.get("meterValue", x.payload.get("transactionData", []))
    return [value for entry in entries for value in entry["sampledValue"]]


def value_of(x: Exchange, measurand: str) -> dict[str, Any]:
    return next(value for value in values_of(x) if value["measurand"] == measurand)


def sampled(measurand: str, **fields: Any) -> Edit:
    """Edit: these fields of the value of a measurand."""
    return lambda x: value_of(x, measurand).update(fields)


def sampled_without(measurand: str) -> Edit:
    def edit(x: Exchange) -> None:
        for entry in x.payload["meterValue"]:
            entry["sampledValue"] = [v for v in entry["sampledValue"] if v["measurand"] != measurand]

    return edit


def also_sampled(**value: Any) -> Edit:
    def edit(x: Exchange) -> None:
        context = values_of(x)[0]["context"]
        x.payload["meterValue"][0]["sampledValue"].append({"context": context} | value)

    return edit


def for_each_value(change: Callable[[dict[str, Any]], object]) -> Edit:
    def edit(x: Exchange) -> None:
        for value in values_of(x):
            change(value)

    return edit


def energy(x: Exchange) -> int:
    return int(value_of(x, ENERGY)["value"])


# stamps


def moved(text: str, seconds: float) -> str:
    parsed = parse_stamp(text)
    assert parsed is not None
    return stamp(parsed.at_us + seconds * 1e6)


def stamped(seconds: float) -> Edit:
    """Edit: the payload's own stamp lies so much later; for MeterValues that of its entry."""

    def edit(x: Exchange) -> None:
        place = x.payload["meterValue"][0] if x.action == "MeterValues" else x.payload
        place["timestamp"] = moved(place["timestamp"], seconds)

    return edit


def restamp(payload: Any, change: Callable[[str], str]) -> None:
    """Every ``timestamp`` in a payload."""
    if isinstance(payload, list):
        for part in payload:
            restamp(part, change)
    elif isinstance(payload, dict):
        for name, value in payload.items():
            if name == "timestamp":
                payload[name] = change(value)
            else:
                restamp(value, change)


# additions


def said(
    c: Conversation, at_us: int, sender: Side, action: str, payload: Any, answer: Any, took_s: float = 0.2
) -> Exchange:
    """One exchange more."""
    message_id = f"extra-{len(c.items)}-{at_us % 10**9}"
    exchange = Exchange(
        at_us, c.link_at(at_us), sender, message_id, action, payload, answer, int(took_s * 1e6)
    )
    connector = payload.get("connectorId") if isinstance(payload, dict) else None
    exchange.connector = connector
    c.add(exchange)
    return exchange


def quiet(c: Conversation, chance: Random, since_s: float = 0, seconds: float = 4, rest_s: float = 75) -> int:
    """A moment after the last boot with nothing under way for so long, ``rest_s`` before the end."""
    since_us = c.find("BootNotification")[-1].at_us + int(since_s * 1e6) if c.find("BootNotification") else 0
    busy = sorted((x.at_us, x.answered_us) for x in c.find())
    ends = [happening.at_us for happening in c.happened(Kind.END)]
    free = [
        done_us + 300_000
        for (_, done_us), (next_us, _) in itertools.pairwise(busy)
        if next_us - done_us > (seconds + 0.6) * 1e6
        and done_us > since_us
        and done_us < c.until_us - rest_s * 1e6
        and not any(done_us <= end_us <= next_us for end_us in ends)
    ]
    return chance.choice(free)


def inserted(
    sender: Side,
    action: str,
    payload: Any,
    answer: Any,
    *,
    took_s: float = 0.2,
    since_s: float = 25,
    rest_s: float = 75,
) -> Alter:
    """One exchange more in a quiet moment."""

    def alter(c: Conversation, chance: Random) -> None:
        at_us = quiet(c, chance, since_s, took_s + 1, rest_s)
        said(c, at_us, sender, action, deepcopy(payload), deepcopy(answer), took_s)

    return alter


def injected(sender: Side, text: str | Callable[[Conversation], str], *, since_s: float = 90) -> Alter:
    """A text that belongs to no exchange."""

    def alter(c: Conversation, chance: Random) -> None:
        at_us = quiet(c, chance, since_s, 2)
        words = text if isinstance(text, str) else text(c)
        c.add(Happening(at_us, c.link_at(at_us), Kind.TEXT, sender, words))

    return alter


def happening(kind: Kind, sender: Side | None, *, data: bytes | None = None, **facts: Any) -> Alter:
    def alter(c: Conversation, chance: Random) -> None:
        at_us = quiet(c, chance, 25, 2)
        c.add(Happening(at_us, c.link_at(at_us), kind, sender, data=data, facts=facts))

    return alter


def opening(which: int = 0, **facts: Any) -> Alter:
    """Other facts of a handshake."""

    def alter(c: Conversation, _: Random) -> None:
        c.happened(Kind.OPEN)[which].facts.update(facts)

    return alter


def status_report(
    c: Conversation, at_us: int, connector: int, word: str, code: str = "NoError", **more: Any
) -> Exchange:
    payload = {
        "connectorId": connector,
        "errorCode": code,
        "status": word,
        "timestamp": stamp(at_us - 100_000),
    }
    exchange = said(c, at_us, CP, "StatusNotification", payload | more, {})
    exchange.part = "status"
    return exchange


def idle_connector(c: Conversation, chance: Random) -> int:
    used = {x.connector for x in c.find() if x.part != "boot status"}
    return chance.choice([n for n in range(1, 21) if n not in used])


def idle_reports(
    *words: str, apart_s: float = 15, code: str = "NoError", connector: int | None = None
) -> Alter:
    """An unused connector reports these one after the other."""

    def alter(c: Conversation, chance: Random) -> None:
        number = idle_connector(c, chance) if connector is None else connector
        at_us = quiet(c, chance, 25, 2, 75 + apart_s * len(words))
        for turn, word in enumerate(words):
            own = code if turn == 0 else "NoError"
            status_report(c, at_us + int(turn * apart_s * 1e6), number, word, own)

    return alter


def during(c: Conversation, chance: Random) -> tuple[Exchange, Exchange, int]:
    """A transaction's Start and Stop, and a quiet moment well inside it."""
    start = chance.choice(c.find("StartTransaction"))
    stop = next(x for x in c.find("StopTransaction", connector=start.connector) if x.at_us > start.at_us)
    busy = sorted((x.at_us, x.answered_us) for x in c.find())
    free = [
        done_us + 300_000
        for (_, done_us), (next_us, _) in itertools.pairwise(busy)
        if next_us - done_us > 4e6 and start.at_us + 15e6 < done_us < stop.at_us - 25e6
    ]
    return start, stop, chance.choice(free)


def charging_reports(*words: str, apart_s: float = 12, code: str = "NoError") -> Alter:
    """The connector of an open transaction reports these one after the other."""

    def alter(c: Conversation, chance: Random) -> None:
        start, _, at_us = during(c, chance)
        for turn, word in enumerate(words):
            own = code if turn == 0 else "NoError"
            status_report(c, at_us + int(turn * apart_s * 1e6), start.connector or 1, word, own)

    return alter


def dropped(action: str = "", **how: Any) -> Alter:
    def alter(c: Conversation, chance: Random) -> None:
        c.drop(chance.choice(c.find(action, **how)))

    return alter


def last_of(c: Conversation, start: Exchange, *parts: str) -> list[Exchange]:
    """The exchanges of a connector after its Start, of these parts."""
    return [x for x in c.find(part=parts, connector=start.connector) if x.at_us > start.at_us]


def transaction(c: Conversation, chance: Random) -> list[Exchange]:
    """All transaction messages of one transaction, Start first."""
    start = chance.choice(c.find("StartTransaction", where=lambda x: isinstance(x.answer, dict)))
    number = start.answer["transactionId"]
    return [
        start,
        *(x for x in c.find() if x.action in TX_ACTIONS and x.payload.get("transactionId") == number),
    ]


def renumbered(c: Conversation, messages: list[Exchange], number: int) -> None:
    messages[0].answer["transactionId"] = number
    for message in messages[1:]:
        message.payload["transactionId"] = number


def lost_link(c: Conversation, at_us: int, away_s: float = 2) -> int:
    """The socket ends at ``at_us`` and is opened again; everything later moves to the new one."""
    old, new = c.link_at(at_us), f"again{len(c.items)}"
    c.delay(at_us, away_s + 1)
    for item in c.items:
        if item.at_us >= at_us and item.link == old:
            item.link = new
    back_us = at_us + int(away_s * 1e6)
    c.add(Happening(at_us, old, Kind.END, facts={"abrupt": True, "by": "station"}))
    c.add(Happening(back_us, new, Kind.OPEN, facts=dict(OPEN)))
    return back_us


__all__ = ["CP", "CS", "Refused"]
