"""Single alterations of clean conversations, and the rule that must say so: one written-out table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.engine import stations
from tests.engine.stations import SECOND_US
from tests.rules.conversations import CSMS, STATION, Line, Talk
from twin.model import Kind
from twin.protocol.timestamps import format_us, parse_stamp

type Alter = Callable[[Talk], Iterator[Talk]]

OK = {"idTagInfo": {"status": "Accepted"}}
PROFILE = stations.PROFILE | {"connectorId": 9}


@dataclass(frozen=True)
class Mutation:
    """``alter`` yields the altered copies; ``rules`` are those of which one must speak."""

    name: str
    rules: tuple[str, ...]
    scenarios: tuple[str, ...]
    alter: Alter


def shifted(text: str, seconds: float) -> str:
    stamp = parse_stamp(text)
    assert stamp is not None
    return format_us(stamp.at_us + int(seconds * SECOND_US))[:23] + "Z"


def each(
    action: str, change: Callable[[Talk, int], Talk | None], sender: Any = STATION, **wanted: Any
) -> Alter:
    """``change`` at every CALL of the action."""

    def alter(talk: Talk) -> Iterator[Talk]:
        for place in talk.calls(action, sender, **wanted):
            if (altered := change(talk, place)) is not None:
                yield altered

    return alter


def put(**values: Any) -> Callable[[Talk, int], Talk]:
    return lambda talk, place: talk.put(place, **values)


def answered(**values: Any) -> Callable[[Talk, int], Talk | None]:
    """The answer with these values."""

    def change(talk: Talk, place: int) -> Talk | None:
        answer = talk.answer(place)
        return None if answer is None else talk.put(answer, **values)

    return change


def message(at: int, value: Any, *, of_answer: bool = False) -> Callable[[Talk, int], Talk | None]:
    """Element ``at`` of the message (or of its answer) is ``value``."""

    def change(talk: Talk, place: int) -> Talk | None:
        target = talk.answer(place) if of_answer else place
        if target is None:
            return None

        def element(line: Line) -> None:
            assert line.message is not None
            line.message[at] = value

        return talk.edit(target, element)

    return change


def refused(code: str) -> Callable[[Talk, int], Talk | None]:
    """A CALLERROR instead of the answer."""

    def change(talk: Talk, place: int) -> Talk | None:
        answer = talk.answer(place)
        if answer is None:
            return None

        def error(line: Line) -> None:
            assert line.message is not None
            line.message = [4, line.message[1], code, "", {}]

        return talk.edit(answer, error)

    return change


def text(change: Callable[[str], str], *, of_answer: bool = False) -> Callable[[Talk, int], Talk | None]:
    import json

    def alter(talk: Talk, place: int) -> Talk | None:
        target = talk.answer(place) if of_answer else place
        if target is None:
            return None
        plain = json.dumps(talk.lines[target].message, separators=(",", ":"))
        return talk.edit(target, lambda line: setattr(line, "text", change(plain)))

    return alter


def inserted(sender: Any, action: str, payload: Any, answer: Any = None, *, every: int = 12) -> Alter:
    """A CALL that nobody should have made, wherever it is quiet."""

    def alter(talk: Talk) -> Iterator[Talk]:
        for number, place in enumerate(talk.quiet()):
            if number % every == 3:
                yield talk.say(place, sender, action, payload, answer)

    return alter


def opening(**facts: Any) -> Alter:
    def alter(talk: Talk) -> Iterator[Talk]:
        for place, line in enumerate(talk.lines):
            if line.kind is Kind.OPEN:
                yield talk.edit(place, lambda one: one.facts.update(facts))

    return alter


def control(kind: Kind, sender: Any, data: bytes | None = None, **facts: Any) -> Alter:
    """A control or binary frame, wherever it is quiet."""

    def alter(talk: Talk) -> Iterator[Talk]:
        for number, place in enumerate(talk.quiet()):
            if number % 12 == 3:
                base = talk.lines[place]
                yield talk.insert(
                    place, Line(base.at_us + 100_000, base.link, kind, sender, data=data, facts=facts)
                )

    return alter


def samples(
    change: Callable[[dict[str, Any]], Any], only: str = "", context: str = "Sample.Periodic"
) -> Alter:
    """``change`` at the sampled value of a measurand in every MeterValues of this context."""

    def alter(talk: Talk) -> Iterator[Talk]:
        for place in talk.calls("MeterValues"):
            values = talk.payload(place)["meterValue"][0]["sampledValue"]
            if values[0]["context"] != context or "transactionId" not in talk.payload(place):
                continue

            def one(line: Line) -> None:
                assert line.message is not None
                held = line.message[3]["meterValue"][0]["sampledValue"]
                for value in held:
                    if not only or value["measurand"] == only:
                        change(value)

            yield talk.edit(place, one)

    return alter


def whole_sample(change: Callable[[list[dict[str, Any]]], Any], context: str = "Sample.Periodic") -> Alter:
    def alter(talk: Talk) -> Iterator[Talk]:
        for place in talk.calls("MeterValues"):
            if talk.payload(place)["meterValue"][0]["sampledValue"][0]["context"] == context:

                def one(line: Line) -> None:
                    assert line.message is not None
                    change(line.message[3]["meterValue"][0]["sampledValue"])

                yield talk.edit(place, one)

    return alter


def stamps(action: str, seconds: float, context: str = "Sample.Periodic", least: int = 0) -> Alter:
    """The payload's own time stamp moved."""

    def alter(talk: Talk) -> Iterator[Talk]:
        for number, place in enumerate(talk.calls(action)):
            if number < least:
                continue
            payload = talk.payload(place)
            if action == "MeterValues":
                entry = payload["meterValue"][0]
                if entry["sampledValue"][0]["context"] == context:
                    moved = [{**entry, "timestamp": shifted(entry["timestamp"], seconds)}]
                    yield talk.put(place, meterValue=moved)
            elif "timestamp" in payload:
                yield talk.put(place, timestamp=shifted(payload["timestamp"], seconds))

    return alter


def configuration(change: Callable[[dict[str, Any]], Any]) -> Alter:
    """The answer with all keys, altered as a mapping of name to entry."""

    def alter(talk: Talk) -> Iterator[Talk]:
        for place in talk.calls("GetConfiguration", CSMS):
            answer = talk.answer(place)
            if answer is None or talk.payload(place).get("key"):
                continue

            def one(line: Line) -> None:
                assert line.message is not None
                entries = {entry["key"]: entry for entry in line.message[2]["configurationKey"]}
                change(entries)
                line.message[2]["configurationKey"] = list(entries.values())

            yield talk.edit(answer, one)

    return alter


def key(name: str, **values: Any) -> Alter:
    return configuration(lambda entries: entries[name].update(values))


def written(name: str, value: str, status: str = "Accepted") -> Alter:
    return inserted(CSMS, "ChangeConfiguration", {"key": name, "value": value}, {"status": status}, every=30)


def every(alter: Alter, number: int) -> Alter:
    """The first few places only."""

    def few(talk: Talk) -> Iterator[Talk]:
        for place, altered in enumerate(alter(talk)):
            if place >= number:
                return
            yield altered

    return few


def without(action: str, sender: Any = STATION, **wanted: Any) -> Alter:
    return each(action, lambda talk, place: talk.without(place), sender, **wanted)


def unanswered(action: str, sender: Any = STATION) -> Alter:
    return each(action, lambda talk, place: talk.drop(talk.answer(place)), sender)


def late_answer(action: str, sender: Any, seconds: float) -> Alter:
    def change(talk: Talk, place: int) -> Talk | None:
        answer = talk.answer(place)
        return None if answer is None else talk.move(answer, seconds)

    return each(action, change, sender)


# --- alterations with a shape of their own ------------------------------------------------------------------


def reused_id(talk: Talk) -> Iterator[Talk]:
    calls = [
        p
        for p, line in enumerate(talk.lines)
        if line.message and line.message[0] == 2 and line.sender is STATION
    ]
    for first, second in list(pairwise(calls))[5:60:9]:
        if talk.lines[first].link != talk.lines[second].link:
            continue
        asked, answer = talk.lines[first].message, talk.answer(second)
        assert asked is not None

        def same(line: Line, name: str = asked[1]) -> None:
            assert line.message is not None
            line.message[1] = name

        altered = talk.edit(second, same)
        yield altered if answer is None else altered.edit(answer, same)


def two_in_flight(talk: Talk) -> Iterator[Talk]:
    """A CALL goes out before the answer to the last one."""
    for number, place in enumerate(talk.quiet(lambda line: line.sender is CSMS)):
        if number % 12 == 3:
            base = talk.lines[place]
            yield talk.insert(
                place - 1,
                Line(base.at_us - 1_000, base.link, sender=STATION, message=[2, "extra", "Heartbeat", {}]),
            ).insert(
                place + 1,
                Line(
                    base.at_us + 1_000, base.link, sender=CSMS,
                    message=[3, "extra", {"currentTime": format_us(base.at_us)[:23] + "Z"}],
                ),
            )  # fmt: skip


def stray_answer(again: bool) -> Alter:
    def alter(talk: Talk) -> Iterator[Talk]:
        for number, place in enumerate(talk.quiet(lambda line: bool(line.message and line.message[0] == 3))):
            if number % 12 == 3:
                base = talk.lines[place]
                assert base.message is not None
                name = base.message[1] if again else "never-asked"
                line = Line(
                    base.at_us + 50_000, base.link, sender=base.sender, message=[3, name, base.message[2]]
                )
                yield talk.insert(place, line)

    return alter


def authorize_first(talk: Talk) -> Iterator[Talk]:
    """Authorize overtakes RemoteStartTransaction.conf."""
    for place in talk.calls("RemoteStartTransaction", CSMS):
        answer = talk.answer(place)
        asked = next((p for p in talk.calls("Authorize") if answer is not None and p > answer), None)
        if answer is not None and asked is not None:
            yield talk.edit(
                asked, lambda line, at=talk.lines[answer].at_us - 5_000: setattr(line, "at_us", at)
            )


def local_starts(change: Callable[[Talk, int, int], Talk]) -> Alter:
    """``change`` at (Authorize, StartTransaction) of every local start."""

    def alter(talk: Talk) -> Iterator[Talk]:
        remote = {talk.payload(p).get("idTag") for p in talk.calls("RemoteStartTransaction", CSMS)}
        for started in talk.calls("StartTransaction"):
            tag = talk.payload(started)["idTag"]
            asked = [p for p in talk.calls("Authorize", idTag=tag) if p < started]
            if asked and tag not in remote:
                yield change(talk, asked[-1], started)

    return alter


def remote_starts(talk: Talk) -> Iterator[Talk]:
    for place in talk.calls("RemoteStartTransaction", CSMS):
        tag = talk.payload(place)["idTag"]
        if talk.calls("StartTransaction", idTag=tag):
            yield talk.without(*talk.calls("Authorize", idTag=tag))


def stop_before_sample(talk: Talk) -> Iterator[Talk]:
    """A sample of the transaction comes after its StopTransaction."""
    for place in talk.calls("StopTransaction"):
        number = talk.payload(place)["transactionId"]
        earlier = [p for p in talk.calls("MeterValues", transactionId=number) if p < place]
        answer = talk.answer(place)
        if earlier and answer is not None:
            payload = talk.payload(earlier[-1])
            yield talk.without(earlier[-1]).say(
                talk.lines.index(talk.lines[answer]) - 2, STATION, "MeterValues", payload, {}, later_s=0.02
            )


def lost_samples(number: int) -> Alter:
    def alter(talk: Talk) -> Iterator[Talk]:
        for started in talk.calls("StartTransaction"):
            answer = talk.answer(started)
            if answer is None:
                continue
            server_id = talk.payload(answer)["transactionId"]
            held = [
                p
                for p in talk.calls("MeterValues", transactionId=server_id)
                if talk.payload(p)["meterValue"][0]["sampledValue"][0]["context"] == "Sample.Periodic"
            ]
            for first in range(1, len(held) - number, 2):
                yield talk.without(*held[first : first + number])

    return alter


def falling(talk: Talk) -> Iterator[Talk]:
    """The register falls by 50 Wh from one sample to the next."""
    for place in talk.calls("MeterValues"):
        entry = talk.payload(place)["meterValue"][0]
        value = entry["sampledValue"][0]
        if value["context"] == "Sample.Periodic" and int(value["value"]) > 200:

            def fall(line: Line) -> None:
                assert line.message is not None
                held = line.message[3]["meterValue"][0]["sampledValue"][0]
                held["value"] = str(int(held["value"]) - 100)

            yield talk.edit(place, fall)


def unregistered(talk: Talk) -> Iterator[Talk]:
    """A transaction without live samples stops 5 Wh below its start."""
    for place in talk.calls("StopTransaction"):
        number = talk.payload(place)["transactionId"]
        altered = talk.without(*talk.calls("MeterValues", transactionId=number))
        (stop,) = altered.calls("StopTransaction", transactionId=number)[:1]
        start = next(
            p for p in altered.calls("StartTransaction")
            if (a := altered.answer(p)) is not None and altered.payload(a).get("transactionId") == number
        )  # fmt: skip
        wh = altered.payload(start)["meterStart"]
        if wh >= 5:
            yield altered.put(stop, meterStop=wh - 5)


def doubled_start(talk: Talk) -> Iterator[Talk]:
    """StopTransaction is lost, and the connector starts again."""
    stops = talk.calls("StopTransaction")
    starts = talk.calls("StartTransaction")
    for stop in stops:
        number = talk.payload(stop)["transactionId"]
        connector = next(
            (
                talk.payload(p)["connectorId"]
                for p in starts
                if (a := talk.answer(p)) is not None and talk.payload(a).get("transactionId") == number
            ),
            None,
        )
        if any(p > stop and talk.payload(p)["connectorId"] == connector for p in starts):
            yield talk.without(stop)


def no_stop_after(action: str) -> Alter:
    """Reset, RemoteStop or an unplug without its StopTransaction."""

    def alter(talk: Talk) -> Iterator[Talk]:
        reasons = {
            "Reset": ("SoftReset", "HardReset"),
            "RemoteStopTransaction": ("Remote",),
            "unplug": ("EVDisconnected",),
        }
        for place in talk.calls("StopTransaction"):
            if talk.payload(place).get("reason") in reasons[action]:
                yield talk.without(place)

    return alter


def later_stop(talk: Talk) -> Iterator[Talk]:
    """StopTransaction 7 s after RemoteStopTransaction.conf, and everything behind it later too."""
    for place in talk.calls("StopTransaction", reason="Remote"):
        lines = [line if number < place else _moved(line, 7) for number, line in enumerate(talk.lines)]
        yield Talk(lines)


def _moved(line: Line, seconds: float) -> Line:
    import copy

    moved = copy.copy(line)
    moved.at_us += int(seconds * SECOND_US)
    return moved


def quiet_hours(talk: Talk) -> Iterator[Talk]:
    """Four minutes without a Heartbeat, where nothing else is said."""
    beats = talk.calls("Heartbeat")
    for first in range(len(beats) - 8):
        block = beats[first : first + 8]
        span = range(block[0], block[-1])
        others = [
            p for p in span
            if (m := talk.lines[p].message) is not None and m[0] == 2 and m[2] != "Heartbeat"
        ]  # fmt: skip
        if not others:
            yield talk.without(*block[:-1])


def clock_ahead(talk: Talk) -> Iterator[Talk]:
    """Every stamp of the station an hour ahead, from some status on."""
    import copy
    import json

    for first in talk.calls("StatusNotification")[:40:10]:
        lines = []
        for place, line in enumerate(talk.lines):
            if place >= first and line.sender is STATION and line.message and line.message[0] == 2:
                line = copy.copy(line)
                line.message = _ahead(json.loads(json.dumps(line.message)))
            lines.append(line)
        yield Talk(lines)


def _ahead(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: shifted(v, 3_600) if k == "timestamp" else _ahead(v) for k, v in value.items()}
    return [_ahead(item) for item in value] if isinstance(value, list) else value


def whole_seconds(talk: Talk) -> Iterator[Talk]:
    import json
    import re

    lines = []
    for line in talk.lines:
        if line.sender is STATION and line.message:
            plain = re.sub(
                r"(T\d\d:\d\d:\d\d)\.\d{3}Z", r"\1Z", json.dumps(line.message, separators=(",", ":"))
            )
            line = Line(line.at_us, line.link, line.kind, line.sender, json.loads(plain))
        lines.append(line)
    yield Talk(lines)


def authorize_again(talk: Talk) -> Iterator[Talk]:
    for place in talk.calls("Authorize"):
        altered = refused("InternalError")(talk, place)
        answer = talk.answer(place)
        if altered is not None and answer is not None:
            yield altered.say(answer, STATION, "Authorize", talk.payload(place), OK)


def retries(change: Callable[[Talk, list[int]], Talk]) -> Alter:
    """``change`` at the transmissions of a StopTransaction that was refused."""

    def alter(talk: Talk) -> Iterator[Talk]:
        sent: dict[int, list[int]] = {}
        for place in talk.calls("StopTransaction"):
            sent.setdefault(talk.payload(place)["transactionId"], []).append(place)
        for places in sent.values():
            if len(places) > 1:
                yield change(talk, places)

    return alter


def fourth(talk: Talk, places: list[int]) -> Talk:
    """A third refusal, and a fourth transmission."""
    answer = talk.answer(places[-1])
    assert answer is not None

    def refuse(line: Line) -> None:
        assert line.message is not None
        line.message = [4, line.message[1], "InternalError", "", {}]

    payload = talk.payload(places[-1])
    return talk.edit(answer, refuse).say(answer, STATION, "StopTransaction", payload, {}, later_s=180)


def overtaking(talk: Talk, places: list[int]) -> Talk:
    answer = talk.answer(places[0])
    assert answer is not None
    start = {
        "connectorId": 5,
        "idTag": "TAG0001",
        "meterStart": 0,
        "timestamp": format_us(talk.lines[answer].at_us)[:23] + "Z",
    }
    return talk.say(answer, STATION, "StartTransaction", start, {"transactionId": 900, **OK}, later_s=2)


def retry_after(seconds: float) -> Callable[[Talk, list[int]], Talk]:
    def change(talk: Talk, places: list[int]) -> Talk:
        failed = talk.answer(places[0])
        answer = talk.answer(places[1])
        assert failed is not None
        assert answer is not None
        wanted_us = talk.lines[failed].at_us + int(seconds * SECOND_US)
        by_s = (wanted_us - talk.lines[places[1]].at_us) / SECOND_US
        return talk.move(places[1], by_s).move(answer, by_s)

    return change


def queued(change: Callable[[Talk, int, int], Talk | None]) -> Alter:
    """``change`` at (end of the link, opening of the next)."""

    def alter(talk: Talk) -> Iterator[Talk]:
        ends = [p for p, line in enumerate(talk.lines) if line.kind is Kind.END]
        opens = [p for p, line in enumerate(talk.lines) if line.kind is Kind.OPEN]
        for end in ends:
            after = next((p for p in opens if p > end), None)
            if after is not None and (altered := change(talk, end, after)) is not None:
                yield altered

    return alter


def offline_start(talk: Talk, end: int, opened: int) -> Talk:
    middle_us = (talk.lines[end].at_us + talk.lines[opened].at_us) // 2
    start = {
        "connectorId": 6,
        "idTag": "GUEST",
        "meterStart": 0,
        "timestamp": format_us(middle_us)[:23] + "Z",
    }
    last = next(p for p in talk.quiet() if p > opened)
    return talk.say(last, STATION, "StartTransaction", start, {"transactionId": 901, **OK})


def lost_queue(talk: Talk, end: int, opened: int) -> Talk | None:
    """The samples of the outage never come."""
    opened_us = talk.lines[opened].at_us
    old = [
        p for p in talk.calls("MeterValues")
        if p > opened and (s := parse_stamp(talk.payload(p)["meterValue"][0]["timestamp"])) and s.at_us < opened_us - 5 * SECOND_US
    ]  # fmt: skip
    return talk.without(*old) if len(old) > 4 else None


def late_queue(talk: Talk, end: int, opened: int) -> Talk:
    """Everything behind the opening two minutes later."""
    return Talk([line if p <= opened else _moved(line, 120) for p, line in enumerate(talk.lines)])


def history(talk: Talk, end: int, opened: int) -> Talk:
    """Three statuses of the outage, told afterwards."""
    begun_us = talk.lines[end].at_us
    altered, last = talk, next(p for p in talk.quiet() if p > opened)
    for number, value in enumerate(("Finishing", "Preparing", "Available")):
        payload = {
            "connectorId": 12, "errorCode": "NoError", "status": value,
            "timestamp": format_us(begun_us + (30 + number) * SECOND_US)[:23] + "Z",
        }  # fmt: skip
        altered = altered.say(last + 2 * number, STATION, "StatusNotification", payload, {}, later_s=0.02)
    return altered


def boot_again(talk: Talk, end: int, opened: int) -> Talk:
    """BootNotification on a mere reconnection."""
    first = talk.calls("BootNotification")[0]
    answer = talk.answer(first)
    assert answer is not None
    told = {**talk.payload(answer), "currentTime": format_us(talk.lines[opened].at_us)[:23] + "Z"}
    return talk.say(opened, STATION, "BootNotification", talk.payload(first), told, later_s=0.001)


def overlapping(talk: Talk, end: int, opened: int) -> Talk:
    """The old connection is never seen to end."""
    return talk.drop(end)


def quick_reconnects(talk: Talk, end: int, opened: int) -> Talk:
    lines = []
    at_us = talk.lines[end].at_us + 100_000
    for number in range(5):
        lines.append(
            Line(at_us + number * 400_000, f"q{number}", Kind.OPEN, facts=dict(talk.lines[opened].facts))
        )
        lines.append(
            Line(at_us + number * 400_000 + 100_000, f"q{number}", Kind.END, facts={"abrupt": False})
        )
    return talk.insert(end, *lines)


def refused_handshakes(talk: Talk, end: int, opened: int) -> Talk:
    at_us = talk.lines[end].at_us + 100_000
    lines = [Line(at_us + n * 3 * SECOND_US, f"q{n}", Kind.REFUSED, facts={"status": 503}) for n in range(5)]
    return talk.insert(end, *lines)


def dropped_after_error(talk: Talk, end: int, opened: int) -> Talk:
    base = talk.lines[end]
    lines = [
        Line(
            base.at_us - 2 * SECOND_US,
            base.link,
            sender=CSMS,
            message=[2, "bad", "GetConfiguration", {"key": 5}],
        ),
        Line(
            base.at_us - SECOND_US,
            base.link,
            sender=STATION,
            message=[4, "bad", "TypeConstraintViolation", "", {}],
        ),
    ]
    return talk.insert(end - 1, *lines)


def available(change: Callable[[Talk, int], Talk | None], status: str, connector: int | None = None) -> Alter:
    wanted: dict[str, Any] = {"status": status} | (
        {"connectorId": connector} if connector is not None else {}
    )
    return each("StatusNotification", change, **wanted)


def flapping(talk: Talk) -> Iterator[Talk]:
    for number, place in enumerate(talk.quiet()):
        if number % 40 == 20:
            altered = talk
            for turn in range(8):
                payload = {
                    "connectorId": 15,
                    "errorCode": "NoError",
                    "status": ("Preparing", "Available")[turn % 2],
                }
                altered = altered.say(
                    place + 2 * turn, STATION, "StatusNotification", payload, {}, later_s=0.02
                )
            yield altered


def charging_unseen(talk: Talk) -> Iterator[Talk]:
    """A transaction, and its connector reports neither Charging nor Suspended."""
    for place in talk.calls("StatusNotification", status="Charging"):
        yield talk.without(place)


def stop_then_preparing(talk: Talk) -> Iterator[Talk]:
    for place in talk.calls("StatusNotification", status="Finishing"):
        connector = talk.payload(place)["connectorId"]
        stops = [
            p
            for p in talk.calls("StopTransaction")
            if p < place and talk.lines[place].at_us - talk.lines[p].at_us < 2 * SECOND_US
        ]
        if stops and connector:
            yield talk.put(place, status="Preparing")


def data(change: Callable[[list[dict[str, Any]]], Any]) -> Alter:
    def alter(talk: Talk) -> Iterator[Talk]:
        for place in talk.calls("StopTransaction"):
            if talk.payload(place).get("transactionData"):

                def one(line: Line) -> None:
                    assert line.message is not None
                    change(line.message[3]["transactionData"])

                yield talk.edit(place, one)

    return alter


def during(action: str, payload: Callable[[int], Any], answer: Any, sender: Any = CSMS) -> Alter:
    """A CALL about a connector while its transaction runs."""

    def alter(talk: Talk) -> Iterator[Talk]:
        for started in talk.calls("StartTransaction"):
            connector = talk.payload(started)["connectorId"]
            place = next((p for p in talk.quiet() if p > started + 6), None)
            if place is not None and talk.lines[place].link == talk.lines[started].link:
                yield talk.say(place, sender, action, payload(connector), answer)

    return alter


def same_tag_asked(talk: Talk) -> Iterator[Talk]:
    for place in talk.calls("StopTransaction", reason="Local"):
        tag = talk.payload(place).get("idTag")
        before = talk.lines[place - 1]
        if (
            tag
            and before.link == talk.lines[place].link
            and talk.lines[place].at_us - before.at_us > SECOND_US
        ):
            late_s = (talk.lines[place].at_us - before.at_us) / SECOND_US - 0.5
            yield talk.say(place - 1, STATION, "Authorize", {"idTag": tag}, OK, later_s=late_s)


def failed_start(talk: Talk) -> Iterator[Talk]:
    for number, place in enumerate(talk.quiet()):
        if number % 12 == 3:
            now = format_us(talk.lines[place].at_us + 20_000)[:23] + "Z"
            end = format_us(talk.lines[place].at_us + 600_000)[:23] + "Z"
            start = {"connectorId": 14, "idTag": "TAG0001", "meterStart": 0, "timestamp": now}
            stop = {"transactionId": 902, "meterStop": 0, "timestamp": end, "reason": "Other"}
            told = {"transactionId": 902, **OK}
            yield talk.say(place, STATION, "StartTransaction", start, told, later_s=0.02).say(
                place + 2, STATION, "StopTransaction", stop, {}, later_s=0.6
            )


def unused_cache(talk: Talk) -> Iterator[Talk]:
    """ClearCache Accepted by a station that does not know the key."""
    for place in talk.calls("GetConfiguration", CSMS):
        answer = talk.answer(place)
        if answer is None or talk.payload(place).get("key"):
            continue
        entries = [
            e for e in talk.payload(answer)["configurationKey"] if e["key"] != "AuthorizationCacheEnabled"
        ]
        yield talk.put(answer, configurationKey=entries)


def profile_refused(talk: Talk) -> Iterator[Talk]:
    asked = {"connectorId": 12, "idTag": "TAG0001", "chargingProfile": PROFILE["csChargingProfiles"]}
    for number, place in enumerate(talk.quiet()):
        if number % 20 == 10:
            yield talk.say(place, CSMS, "RemoteStartTransaction", asked, {"status": "Rejected"})


def no_stop_and_status(talk: Talk) -> Iterator[Talk]:
    """A remote start whose connector stays in Preparing for ever."""
    for place in talk.calls("RemoteStartTransaction", CSMS):
        connector = talk.payload(place)["connectorId"]
        if not any(talk.payload(p)["connectorId"] == connector for p in talk.calls("StartTransaction")):
            later = [
                p
                for p in talk.calls("StatusNotification", connectorId=connector, status="Available")
                if p > place
            ]
            yield talk.without(*later)


def concurrent_boot(talk: Talk) -> Iterator[Talk]:
    for place in talk.calls("BootNotification")[:1]:
        answer = talk.answer(place)
        assert answer is not None
        yield talk.say(
            answer, STATION, "BootNotification", talk.payload(place), talk.payload(answer), later_s=0.001
        )


def before_boot(talk: Talk) -> Iterator[Talk]:
    for place, line in enumerate(talk.lines):
        if line.kind is Kind.OPEN:
            payload = {"connectorId": 0, "errorCode": "NoError", "status": "Available"}
            yield talk.say(place, STATION, "StatusNotification", payload, {}, later_s=0)
            return


def early_boot(talk: Talk) -> Iterator[Talk]:
    second = talk.calls("BootNotification")[1]
    answer = talk.answer(second)
    assert answer is not None
    for by_s in (-50, -30, -10, -3):
        yield talk.move(second, by_s).move(answer, by_s)


def beside_boot(sender: Any, action: str, payload: Any, answer: Any = None) -> Alter:
    """While the station is not accepted."""

    def alter(talk: Talk) -> Iterator[Talk]:
        first = talk.calls("BootNotification")[0]
        answered_at = talk.answer(first)
        assert answered_at is not None
        for later_s in (1, 5, 12, 40):
            yield talk.say(answered_at, sender, action, payload, answer, later_s=later_s)

    return alter


def missing_status(talk: Talk) -> Iterator[Talk]:
    """One connector is not told after the boot."""
    boot = talk.calls("BootNotification")[0]
    for place in talk.calls("StatusNotification")[:21:2]:
        if talk.lines[place].at_us - talk.lines[boot].at_us < 20 * SECOND_US:
            yield talk.without(place)


def wrong_fault(talk: Talk) -> Iterator[Talk]:
    for place in talk.calls("StatusNotification", status="Faulted"):
        connector = talk.payload(place)["connectorId"]
        after = next(p for p in talk.calls("StatusNotification", connectorId=connector) if p > place)
        for status in ("Charging", "SuspendedEV", "Finishing"):
            yield talk.put(after, status=status)


def available_after_reset(talk: Talk) -> Iterator[Talk]:
    for place in talk.calls("StatusNotification", status="Unavailable")[1:]:
        if talk.payload(place)["connectorId"]:
            yield talk.put(place, status="Available")


def register_gap(talk: Talk) -> Iterator[Talk]:
    starts = talk.calls("StartTransaction")
    for place in starts:
        if any(
            talk.payload(p)["connectorId"] == talk.payload(place)["connectorId"] for p in starts if p < place
        ):
            yield talk.put(place, meterStart=talk.payload(place)["meterStart"] - 7)


def no_energy(talk: Talk) -> Iterator[Talk]:
    """Currents three times as high as the register says, all through."""
    import copy

    lines = []
    for line in talk.lines:
        if line.message and line.message[0] == 2 and line.message[2] == "MeterValues":
            line = copy.deepcopy(line)
            assert line.message is not None
            for value in line.message[3]["meterValue"][0]["sampledValue"]:
                if value["measurand"] == "Current.Import":
                    value["value"] = f"{float(value['value']) * 3:.2f}"
        lines.append(line)
    yield Talk(lines)


def phases(values: list[dict[str, Any]]) -> None:
    total = values[0]
    values.extend({**total, "phase": phase, "value": "1"} for phase in ("L1", "L2", "L3"))


LOCAL, REMOTE, CABLE = ("local",), ("remote",), ("cable",)
MANY = ("local", "remote", "outage")
MUTATIONS: tuple[Mutation, ...] = (
    # H
    Mutation("another subprotocol is offered", ("H001",), MANY, opening(subprotocols_offered=["ocpp1.5"])),
    Mutation("no subprotocol is selected", ("H002",), MANY, opening(subprotocol="")),
    Mutation("no identity in the path", ("H003",), MANY, opening(path="/")),
    Mutation("refused, and no back-off", ("H004",), ("outage", "resets"), queued(refused_handshakes)),
    Mutation("plain ws from a public address", ("H005",), MANY, opening(peer="8.8.4.4:40000")),
    Mutation("user name is another", ("H006",), MANY, opening(auth={"user_is_identity": False})),
    Mutation("the old connection stays", ("H007",), ("outage",), queued(overlapping)),
    Mutation("closed for invalid data", ("H008",), MANY, every(control(Kind.CLOSE, CSMS, code=1007), 3)),
    Mutation("the station pings", ("H009",), LOCAL, control(Kind.PING, STATION)),
    Mutation("no pong", ("H010",), LOCAL, control(Kind.PING, CSMS)),
    Mutation("a boot on a reconnection", ("H011",), ("outage",), queued(boot_again)),
    Mutation("binary frame", ("H012",), LOCAL, control(Kind.BINARY, STATION, b"\x01")),
    Mutation("deflate", ("H013",), MANY, opening(extensions="permessage-deflate")),
    Mutation("dropped after a CALLERROR", ("H014",), ("outage",), queued(dropped_after_error)),
    # J
    Mutation("text cut", ("J001",), LOCAL, every(each("StatusNotification", text(lambda t: t[:-9])), 9)),
    Mutation(
        "result of four elements",
        ("J002",),
        MANY,
        every(each("Heartbeat", text(lambda t: t[:-1] + ",{}]", of_answer=True)), 9),
    ),
    Mutation(
        "type as text",
        ("J003",),
        LOCAL,
        every(each("Heartbeat", text(lambda t: t.replace("[2,", '["2",', 1))), 9),
    ),
    Mutation("id of 37 characters", ("J004",), LOCAL, every(each("Heartbeat", message(1, "x" * 37)), 9)),
    Mutation("id used twice", ("J005",), MANY, reused_id),
    Mutation("two in flight", ("J006",), LOCAL, two_in_flight),
    Mutation("answer to nothing", ("J007",), LOCAL, stray_answer(again=False)),
    Mutation("the station answers late", ("J008", "J010"), REMOTE, late_answer("ClearCache", CSMS, 40)),
    Mutation("second answer", ("J009",), LOCAL, stray_answer(again=True)),
    Mutation(
        "the station does not answer", ("J010",), ("remote", "local"), unanswered("GetConfiguration", CSMS)
    ),
    Mutation("unknown errorCode", ("J011",), LOCAL, every(each("Heartbeat", refused("Oops")), 5)),
    Mutation(
        "details are no object",
        ("J012",),
        ("refusals",),
        every(each("StopTransaction", message(4, [], of_answer=True)), 1),
    ),
    Mutation("null payload", ("J013",), LOCAL, every(each("Heartbeat", message(3, None)), 9)),
    Mutation(
        "sent by the wrong side", ("J014",), LOCAL, every(inserted(CSMS, "Heartbeat", {}, "NotSupported"), 5)
    ),
    Mutation("unknown action", ("J015",), LOCAL, every(inserted(STATION, "Beat", {}, "NotImplemented"), 5)),
    Mutation(
        "duplicate key",
        ("J016",),
        LOCAL,
        every(each("Authorize", text(lambda t: t.replace('{"', '{"idTag":"X","', 1))), 5),
    ),
    Mutation("not ASCII", ("J017",), LOCAL, each("Authorize", put(idTag="T\u00c4G0001"))),
    Mutation("Authorize before RemoteStart.conf", ("J018",), REMOTE, authorize_first),
    Mutation(
        "refused by CALLERROR",
        ("J019",),
        REMOTE,
        each("RemoteStopTransaction", refused("GenericError"), CSMS),
    ),
    Mutation(
        "early CALL answered",
        ("J020",),
        ("pending",),
        beside_boot(STATION, "Heartbeat", {}, {"currentTime": "2026-11-22T00:00:30.000Z"}),
    ),
    Mutation(
        "a number as text", ("J021",), LOCAL, every(each("StatusNotification", put(connectorId="1")), 9)
    ),
    Mutation("empty idTag", ("J023",), LOCAL, each("Authorize", put(idTag=""))),
    # B
    Mutation("a CALL before the boot", ("B001",), MANY, before_boot),
    Mutation(
        "a CALL while pending", ("B002",), ("pending",), beside_boot(STATION, "Authorize", {"idTag": "A"}, OK)
    ),
    Mutation("boot too early", ("B003",), ("pending", "rejected"), early_boot),
    Mutation(
        "a CALL while rejected",
        ("B004",),
        ("rejected",),
        beside_boot(STATION, "Authorize", {"idTag": "A"}, OK),
    ),
    Mutation(
        "the CSMS calls a rejected station", ("B005",), ("rejected",), beside_boot(CSMS, "ClearCache", {})
    ),
    Mutation(
        "remote start while pending",
        ("B006",),
        ("pending",),
        beside_boot(CSMS, "RemoteStartTransaction", {"idTag": "A"}, {"status": "Rejected"}),
    ),
    Mutation("no answer while pending", ("B007",), ("pending",), unanswered("GetConfiguration", CSMS)),
    Mutation("a connector is not told", ("B008",), MANY, missing_status),
    Mutation(
        "a boot without a cause",
        ("B009",),
        LOCAL,
        every(
            inserted(
                STATION,
                "BootNotification",
                {"chargePointVendor": "MANAGEON", "chargePointModel": "OTM-K"},
                {"status": "Accepted", "currentTime": "2026-11-22T00:00:10.000Z", "interval": 30},
            ),
            3,
        ),
    ),
    Mutation("another interval", ("B010",), MANY, each("BootNotification", answered(interval=300))),
    Mutation(
        "the CSMS's clock",
        ("B011",),
        MANY,
        each("BootNotification", answered(currentTime="2026-11-22T09:00:00.000Z")),
    ),
    Mutation("another firmware", ("B012",), MANY, each("BootNotification", put(firmwareVersion="1.0.2"))),
    Mutation("two boots", ("B013",), MANY, concurrent_boot),
    # S
    Mutation(
        "Finishing to Charging",
        ("S001",),
        LOCAL,
        available(lambda t, p: t.put(p, status="Charging") if p > 150 else None, "Available"),
    ),
    Mutation(
        "a status twice",
        ("S002",),
        LOCAL,
        available(
            lambda t, p: t.say(t.answer(p) or p, STATION, "StatusNotification", t.payload(p), {}), "Preparing"
        ),
    ),
    Mutation(
        "connector 0 Charging",
        ("S003",),
        MANY,
        every(each("StatusNotification", put(status="Charging"), connectorId=0), 2),
    ),
    Mutation(
        "connector 21",
        ("S004",),
        LOCAL,
        every(each("StatusNotification", put(connectorId=21), status="Preparing"), 4),
    ),
    Mutation("Reserved", ("S005",), LOCAL, available(put(status="Reserved"), "Preparing")),
    Mutation("Faulted with NoError", ("S006",), CABLE, available(put(errorCode="NoError"), "Faulted")),
    Mutation(
        "Charging with EVCommunicationError",
        ("S007",),
        MANY,
        available(put(errorCode="EVCommunicationError"), "Charging"),
    ),
    Mutation("another status after the fault", ("S008",), CABLE, wrong_fault),
    Mutation(
        "a lock that is none", ("S009",), CABLE, available(put(errorCode="ConnectorLockFailure"), "Faulted")
    ),
    Mutation("Preparing through a transaction", ("S010", "S016"), MANY, charging_unseen),
    Mutation("Preparing after the Stop", ("S011",), LOCAL, stop_then_preparing),
    Mutation("no word of the EV side", ("S012",), CABLE, available(put(info=None), "Finishing")),
    Mutation("Preparing for ever", ("S013", "T004"), REMOTE, no_stop_and_status),
    Mutation("Available after the boot", ("S014",), ("resets",), available_after_reset),
    Mutation(
        "status stamped early",
        ("S015",),
        LOCAL,
        available(lambda t, p: t.put(p, timestamp=shifted(t.payload(p)["timestamp"], -90)), "Charging"),
    ),
    Mutation("flapping", ("S017",), LOCAL, flapping),
    # T
    Mutation(
        "no Authorize",
        ("T001",),
        ("local", "outage"),
        local_starts(lambda t, asked, started: t.without(asked)),
    ),
    Mutation("no Authorize of a remote start", ("T002",), REMOTE, remote_starts),
    Mutation(
        "started although refused",
        ("T003",),
        LOCAL,
        local_starts(lambda t, asked, started: t.put(t.answer(asked) or 0, idTagInfo={"status": "Invalid"})),
    ),
    Mutation(
        "remote start of an occupied connector",
        ("T005",),
        MANY,
        during("RemoteStartTransaction", lambda c: {"connectorId": c, "idTag": "B"}, {"status": "Accepted"}),
    ),
    Mutation("remote start with a profile refused", ("T006",), LOCAL, profile_refused),
    Mutation("start on connector 0", ("T007",), MANY, each("StartTransaction", put(connectorId=0))),
    Mutation("a lost Stop and a new start", ("T008",), LOCAL, doubled_start),
    Mutation("a reservation", ("T009",), MANY, each("StartTransaction", put(reservationId=3))),
    Mutation(
        "an id given twice",
        ("T010",),
        ("local", "outage"),
        lambda t: (
            t.put(a, transactionId=101)
            for p in t.calls("StartTransaction")[1:2]
            if (a := t.answer(p)) is not None
        ),
    ),
    Mutation(
        "wrong id in a sample",
        ("T011",),
        MANY,
        every(
            each(
                "MeterValues",
                lambda t, p: t.put(p, transactionId=55) if "transactionId" in t.payload(p) else None,
            ),
            9,
        ),
    ),
    Mutation("id 0 in the Stop", ("T011",), MANY, each("StopTransaction", put(transactionId=0))),
    Mutation("a sample after the Stop", ("T012",), MANY, stop_before_sample),
    Mutation("the Stop is stamped early", ("T012",), MANY, stamps("StopTransaction", -70)),
    Mutation(
        "a sample of another time",
        ("T013",),
        MANY,
        data(lambda held: held[0].update(timestamp="2026-11-21T22:00:00.000Z")),
    ),
    Mutation("meterStop below meterStart", ("T014",), LOCAL, unregistered),
    Mutation("the register falls", ("T015",), MANY, falling),
    Mutation(
        "meterStop below the last sample",
        ("T015",),
        MANY,
        each(
            "StopTransaction",
            lambda t, p: (
                t.put(p, meterStop=t.payload(p)["meterStop"] - 120)
                if t.payload(p)["meterStop"] > 300
                else None
            ),
        ),
    ),
    Mutation("the next start is lower", ("T016",), LOCAL, register_gap),
    Mutation("three times the current", ("T017",), ("local", "remote"), no_energy),
    Mutation(
        "reason Remote without a remote stop", ("T018",), LOCAL, each("StopTransaction", put(reason="Remote"))
    ),
    Mutation(
        "reason HardReset without a reset", ("T018",), MANY, each("StopTransaction", put(reason="HardReset"))
    ),
    Mutation("stopped by a stranger", ("T019",), LOCAL, each("StopTransaction", put(idTag="STRANGER"))),
    Mutation("Authorize to stop", ("T020",), LOCAL, same_tag_asked),
    Mutation(
        "remote stop of an open transaction Rejected",
        ("T021",),
        REMOTE,
        each("RemoteStopTransaction", answered(status="Rejected"), CSMS),
    ),
    Mutation("remote stop, and no Stop", ("T021",), REMOTE, no_stop_after("RemoteStopTransaction")),
    Mutation(
        "a refused start goes on",
        ("T022",),
        MANY,
        each("StartTransaction", answered(idTagInfo={"status": "Invalid"})),
    ),
    Mutation("the CSMS does not answer", ("T023",), MANY, every(unanswered("MeterValues"), 8)),
    Mutation(
        "a Stop of a third of a megabyte", ("T024",), LOCAL, data(lambda held: held.extend(held[-1:] * 1_200))
    ),
    Mutation("no transactionData", ("T025",), MANY, each("StopTransaction", put(transactionData=None))),
    Mutation("no Transaction.Begin", ("T025",), MANY, data(lambda held: held.pop(0))),
    Mutation(
        "ConcurrentTx for an Authorize",
        ("T026",),
        LOCAL,
        each("Authorize", answered(idTagInfo={"status": "ConcurrentTx"})),
    ),
    Mutation(
        "Inoperative while charging Accepted",
        ("T027",),
        MANY,
        during(
            "ChangeAvailability", lambda c: {"connectorId": c, "type": "Inoperative"}, {"status": "Accepted"}
        ),
    ),
    Mutation("no Stop after a reset", ("T028",), ("resets",), no_stop_after("Reset")),
    Mutation("Unlocked", ("T029",), REMOTE, each("UnlockConnector", answered(status="Unlocked"), CSMS)),
    Mutation("ClearCache without a cache", ("T030",), REMOTE, unused_cache),
    Mutation("data for an unknown vendor", ("T031",), REMOTE, each("DataTransfer", answered(data="x"), CSMS)),
    Mutation("unplugged, and no Stop", ("T032",), CABLE, no_stop_after("unplug")),
    Mutation(
        "Authorize failed, and started",
        ("T033",),
        LOCAL,
        local_starts(lambda t, asked, started: refused("InternalError")(t, asked) or t),
    ),
    Mutation("a failed start", ("T034",), LOCAL, every(failed_start, 3)),
    # M
    Mutation("three samples missing", ("M001", "R009"), MANY, lost_samples(3)),
    Mutation("a sample 20 s late", ("M001",), MANY, every(stamps("MeterValues", 20), 12)),
    Mutation("beside the clock", ("M002",), MANY, every(stamps("MeterValues", 7, "Sample.Clock"), 12)),
    Mutation("a measurand missing", ("M003",), MANY, every(whole_sample(lambda held: held.pop()), 12)),
    Mutation(
        "a measurand too many",
        ("M003",),
        MANY,
        every(
            whole_sample(
                lambda held: held.append({**held[0], "measurand": "SoC", "unit": "Percent", "value": "5"})
            ),
            6,
        ),
    ),
    Mutation(
        "another connector",
        ("M004",),
        MANY,
        every(
            each(
                "MeterValues",
                lambda t, p: t.put(p, connectorId=11) if "transactionId" in t.payload(p) else None,
            ),
            9,
        ),
    ),
    Mutation("no transactionId", ("M005",), MANY, every(each("MeterValues", put(transactionId=None)), 9)),
    Mutation(
        "a decimal comma",
        ("M006",),
        MANY,
        every(samples(lambda v: v.update(value=v["value"].replace(".", ",")), "Voltage"), 9),
    ),
    Mutation("volts in A", ("M007",), MANY, every(samples(lambda v: v.update(unit="A"), "Voltage"), 9)),
    Mutation("measured in the EV", ("M008",), LOCAL, every(samples(lambda v: v.update(location="EV")), 5)),
    Mutation("context Trigger", ("M009",), LOCAL, every(samples(lambda v: v.update(context="Trigger")), 5)),
    Mutation(
        "samples that were switched off", ("M010",), LOCAL, every(written("ClockAlignedDataInterval", "0"), 2)
    ),
    Mutation(
        "values of an idle connector",
        ("M012",),
        LOCAL,
        every(
            each(
                "MeterValues",
                lambda t, p: (
                    t.put(p, connectorId=13, transactionId=None)
                    if t.payload(p)["meterValue"][0]["sampledValue"][0]["context"] == "Sample.Clock"
                    else None
                ),
            ),
            5,
        ),
    ),
    Mutation("700 V", ("M013",), LOCAL, every(samples(lambda v: v.update(value="700"), "Voltage"), 5)),
    Mutation(
        "23000 degrees",
        ("M014",),
        LOCAL,
        every(
            whole_sample(
                lambda held: held.append(
                    {**held[0], "measurand": "Temperature", "unit": "Celsius", "value": "23000"}
                )
            ),
            5,
        ),
    ),
    Mutation(
        "a full register",
        ("M015",),
        LOCAL,
        every(samples(lambda v: v.update(value="2147483647"), "Energy.Active.Import.Register"), 5),
    ),
    Mutation("an empty sample", ("M016",), LOCAL, every(whole_sample(lambda held: held.clear()), 5)),
    Mutation(
        "an empty sample in the Stop", ("M016",), MANY, data(lambda held: held[-1].update(sampledValue=[]))
    ),
    Mutation("phases that do not sum", ("M017",), LOCAL, every(whole_sample(phases), 5)),
    # C
    Mutation("heartbeat written to 300", ("C001",), MANY, every(written("HeartbeatInterval", "300"), 2)),
    Mutation(
        "a read-only key written",
        ("C002",),
        REMOTE,
        each("ChangeConfiguration", answered(status="Accepted"), CSMS, key="NumberOfConnectors"),
    ),
    Mutation(
        "fourth measurand Accepted",
        ("C003",),
        MANY,
        every(
            written("MeterValuesSampledData", "Energy.Active.Import.Register,Current.Import,Voltage,SoC"), 2
        ),
    ),
    Mutation(
        "negative interval Accepted", ("C003",), MANY, every(written("MeterValueSampleInterval", "-5"), 2)
    ),
    Mutation(
        "unknown key Accepted",
        ("C004",),
        REMOTE,
        each("ChangeConfiguration", answered(status="Accepted"), CSMS, key="Testing"),
    ),
    Mutation(
        "a key of another profile",
        ("C005",),
        MANY,
        every(written("LocalAuthListEnabled", "true", "NotSupported"), 2),
    ),
    Mutation(
        "read back otherwise",
        ("C006",),
        REMOTE,
        lambda t: (
            t.put(a, configurationKey=[{"key": "ResetRetries", "readonly": False, "value": "7"}])
            for p in t.calls("GetConfiguration", CSMS, key=["ResetRetries"])
            if (a := t.answer(p)) is not None
        ),
    ),
    Mutation("another value than certified", ("C007",), MANY, key("ConnectionTimeOut", value="90")),
    Mutation("a required key missing", ("C008",), MANY, configuration(lambda held: held.pop("ResetRetries"))),
    Mutation("readonly is wrong", ("C009",), MANY, key("UnlockConnectorOnEVSideDisconnect", readonly=False)),
    Mutation(
        "a key not answered",
        ("C010",),
        LOCAL,
        lambda t: (
            t.put(a, unknownKey=None)
            for p in t.calls("GetConfiguration", CSMS)
            if t.payload(p).get("key") and (a := t.answer(p)) is not None
        ),
    ),
    Mutation(
        "25 keys asked",
        ("C011",),
        LOCAL,
        every(
            inserted(
                CSMS,
                "GetConfiguration",
                {"key": [f"K{n}" for n in range(25)]},
                {"unknownKey": [f"K{n}" for n in range(25)]},
            ),
            2,
        ),
    ),
    Mutation(
        "exactly 20 of all keys",
        ("C012",),
        MANY,
        configuration(lambda held: [held.pop(name) for name in list(held)[20:]]),
    ),
    Mutation(
        "thousands with dots", ("C013",), MANY, key("StopTransactionMaxMeterValues", value="2.147.483.647")
    ),
    Mutation("a list beyond its length", ("C014",), MANY, key("MeterValuesSampledDataMaxLength", value="2")),
    Mutation("a key of 60 characters", ("C015",), MANY, every(written("K" * 60, "1", "NotSupported"), 2)),
    Mutation("another profile", ("C016",), MANY, key("SupportedFeatureProfiles", value="Core,SmartCharging")),
    Mutation("MessageTimeout 2", ("C017",), MANY, every(written("MessageTimeout", "2"), 2)),
    Mutation(
        "a secret is listed",
        ("C019",),
        MANY,
        configuration(
            lambda held: held.update(
                AuthorizationKey={"key": "AuthorizationKey", "readonly": False, "value": ""}
            )
        ),
    ),
    # P
    Mutation("an answer after 6 s", ("P001",), REMOTE, late_answer("DataTransfer", CSMS, 6)),
    Mutation("the Stop 7 s after RemoteStop", ("P002",), REMOTE, later_stop),
    Mutation(
        "remote start answered after 6 s",
        ("P003",),
        REMOTE,
        every(late_answer("RemoteStartTransaction", CSMS, 5.4), 3),
    ),
    Mutation(
        "the CSMS answers after 65 s",
        ("P004",),
        ("refusals",),
        every(late_answer("Heartbeat", STATION, 65), 3),
    ),
    Mutation("whole seconds", ("P005",), MANY, whole_seconds),
    Mutation(
        "no time",
        ("P006",),
        MANY,
        every(each("StatusNotification", put(timestamp="0000-00-00T00:00:00.000Z")), 3),
    ),
    Mutation(
        "no zone",
        ("P006",),
        MANY,
        every(each("StatusNotification", lambda t, p: t.put(p, timestamp=t.payload(p)["timestamp"][:-1])), 3),
    ),
    Mutation(
        "before 2010",
        ("P007",),
        MANY,
        every(each("StatusNotification", put(timestamp="1970-01-01T00:00:09.000Z")), 3),
    ),
    Mutation("four quiet minutes", ("P008",), ("local", "refusals", "cable"), quiet_hours),
    Mutation(
        "heartbeats too often",
        ("P011",),
        LOCAL,
        every(inserted(STATION, "Heartbeat", {}, {"currentTime": "2026-11-22T00:05:00.000Z"}), 2),
    ),
    Mutation("an hour ahead", ("P012",), MANY, clock_ahead),
    # R
    Mutation("an Authorize again", ("R005",), ("refusals",), every(authorize_again, 2)),
    Mutation("never sent again", ("R001",), ("refusals",), retries(lambda t, places: t.without(*places[1:]))),
    Mutation("sent again too soon", ("R002",), ("refusals",), retries(retry_after(20))),
    Mutation("sent again too late", ("R002", "R001"), ("refusals",), retries(retry_after(110))),
    Mutation("overtaken", ("R003",), ("refusals",), retries(overtaking)),
    Mutation(
        "sent again with a new stamp",
        ("R004",),
        ("refusals",),
        retries(lambda t, places: t.put(places[1], timestamp=shifted(t.payload(places[1])["timestamp"], 60))),
    ),
    Mutation("a fourth time", ("R006",), ("refusals",), retries(fourth)),
    Mutation("a start while offline", ("R007",), ("outage",), queued(offline_start)),
    Mutation("the queue is lost", ("R009",), ("outage",), queued(lost_queue)),
    Mutation("history is told", ("R010",), ("outage",), queued(history)),
    Mutation("connected again and again", ("R011",), ("outage", "resets"), queued(quick_reconnects)),
    Mutation("the queue comes late", ("R012",), ("outage",), queued(late_queue)),
    # N
    Mutation(
        "SetChargingProfile Accepted",
        ("N001",),
        LOCAL,
        every(inserted(CSMS, "SetChargingProfile", PROFILE, {"status": "Accepted"}), 3),
    ),
    Mutation(
        "refused by a confirmation",
        ("N002",),
        LOCAL,
        every(inserted(CSMS, "SetChargingProfile", PROFILE, {"status": "NotSupported"}), 3),
    ),
    Mutation(
        "NotImplemented of a known action",
        ("N003",),
        LOCAL,
        every(inserted(CSMS, "SetChargingProfile", PROFILE, "NotImplemented"), 3),
    ),
    Mutation(
        "InternalError of a non-Core action",
        ("N004",),
        LOCAL,
        every(inserted(CSMS, "SetChargingProfile", PROFILE, "InternalError"), 3),
    ),
    Mutation(
        "FirmwareStatusNotification",
        ("N005",),
        LOCAL,
        every(inserted(STATION, "FirmwareStatusNotification", {"status": "Installed"}, {}), 3),
    ),
    Mutation(
        "the CSMS leaves Core",
        ("N006",),
        LOCAL,
        every(inserted(CSMS, "GetLocalListVersion", {}, "NotSupported"), 3),
    ),
    Mutation(
        "unknown action NotSupported", ("N007",), LOCAL, every(inserted(CSMS, "Beat", {}, "NotSupported"), 3)
    ),
    Mutation(
        "DataTransfer as a channel",
        ("N008",),
        LOCAL,
        every(inserted(STATION, "DataTransfer", {"vendorId": "x"}, {"status": "Accepted"}), 3),
    ),
)

# Rules that no single alteration of these conversations can break, and where each is tested instead.
ELSEWHERE: dict[str, str] = {
    "C018": "needs a start that is older than the first connection: three ways",
    "J022": "damage by the capture, not by a peer: three ways",
    "M011": "needs twelve cars and a slow CSMS: the station's saturation",
    "P009": "needs a day: three ways",
}
