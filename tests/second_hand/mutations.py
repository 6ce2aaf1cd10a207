"""The table of mutations: a name, the rule that must notice, how bad at least, how it is done, and to what."""

import itertools
import re
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.second_hand.alterations import (
    LIVE,
    Alter,
    also_sampled,
    altered,
    answer_put,
    answer_texted,
    answered,
    charging_reports,
    dropped,
    during,
    elements,
    energy,
    every,
    for_each_value,
    happening,
    idle_connector,
    idle_reports,
    injected,
    inserted,
    last_of,
    lost_link,
    moved,
    opening,
    put,
    quiet,
    rebuilt,
    renumbered,
    restamp,
    said,
    sampled,
    sampled_without,
    stamped,
    status,
    status_report,
    texted,
    took,
    transaction,
    unanswered,
    value_of,
    without,
)
from tests.second_hand.conversations import (
    BOOT,
    CP,
    CS,
    ENERGY,
    MINUTE_US,
    Conversation,
    Happening,
    Refused,
    stamp,
)
from twin.model import Kind

ANY = ("local", "remote", "two_at_once", "certified_answers")
SESSIONS = ("local", "two_sessions", "remote", "paused_by_the_vehicle")
LOCAL = ("local", "local_observed", "long_idle_after", "two_sessions", "two_at_once")
RESETS = ("soft_reset_charging", "hard_reset_charging")
READS = ("read_all", "local_observed")
STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}


@dataclass(frozen=True)
class Mutation:
    """``repeats`` says how many seeds each scenario is altered with."""

    name: str
    rule: str
    severity: str
    alter: Alter
    scenarios: tuple[str, ...]
    repeats: int = 2


def row(rule: str, name: str, severity: str, alter: Alter, *scenarios: str, repeats: int = 2) -> Mutation:
    return Mutation(f"{rule} {name}", rule, severity, alter, scenarios, repeats)


# H: the connection


def refusals(code: int, apart_s: float, number: int = 6) -> Alter:
    """Handshakes that end without 101, one soon after the other, before the one that succeeds."""

    def alter(c: Conversation, _: Random) -> None:
        first = c.happened(Kind.OPEN)[-1]
        back_us = first.at_us
        c.delay(back_us, apart_s * number)
        for turn in range(number):
            at_us = back_us + int(turn * apart_s * 1e6)
            facts = {"path": "/ocpp/CP1", "status": code, "code": code}
            c.add(Happening(at_us, f"refused{turn}", Kind.REFUSED, facts=facts))

    return alter


def hammers(c: Conversation, _: Random) -> None:
    """The socket opens and is gone, six times within some seconds, before it stays."""
    first = c.happened(Kind.OPEN)[-1]
    at_us = first.at_us
    c.delay(at_us, 4)
    for turn in range(6):
        facts = first.facts | {}
        c.add(Happening(at_us + turn * 600_000, f"short{turn}", Kind.OPEN, facts=facts))
        facts = {"abrupt": True, "by": "station"}
        c.add(Happening(at_us + turn * 600_000 + 200_000, f"short{turn}", Kind.END, facts=facts))


def second_socket(c: Conversation, chance: Random) -> None:
    """A second socket of the same station, and both stay."""
    at_us = quiet(c, chance, 25, 2, 140)
    c.add(Happening(at_us, "second", Kind.OPEN, facts=dict(c.happened(Kind.OPEN)[0].facts)))
    for turn in range(4):
        beat = said(
            c, at_us + (1 + 30 * turn) * 1_000_000, CP, "Heartbeat", {}, {"currentTime": stamp(at_us)}
        )
        beat.link = "second"
        beat.answer["currentTime"] = stamp(beat.answered_us)


def closes(code: int) -> Alter:
    def alter(c: Conversation, chance: Random) -> None:
        at_us = quiet(c, chance, 25, 2)
        link = c.link_at(at_us)
        lost_link(c, at_us)
        c.add(Happening(at_us - 1000, link, Kind.CLOSE, CP, facts={"code": code, "reason": ""}))

    return alter


def lost_abruptly(c: Conversation, chance: Random) -> None:
    lost_link(c, quiet(c, chance, 25, 2))


def no_pong(c: Conversation, chance: Random) -> None:
    """Two pongs are missing: one pong may stand for several pings, but not for one of a minute ago."""
    place = chance.randrange(3)
    c.drop(*c.happened(Kind.PONG)[place : place + 2])


def boot_answer(at_us: int, word: str = "Accepted") -> dict[str, Any]:
    return {"status": word, "currentTime": stamp(at_us), "interval": 30}


def boots_on_reconnect(c: Conversation, _: Random) -> None:
    back_us = c.happened(Kind.OPEN)[-1].at_us
    c.delay(back_us + 1, 1)
    said(c, back_us + 200_000, CP, "BootNotification", BOOT, boot_answer(back_us + 400_000))


def drops_after_errors(c: Conversation, _: Random) -> None:
    """As it was seen: after four of them."""
    last = c.find(part=("outside", "unknown action"))[-1]
    for number in range(1, 4):
        refused = Refused("NotImplemented")
        last = said(c, last.at_us + number * 1_000_000, CS, "GetVariables", {}, refused)
    lost_link(c, last.answered_us + 200_000)


CONNECTION = (
    row("H001", "offers another subprotocol", "error", opening(subprotocols_offered=["ocpp1.5"], subprotocol=""), "local", "cold_boot"),
    row("H001", "offers it in capitals", "warning", opening(subprotocols_offered=["OCPP1.6"]), "local", "cold_boot"),
    row("H002", "selects none", "error", opening(subprotocol=""), "local", "cold_boot"),
    row("H002", "selects what was not offered", "error", opening(subprotocols_offered=["ocpp1.6"], subprotocol="OCPP1.6"), "local", "cold_boot"),
    row("H003", "no identity in the path", "error", opening(path="/"), "local", "cold_boot"),
    row("H003", "no identity in the path after an outage", "error", opening(-1, path="/"), "outage", "stopped_offline"),
    row("H003", "a query string", "note", opening(path="/ocpp/CP1?token=1"), "local", "cold_boot"),
    row("H004", "no back-off from 404", "warning", refusals(404, 3), "cold_boot", "outage"),
    row("H005", "plain over a public network", "note", opening(peer="93.184.216.34:50312"), "local", "cold_boot"),
    row("H006", "user name of another", "warning", opening(auth={"scheme": "Basic", "user_is_identity": False}), "local", "cold_boot"),
    row("H007", "two sockets at once", "warning", second_socket, "cold_boot", "long_idle_after"),
    *(row("H008", f"closed with {code}", "warning", closes(code), "local", "cold_boot") for code in (1002, 1003, 1007, 1009)),
    row("H008", "TCP ends without a Close", "note", lost_abruptly, "local", "cold_boot"),
    row("H009", "the station pings", "drift", happening(Kind.PING, CP), "local", "cold_boot"),
    row("H010", "a ping without a pong", "warning", no_pong, "pinged", repeats=4),
    row("H011", "boots on a reconnect", "warning", boots_on_reconnect, "short_outage", repeats=4),
    row("H012", "binary of the station", "error", happening(Kind.BINARY, CP, data=b"\x00\x01"), "local", "cold_boot"),
    row("H012", "binary of the CSMS", "error", happening(Kind.BINARY, CS, data=b"[2]"), "local", "cold_boot"),
    row("H013", "compression", "note", opening(extensions="permessage-deflate"), "local", "cold_boot"),
    row("H014", "dropped after CALLERRORs", "warning", drops_after_errors, "outside_core", repeats=4),
)  # fmt: skip


# J: framing


def in_flight(sender: Any) -> Alter:
    """A CALL is sent before the one before it is answered."""

    def alter(c: Conversation, chance: Random) -> None:
        calls = [x for x in c.find(sender=sender) if x.part not in ("boot", "reset")]
        pairs = [
            (one, other)
            for one, other in itertools.pairwise(calls)
            if one.link == other.link and other.at_us - one.at_us < 40e6
        ]
        one, other = chance.choice(pairs)
        if other.at_us - one.answered_us < 5e6 and sender is CP:
            other.at_us = one.at_us + one.took_us // 2
        else:
            one.took_us = other.at_us - one.at_us + 300_000

    return alter


def same_id(payload_too: bool, sender: Any = CP) -> Alter:
    def alter(c: Conversation, chance: Random) -> None:
        calls = [x for x in c.find(sender=sender) if not (payload_too ^ (x.action == "Heartbeat"))]
        link = chance.choice([x.link for x in calls if len([y for y in calls if y.link == x.link]) > 1])
        one, other = sorted(chance.sample([x for x in calls if x.link == link], 2), key=lambda x: x.at_us)
        other.id = one.id

    return alter


def retry_same_id(c: Conversation, chance: Random) -> None:
    retry = chance.choice(c.find(part="retry"))
    retry.id = c.find(part="refused")[0].id


def second_answer(sender: Any) -> Alter:
    def alter(c: Conversation, chance: Random) -> None:
        x = chance.choice(c.find(sender=sender))
        at_us, side, text = list(x.texts())[1]
        c.add(Happening(at_us + 40_000, x.link, Kind.TEXT, side, text))

    return alter


def ends_unanswered(c: Conversation, chance: Random) -> None:
    """The socket ends while a CALL of the CSMS waits, longer than any answer takes."""
    at_us = quiet(c, chance, 25, 4)
    x = said(c, at_us, CS, "ClearCache", {}, None)
    assert x.link
    lost_link(c, at_us + 8_000_000)


def ends_at_once(c: Conversation, chance: Random) -> None:
    """The socket ends before an answer was owed."""
    at_us = quiet(c, chance, 25, 4)
    said(c, at_us, CS, "ClearCache", {}, None)
    lost_link(c, at_us + 500_000)


def before_its_answer(trigger: str, *parts: str) -> Alter:
    """The answer to a CALL of the CSMS comes after the message that it triggers."""

    def alter(c: Conversation, chance: Random) -> None:
        cause = chance.choice(c.find(part=trigger))
        effect = next(x for x in c.find(part=parts) if x.at_us > cause.at_us)
        effect.at_us = cause.at_us + 150_000
        cause.took_us = 450_000

    return alter


def with_fraction(text: str) -> str:
    """The connectorId written as a decimal."""
    return re.sub(r'("connectorId":\d+)', r"\1.0", text, count=1)


def to_refusal(code: str) -> Any:
    return answered(Refused(code, "no"))


FRAMING = (
    row("J001", "cut short", "error", altered(texted(lambda t: t[:-2]), sender=CP, where=lambda x: x.part != "boot"), *ANY),
    row("J001", "an answer cut short", "error", altered(answer_texted(lambda t: t[:-1]), "Heartbeat"), "local", "cold_boot"),
    row("J001", "an object", "error", injected(CP, '{"2":"x"}'), "local", "cold_boot"),
    row("J001", "no JSON", "error", injected(CS, "ping"), "local", "cold_boot"),
    row("J001", "byte order mark", "warning", altered(texted(lambda t: "\ufeff" + t), "Heartbeat"), "local", "cold_boot"),
    row("J002", "CALLRESULT of four", "error", altered(answer_texted(elements(lambda e: e.append({}))), sender=CP), *ANY),
    row("J002", "CALLRESULT of four by the station", "error", altered(answer_texted(elements(lambda e: e.append({}))), sender=CS), "write_and_read", "certified_answers"),
    row("J002", "CALL of three", "error", altered(texted(elements(lambda e: e.pop())), "Heartbeat"), "local", "cold_boot"),
    row("J002", "CALLERROR of four", "error", altered(answer_texted(elements(lambda e: e.pop())), part="outside"), "outside_core", repeats=3),
    row("J003", "type 5", "error", injected(CP, '[5,"x1",{}]'), "local", "cold_boot"),
    row("J003", "type in text", "error", altered(texted(lambda t: '["2"' + t[2:]), "Heartbeat"), "local", "cold_boot"),
    row("J003", "type with a fraction", "error", altered(texted(lambda t: "[2.0" + t[2:]), "Heartbeat"), "local", "cold_boot"),
    row("J004", "id of 38 characters", "error", altered(lambda x: setattr(x, "id", "{" + "a" * 36 + "}"), sender=CP), *ANY),
    row("J004", "empty id", "error", altered(lambda x: setattr(x, "id", ""), "Heartbeat"), "local", "cold_boot"),
    row("J004", "a number", "error", altered(texted(elements(lambda e: e.__setitem__(1, 17))), "Heartbeat"), "local", "cold_boot"),
    row("J005", "id again, another payload", "error", same_id(False), *ANY),
    row("J005", "id again, same payload", "warning", same_id(True), "local", "cold_boot", "outage"),
    row("J005", "id again by the CSMS", "error", same_id(False, CS), "write_and_read", "certified_answers"),
    row("J005", "retransmission with its old id", "warning", retry_same_id, "retried", "given_up"),
    row("J006", "two CALLs of the station in flight", "warning", in_flight(CP), *SESSIONS, "crowd"),
    row("J006", "two CALLs of the CSMS in flight", "warning", in_flight(CS), "write_and_read", "outside_core"),
    row("J007", "answer to nothing by the CSMS", "error", injected(CS, '[3,"nobody-asked",{}]'), "local", "cold_boot"),
    row("J007", "answer to nothing by the station", "error", injected(CP, '[4,"nobody-asked","GenericError","",{}]'), "local", "cold_boot"),
    row("J007", "answer with another id", "error", altered(lambda x: setattr(x, "answer_id", "other"), "Heartbeat"), "long_idle_after"),
    row("J008", "station answers too late", "note", altered(took(36), part=("read", "unknown", "read-only")), "write_and_read", repeats=4),
    row("J009", "second answer of the CSMS", "error", second_answer(CP), *ANY),
    row("J009", "second answer of the station", "error", second_answer(CS), "write_and_read", "certified_answers"),
    row("J010", "station does not answer", "error", altered(unanswered, part=("read", "write", "invalid", "unlock", "clear cache", "data transfer")), "write_and_read", "certified_answers", repeats=3),
    row("J010", "CSMS does not answer", "error", altered(unanswered, part=("heartbeat", "authorize", "boot status")), *LOCAL),
    row("J010", "socket ends first", "warning", ends_unanswered, "cold_boot", "long_idle_after"),
    row("J010", "socket ends at once", "note", ends_at_once, "cold_boot", "long_idle_after"),
    row("J011", "corrected spelling", "warning", altered(lambda x: setattr(x.answer, "code", "FormatViolation"), part=("outside", "refused")), "outside_core", "retried"),
    row("J011", "invented code", "warning", altered(lambda x: setattr(x.answer, "code", "Busy"), part=("outside", "refused")), "outside_core", "retried"),
    row("J012", "details null", "warning", altered(lambda x: setattr(x.answer, "details", None), part=("outside", "refused")), "outside_core", "retried"),
    row("J012", "details a text", "error", altered(lambda x: setattr(x.answer, "details", "no"), part=("outside", "refused")), "outside_core", "retried"),
    row("J012", "description null", "warning", altered(lambda x: setattr(x.answer, "description", None), part=("outside", "refused")), "outside_core", "retried"),
    row("J013", "null for no payload", "note", altered(lambda x: setattr(x, "payload", None), "Heartbeat"), "local", "cold_boot"),
    row("J014", "CSMS sends Heartbeat", "error", inserted(CS, "Heartbeat", {}, Refused("NotSupported")), "local", "cold_boot"),
    row("J014", "station sends Reset", "error", inserted(CP, "Reset", {"type": "Soft"}, Refused("NotSupported")), "local", "cold_boot"),
    row("J015", "unknown action of the station", "error", inserted(CP, "NotifyEvent", {}, Refused("NotImplemented")), "local", "cold_boot"),
    row("J015", "unknown action of the CSMS", "error", inserted(CS, "GetVariables", {}, Refused("NotImplemented")), "local", "cold_boot"),
    row("J016", "a key twice", "error", altered(texted(lambda t: t.replace('"errorCode"', '"status":"Available","errorCode"', 1)), "StatusNotification"), *ANY),
    row("J016", "NaN", "error", altered(texted(lambda t: t.replace('"timestamp"', '"x":NaN,"timestamp"', 1)), part=("sample", "status")), "local", "two_sessions"),
    row("J016", "lone surrogate", "error", altered(texted(lambda t: t.replace("NoError", "No\\ud800", 1)), "StatusNotification"), "local", "cold_boot"),
    row("J017", "idTag with an umlaut", "warning", inserted(CP, "Authorize", {"idTag": "Schl\u00fcssel"}, {"idTagInfo": {"status": "Invalid"}}), "local", "cold_boot"),
    row("J017", "natural text in info", "note", altered(put(info="T\u00fcr offen"), "StatusNotification"), "local", "cold_boot"),
    row("J018", "Authorize before RemoteStart.conf", "warning", before_its_answer("remote start", "authorize"), "remote", "remote_with_profile", "remote_not_plugged"),
    row("J018", "Status before ChangeAvailability.conf", "warning", before_its_answer("availability", "unavailable", "operative"), "availability", repeats=4),
    row("J018", "Stop before Reset.conf", "warning", before_its_answer("reset", "reset stop"), "soft_reset_charging", repeats=4),
    row("J018", "Stop before RemoteStop.conf", "warning", before_its_answer("remote stop", "stop"), "remote", repeats=4),
    row("J019", "CALLERROR to a RemoteStop of nothing", "warning", altered(to_refusal("GenericError"), part="remote stop"), "remote_refused", repeats=3),
    row("J019", "CALLERROR to an occupied connector", "warning", altered(to_refusal("GenericError"), part="remote start refused", where=lambda x: 0 < x.connector < 21), "remote_refused", repeats=3),
    row("J019", "CALLERROR to a read-only or unknown key", "warning", altered(to_refusal("GenericError"), part=("read-only", "unknown")), "write_and_read", repeats=3),
    row("J019", "CALLERROR to DataTransfer or ClearCache", "warning", altered(to_refusal("GenericError"), part=("data transfer", "clear cache")), "certified_answers", repeats=3),
)  # fmt: skip


def while_waiting(sender: Any, action: str, payload: Any, answer: Any) -> Alter:
    """One exchange more between the answer Pending or Rejected and the next BootNotification."""

    def alter(c: Conversation, chance: Random) -> None:
        boot = c.find("BootNotification")[0]
        said(
            c,
            boot.answered_us + chance.randrange(6, 30) * 1_000_000,
            sender,
            action,
            deepcopy(payload),
            deepcopy(answer),
        )

    return alter


FRAMING += (
    row("J020", "CALL before acceptance answered", "note", while_waiting(CP, "Heartbeat", {}, {"currentTime": stamp(0)}), "pending"),
    row("J021", "required field missing", "error", altered(without("errorCode"), "StatusNotification"), *ANY),
    row("J021", "field nobody knows", "error", altered(put(colour="red"), "StatusNotification"), *ANY),
    row("J021", "word of another version", "error", altered(put(status="Occupied"), "StatusNotification"), "local", "cold_boot"),
    row("J021", "number in text", "error", altered(put(connectorId="1"), "StatusNotification"), "local", "cold_boot"),
    row("J021", "idTag too long", "error", inserted(CP, "Authorize", {"idTag": "0123456789ABCDEF01234"}, {"idTagInfo": {"status": "Invalid"}}), "local", "cold_boot"),
    row("J021", "integer with a fraction", "warning", altered(texted(with_fraction), "StatusNotification"), "local", "cold_boot"),
    row("J021", "answer of the CSMS lacks its time", "error", altered(answered({}), "Heartbeat"), "local", "cold_boot"),
    row("J021", "value as a number", "error", altered(lambda x: value_of(x, "Voltage").update(value=230), part=LIVE), *SESSIONS),
    row("J022", "a record cut by the capture", "note", happening(Kind.UNDECODABLE, CP, data=b"[2,", why="torn line"), "local", "cold_boot"),
    row("J023", "empty vendor", "warning", altered(put(chargePointVendor=""), "BootNotification"), "cold_boot"),
    row("J023", "empty idTag", "warning", inserted(CP, "Authorize", {"idTag": ""}, {"idTagInfo": {"status": "Invalid"}}), "local", "cold_boot"),
)  # fmt: skip


# B: boot


def heartbeat_before_boot(c: Conversation, _: Random) -> None:
    boot = c.find("BootNotification")[-1]
    c.delay(boot.at_us, 3)
    answer = {"currentTime": stamp(boot.at_us - 2_800_000)}
    said(c, boot.at_us - 3_000_000, CP, "Heartbeat", {}, answer)


def status_before_acceptance(c: Conversation, _: Random) -> None:
    """Sent while BootNotification waits for its answer."""
    boot = c.find("BootNotification")[-1]
    boot.took_us = 900_000
    first = c.find(part="boot status")[-21]
    first.at_us, first.took_us = boot.at_us + 200_000, 300_000


def boot_early(share: float) -> Alter:
    """The next BootNotification after so much of the interval."""

    def alter(c: Conversation, _: Random) -> None:
        first, again = c.find("BootNotification")[:2]
        by_us = int(first.answer["interval"] * (1 - share) * 1e6)
        for item in c.items:
            if item.at_us >= again.at_us:
                item.at_us -= by_us
        for exchange in c.find():
            if exchange.at_us >= again.at_us:
                restamp(exchange.payload, lambda text: moved_back(text, by_us))
        again.answer["currentTime"] = stamp(again.answered_us)
        for beat in c.find("Heartbeat"):
            beat.answer["currentTime"] = stamp(beat.answered_us)

    return alter


def moved_back(text: str, by_us: int) -> str:
    return moved(text, -by_us / 1e6)


def boots_again(apart_s: float | None) -> Alter:
    """A BootNotification that nothing explains, on the same socket; its connectors are reported."""

    def alter(c: Conversation, chance: Random) -> None:
        boot = c.find("BootNotification")[-1]
        if apart_s is None:
            at_us = quiet(c, chance, 60, 12)
        else:
            at_us = boot.at_us + int(apart_s * 1e6)
            c.delay(at_us, 1)
        said(c, at_us, CP, "BootNotification", BOOT, boot_answer(at_us + 200_000))
        if apart_s is None:
            for connector in range(21):
                status_report(c, at_us + 500_000 + connector * 400_000, connector, "Available")

    return alter


def late_clock(seconds: float) -> Any:
    return lambda x: x.answer.update(currentTime=moved(x.answer["currentTime"], seconds))


BOOTING = (
    row("B001", "Heartbeat before the boot after a reset", "error", heartbeat_before_boot, "soft_reset", *RESETS),
    row("B001", "Heartbeat before the first boot", "error", heartbeat_before_boot, "cold_boot", "local"),
    row("B002", "Status before acceptance", "error", status_before_acceptance, "cold_boot", "local"),
    row("B002", "Heartbeat while Pending", "error", while_waiting(CP, "Heartbeat", {}, {"currentTime": stamp(0)}), "pending"),
    row("B002", "Authorize while Pending", "error", while_waiting(CP, "Authorize", {"idTag": "04A1B2C3"}, {"idTagInfo": {"status": "Accepted"}}), "pending"),
    row("B003", "boots after half the interval", "warning", boot_early(0.5), "pending", "rejected"),
    row("B003", "boots after a fifth of the interval", "warning", boot_early(0.2), "rejected"),
    row("B004", "Heartbeat while Rejected", "error", while_waiting(CP, "Heartbeat", {}, Refused("SecurityError")), "rejected"),
    row("B004", "answers while Rejected", "error", while_waiting(CS, "ClearCache", {}, {"status": "Rejected"}), "rejected"),
    row("B005", "CSMS calls a Rejected station", "warning", while_waiting(CS, "ClearCache", {}, None), "rejected"),
    row("B006", "RemoteStart while Pending", "error", while_waiting(CS, "RemoteStartTransaction", {"idTag": "A"}, {"status": "Rejected"}), "pending"),
    row("B006", "RemoteStop while Pending", "error", while_waiting(CS, "RemoteStopTransaction", {"transactionId": 4}, {"status": "Rejected"}), "pending"),
    row("B007", "no answer while Pending", "warning", altered(unanswered, part="pending read"), "pending", repeats=4),
    row("B008", "a connector is not reported", "error", dropped(part="boot status", where=lambda x: x.connector > 0), "cold_boot", "long_idle_after", "soft_reset", repeats=3),
    row("B008", "connector 0 is not reported", "error", dropped(part="boot status", connector=0), "cold_boot", "long_idle_after"),
    row("B009", "a boot without a cause", "note", boots_again(None), "cold_boot", "long_idle_after"),
    row("B010", "another interval", "drift", altered(answer_put(interval=300), "BootNotification", where=lambda x: x.answer["status"] == "Accepted"), "cold_boot", "pending"),
    row("B011", "the CSMS is late by minutes", "warning", altered(late_clock(-150), "BootNotification"), "cold_boot", "local"),
    row("B011", "the CSMS is ahead by hours", "warning", altered(late_clock(7200), "BootNotification"), "cold_boot", "local"),
    row("B011", "local time for UTC", "warning", altered(lambda x: x.answer.update(currentTime=moved(x.answer["currentTime"], 7200)[:-1] + "+02:00"), "BootNotification"), "cold_boot", "local"),
    row("B012", "another firmware", "note", altered(put(firmwareVersion="1.0.2"), "BootNotification"), "cold_boot", "local"),
    row("B012", "another vendor", "drift", altered(put(chargePointVendor="ACME"), "BootNotification"), "cold_boot"),
    row("B012", "another model", "drift", altered(put(chargePointModel="Wallbox 7"), "BootNotification"), "cold_boot"),
    row("B013", "boots again at once", "warning", boots_again(1.6), "cold_boot", "local"),
    row("B013", "boots again after 7 s", "warning", boots_again(7), "cold_boot", "local"),
)  # fmt: skip


# S: connectors


def cleared_elsewhere(word: str) -> Alter:
    return altered(put(status=word), part="cleared", where=lambda x: x.payload["status"] != word)


def status_after_boot(c: Conversation, _: Random) -> None:
    """What was Unavailable before the reset is Available after it."""
    lost = c.find(part="boot status", where=lambda x: x.payload["status"] == "Unavailable")
    lost[0].payload["status"] = "Available"


def older_than_the_last(c: Conversation, chance: Random) -> None:
    """A status is stamped earlier than the one before it."""
    start = chance.choice(c.find("StartTransaction"))
    earlier, later = last_of(c, start, "status")[-2:]
    later.payload["timestamp"] = moved(earlier.payload["timestamp"], -chance.uniform(8, 30))


def swapped_reports(c: Conversation, chance: Random) -> None:
    """Two states are reported in the wrong order, each with its own stamp."""
    start = chance.choice(c.find("StartTransaction"))
    reports = list(c.find(part="status", connector=start.connector))
    one, other = reports[-2:]
    one.payload, other.payload = other.payload, one.payload


def late_time_out(by_s: float | None) -> Alter:
    """Preparing ends later than the connection time-out allows, or never."""

    def alter(c: Conversation, _: Random) -> None:
        last = c.find(part="status")[-1]
        if by_s is None:
            c.drop(last)
        else:
            last.at_us += int(by_s * 1e6)
            last.payload["timestamp"] = moved(last.payload["timestamp"], by_s)

    return alter


def report_after_stop(word: str, code: str = "NoError", **more: Any) -> Alter:
    """The Finishing that follows a Stop is another status."""

    def edit(x: Any) -> None:
        x.payload.pop("info", None)
        x.payload.update({"status": word, "errorCode": code} | more)

    return altered(edit, part="status", where=lambda x: x.payload["status"] == "Finishing")


def never_reported(c: Conversation, chance: Random) -> None:
    """No status of the connector until its transaction ends."""
    start, stop, _ = during(c, chance)
    c.drop(*(x for x in c.find("StatusNotification", connector=start.connector) if x.at_us < stop.at_us))


CHARGING = {"part": "status", "where": lambda x: x.payload["status"] == "Charging"}
CONNECTORS = (
    row("S001", "Available to Finishing", "note", idle_reports("Finishing", "Available"), "local", "cold_boot"),
    row("S001", "Preparing to Unavailable", "note", idle_reports("Preparing", "Unavailable", "Available"), "local", "cold_boot"),
    row("S001", "Charging to Preparing", "note", report_after_stop("Preparing"), *LOCAL),
    row("S002", "Preparing twice", "note", idle_reports("Preparing", "Preparing", "Available"), "local", "cold_boot"),
    row("S002", "Charging twice", "note", charging_reports("Charging"), *SESSIONS),
    row("S003", "connector 0 charges", "error", idle_reports("Charging", "Available", connector=0), "local", "cold_boot"),
    row("S003", "connector 0 prepares", "error", idle_reports("Preparing", "Available", connector=0), "local", "cold_boot"),
    row("S004", "connector 21", "drift", idle_reports("Available", connector=21), "local", "cold_boot"),
    row("S004", "connector 21 of an observed 20", "error", idle_reports("Available", connector=21), "local_observed"),
    row("S004", "a negative connector", "error", idle_reports("Available", connector=-1), "local", "cold_boot"),
    row("S005", "Reserved", "drift", idle_reports("Reserved", "Available"), "local", "cold_boot"),
    row("S006", "Faulted with NoError", "warning", altered(put(errorCode="NoError"), part="fault"), "faults", repeats=4),
    row("S007", "EVCommunicationError while Available", "error", idle_reports("Available", code="EVCommunicationError"), "local", "cold_boot"),
    row("S007", "EVCommunicationError while Charging", "error", altered(put(errorCode="EVCommunicationError"), **CHARGING), *SESSIONS),
    row("S008", "a fault ends in Finishing", "warning", cleared_elsewhere("Finishing"), "faults", repeats=3),
    row("S008", "a fault ends in Charging", "warning", cleared_elsewhere("Charging"), "faults", repeats=3),
    row("S009", "ConnectorLockFailure", "drift", altered(put(errorCode="ConnectorLockFailure"), part="fault"), "faults"),
    row("S009", "LocalListConflict", "drift", idle_reports("Faulted", "Available", code="LocalListConflict"), "local", "cold_boot"),
    row("S010", "Preparing with an open transaction", "warning", charging_reports("Preparing", "Charging", apart_s=20), "local", "two_sessions"),
    row("S010", "Charging is never reported", "warning", dropped(**CHARGING), "local", "local_observed", "long_idle_after", "two_at_once"),
    row("S010", "Charging without a transaction", "warning", idle_reports("Charging", "Available", apart_s=40), "local", "cold_boot"),
    row("S010", "SuspendedEV without a transaction", "warning", idle_reports("SuspendedEV", "Available", apart_s=40), "local", "cold_boot"),
    row("S011", "Preparing after the Stop", "warning", report_after_stop("Preparing"), *LOCAL),
    row("S012", "nothing says why", "note", report_after_stop("Finishing", info="unplugged"), "ev_disconnects", "ev_disconnects_suspended"),
    row("S012", "an error code for an unplug", "note", report_after_stop("Finishing", "EVCommunicationError"), "ev_disconnects", "ev_disconnects_suspended"),
    row("S013", "Preparing for 20 s too long", "warning", late_time_out(20), "connection_time_out", "remote_not_plugged", repeats=3),
    row("S013", "Preparing for ever", "warning", late_time_out(None), "connection_time_out", "remote_not_plugged", repeats=3),
    row("S014", "Available after the boot", "warning", status_after_boot, "availability", repeats=4),
    row("S015", "a stamp before the last one", "error", older_than_the_last, *LOCAL),
    row("S015", "two reports in the wrong order", "error", swapped_reports, *LOCAL),
    row("S016", "nothing is reported of a connector that charges", "warning", never_reported, "local", "local_observed", "long_idle_after", "two_at_once"),
    row("S017", "flapping", "note", charging_reports(*("SuspendedEV", "Charging") * 5, apart_s=3), "local", "two_at_once"),
)  # fmt: skip


# T: transactions


def authorize_of(c: Conversation, start: Any) -> Any:
    return [
        x
        for x in c.find(part="authorize")
        if x.at_us < start.at_us and x.payload["idTag"] == start.payload["idTag"]
    ][-1]


def no_authorize(c: Conversation, chance: Random) -> None:
    c.drop(authorize_of(c, chance.choice(c.find("StartTransaction"))))


def authorize_after_start(c: Conversation, chance: Random) -> None:
    start = chance.choice(c.find("StartTransaction"))
    authorize = authorize_of(c, start)
    authorize.at_us, start.at_us = start.at_us, authorize.at_us


def authorize_answers(answer: Any) -> Alter:
    def alter(c: Conversation, chance: Random) -> None:
        authorize_of(c, chance.choice(c.find("StartTransaction"))).answer = deepcopy(answer)

    return alter


def nothing_follows(c: Conversation, _: Random) -> None:
    """After an accepted RemoteStart the tag is asked for, and that is all."""
    asked = c.find(part="remote start")[0]
    after = [x for x in c.find() if x.at_us > asked.at_us and x.part not in ("heartbeat", "authorize")]
    c.drop(*after)


def accepted_and_started(c: Conversation, chance: Random) -> None:
    """RemoteStart on a connector that cannot start is Accepted."""
    chance.choice(c.find(part="remote start refused")).answer = {"status": "Accepted"}


def stop_lost(c: Conversation, _: Random) -> None:
    """The first transaction of a connector never stops."""
    c.drop(c.find("StopTransaction")[0])


def starts_twice(c: Conversation, chance: Random) -> None:
    """Another StartTransaction on a connector that has one open, with a tag of its own."""
    start, _, at_us = during(c, chance)
    tag = {"idTagInfo": {"status": "Accepted"}}
    said(c, at_us, CP, "Authorize", {"idTag": "SECOND"}, tag)
    payload = start.payload | {
        "idTag": "SECOND",
        "meterStart": start.payload["meterStart"] + 90,
        "timestamp": stamp(at_us),
    }
    said(c, at_us + 600_000, CP, "StartTransaction", payload, {"transactionId": 77_777} | tag)


def id_of_the_other(c: Conversation, _: Random) -> None:
    """Two open transactions have the same id."""
    first, second = c.find("StartTransaction")
    number = second.answer["transactionId"]
    messages = [
        second,
        *(x for x in c.find() if isinstance(x.payload, dict) and x.payload.get("transactionId") == number),
    ]
    renumbered(c, messages, first.answer["transactionId"])


def numbered(number: int) -> Alter:
    return lambda c, chance: renumbered(c, transaction(c, chance), number)


def after_the_stop(c: Conversation, chance: Random) -> None:
    """The last MeterValues of a transaction come behind its Stop."""
    start, *_, sample, stop = transaction(c, chance)
    assert stop.action == "StopTransaction"
    assert sample.action == "MeterValues"
    assert start.at_us < sample.at_us
    sample.at_us = stop.answered_us + 100_000
    for item in c.items:
        if item is not sample and item.at_us > stop.answered_us:
            item.at_us += 1_300_000


def queue_out_of_order(c: Conversation, chance: Random) -> None:
    """Two queued samples change places; they are a minute apart, which no stamp of an interval explains."""
    queued = c.find(part="queued sample")
    place = chance.randrange(len(queued) - 1)
    one, other = queued[place : place + 2]
    one.payload, other.payload = other.payload, one.payload


def stop_ahead_of_its_queue(c: Conversation, _: Random) -> None:
    """The queued Stop goes out before the queued samples."""
    stop, first = c.find(part="queued stop")[0], next(x for x in c.find() if x.part.startswith("queued"))
    earlier = [x for x in c.find() if x.part.startswith("queued") and x is not stop]
    stop.at_us, stop.took_us = first.at_us, 200_000
    for x in earlier:
        x.at_us += 400_000


def samples_back(c: Conversation, chance: Random) -> None:
    """A live sample is stamped before the one sent before it."""
    samples = [x for x in transaction(c, chance) if x.part == "sample"]
    place = chance.randrange(1, len(samples))
    stamped(-90)(samples[place])


def outside_the_transaction(seconds: float) -> Alter:
    """A sample is stamped well before the Start."""

    def alter(c: Conversation, chance: Random) -> None:
        start, *rest = transaction(c, chance)
        first = next(x for x in rest if x.part == "sample")
        first.payload["meterValue"][0]["timestamp"] = moved(start.payload["timestamp"], seconds)

    return alter


def stop_of(c: Conversation, chance: Random) -> Any:
    return transaction(c, chance)[-1]


def data_outside(seconds: float, which: int = 0) -> Alter:
    """An entry of transactionData is stamped so far from its own time."""

    def alter(c: Conversation, chance: Random) -> None:
        entry = stop_of(c, chance).payload["transactionData"][which]
        entry["timestamp"] = moved(entry["timestamp"], seconds)

    return alter


def stop_below_start(by_wh: int) -> Alter:
    """The meter stands lower at the end, and nothing between says so."""

    def alter(c: Conversation, chance: Random) -> None:
        start, *_, stop = transaction(c, chance)
        stop.payload["meterStop"] = start.payload["meterStart"] - by_wh
        del stop.payload["transactionData"]

    return alter


def falls_between_samples(c: Conversation, chance: Random) -> None:
    samples = [x for x in transaction(c, chance) if x.part in LIVE]
    place = chance.randrange(1, len(samples))
    value_of(samples[place], ENERGY)["value"] = str(energy(samples[place - 1]) - 5)


def falls_at_the_stop(c: Conversation, chance: Random) -> None:
    *_, sample, stop = transaction(c, chance)
    stop.payload["meterStop"] = energy(sample) - 7


def falls_below_start(c: Conversation, chance: Random) -> None:
    start, first, *_ = transaction(c, chance)
    value_of(first, ENERGY)["value"] = str(start.payload["meterStart"] - 5)


def falls_in_the_stop(c: Conversation, chance: Random) -> None:
    """transactionData alone says that the register fell."""
    data = stop_of(c, chance).payload["transactionData"]
    place = chance.randrange(2, len(data) - 1)
    value = next(v for v in data[place]["sampledValue"] if v["measurand"] == ENERGY)
    before = next(v for v in data[place - 1]["sampledValue"] if v["measurand"] == ENERGY)
    value["value"] = str(int(before["value"]) - 6)


def starts_elsewhere(c: Conversation, _: Random) -> None:
    c.find("StartTransaction")[1].payload["meterStart"] -= 40


def current_grows(factor: float) -> Any:
    def change(value: dict[str, Any]) -> None:
        if value["measurand"] == "Current.Import":
            value["value"] = f"{float(value['value']) * factor:.1f}"

    return every(for_each_value(change), where=lambda x: x.action in ("MeterValues", "StopTransaction"))


def same_tag_again(c: Conversation, _: Random) -> None:
    """The tag that stops the transaction is asked for first, though it started it."""
    stop = c.find("StopTransaction")[-1]
    at_us = stop.at_us - 1_000
    c.delay(stop.at_us, 1)
    said(c, at_us, CP, "Authorize", {"idTag": stop.payload["idTag"]}, {"idTagInfo": {"status": "Accepted"}})


def energy_grows(c: Conversation, _: Random) -> None:
    """A refused transaction takes energy all the same."""
    for turn, x in enumerate(c.find(part=LIVE), 1):
        value_of(x, ENERGY)["value"] = str(energy(x) + 90 * turn)
        value_of(x, "Current.Import")["value"] = "23.5"
    stop = c.find("StopTransaction")[0]
    grown = 90 * len(c.find(part=LIVE)) + 20
    stop.payload["meterStop"] += grown
    del stop.payload["transactionData"]


def deauthorized_at_once(c: Conversation, _: Random) -> None:
    """The refused transaction is stopped although the configuration says to keep it open."""
    start, stop = c.find("StartTransaction")[0], c.find("StopTransaction")[0]
    gone = list(c.find(part=LIVE)) + c.find(
        part="status", where=lambda x: x.payload["status"] == "SuspendedEVSE"
    )
    c.drop(*gone)
    at_us = start.answered_us + 400_000
    stop.at_us = at_us
    stop.payload |= {
        "reason": "DeAuthorized",
        "timestamp": stamp(at_us),
        "meterStop": start.payload["meterStart"],
    }
    stop.payload["transactionData"] = [
        stop.payload["transactionData"][0],
        stop.payload["transactionData"][-1],
    ]
    stop.payload["transactionData"][-1]["timestamp"] = stamp(at_us)


def huge_stop(c: Conversation, chance: Random) -> None:
    data = stop_of(c, chance).payload["transactionData"]
    data[1:1] = [deepcopy(data[0]) | {"timestamp": data[0]["timestamp"]} for _ in range(1200)]
    for entry in data[1:1201]:
        for value in entry["sampledValue"]:
            value["context"] = "Sample.Periodic"


def too_big(c: Conversation, chance: Random) -> None:
    """The socket is closed with 1009 while the Stop waits for its answer; it is sent again on the next one."""
    stop = stop_of(c, chance)
    at_us = stop.at_us + 300_000
    again = deepcopy(stop)
    stop.answer = None
    link = stop.link
    c.delay(stop.at_us + 1, 4)
    new = "after1009"
    for item in c.items:
        if item.at_us > at_us and item.link == link:
            item.link = new
    again.at_us, again.link, again.id = at_us + 3_000_000, new, "stop-again"
    c.add(again)
    c.add(Happening(at_us, link, Kind.CLOSE, CS, facts={"code": 1009, "reason": "message too big"}))
    c.add(Happening(at_us + 1000, link, Kind.END, facts={"abrupt": False, "by": "csms"}))
    c.add(Happening(at_us + 2_500_000, new, Kind.OPEN, facts=dict(c.happened(Kind.OPEN)[0].facts)))


def data_without(context: str) -> Alter:
    def alter(c: Conversation, chance: Random) -> None:
        stop = stop_of(c, chance)
        stop.payload["transactionData"] = [
            entry
            for entry in stop.payload["transactionData"]
            if entry["sampledValue"][0]["context"] != context
        ]

    return alter


def no_data(c: Conversation, chance: Random) -> None:
    del stop_of(c, chance).payload["transactionData"]


def available_between(c: Conversation, _: Random) -> None:
    """Available for a moment before the scheduled Unavailable."""
    report = c.find(part="unavailable")[-1]
    status_report(c, report.at_us - 1_500_000, report.connector or 1, "Available")


def reset_stop_after_boot(c: Conversation, _: Random) -> None:
    """A soft reset: the Stop comes only after the boot."""
    stop = c.find(part="reset stop")[0]
    last = c.find(part="boot status")[-1]
    c.delay(last.answered_us + 1, 2)
    stop.at_us, stop.link = last.answered_us + 400_000, last.link


def no_boot_after_reset(c: Conversation, _: Random) -> None:
    boots = c.find("BootNotification")
    c.drop(boots[-1], *(x for x in c.find(part="boot status") if x.at_us > boots[-1].at_us))


def stop_lost_at_disconnect(c: Conversation, _: Random) -> None:
    c.drop(*c.find("StopTransaction"))


def stop_late_at_disconnect(c: Conversation, _: Random) -> None:
    stop = c.find("StopTransaction")[0]
    c.delay(stop.at_us, 15)
    restamp(stop.payload, lambda text: text)
    stop.payload["timestamp"] = moved(stop.payload["timestamp"], 15)
    stop.payload["transactionData"][-1]["timestamp"] = stop.payload["timestamp"]


def failed_start(c: Conversation, chance: Random) -> None:
    start, stop = c.find("StartTransaction")[0], c.find("StopTransaction")[0]
    at = moved(start.payload["timestamp"], chance.uniform(0.5, 3))
    stop.payload |= {"reason": "Other", "meterStop": start.payload["meterStart"], "timestamp": at}
    for entry in stop.payload["transactionData"]:
        next(v for v in entry["sampledValue"] if v["measurand"] == ENERGY)["value"] = str(
            start.payload["meterStart"]
        )
    stop.payload["transactionData"][-1]["timestamp"] = at


def cache_cleared(c: Conversation, _: Random) -> None:
    c.find(part="clear cache")[0].answer = {"status": "Accepted"}


def remote_asks_elsewhere(c: Conversation, _: Random) -> None:
    """RemoteStart names one connector, the Start another."""
    asked = c.find(part="remote start")[0]
    asked.payload["connectorId"] = asked.payload["connectorId"] % 20 + 1


TRANSACTIONS = (
    row("T001", "no Authorize", "drift", no_authorize, "local", "long_idle_after", "two_at_once", "two_sessions", "ev_disconnects"),
    row("T001", "no Authorize, keys observed", "error", no_authorize, "local_observed", repeats=4),
    row("T001", "Authorize after the Start", "drift", authorize_after_start, "local", "short_session"),
    row("T002", "no Authorize after RemoteStart", "drift", no_authorize, "remote", "remote_with_profile", repeats=3),
    row("T002", "another connector than asked for", "drift", remote_asks_elsewhere, "remote", repeats=3),
    *(row("T003", f"Start although {word}", "error", authorize_answers({"idTagInfo": {"status": word}}), *LOCAL) for word in ("Invalid", "Blocked", "Expired")),
    row("T004", "nothing follows a RemoteStart", "warning", nothing_follows, "remote", "remote_with_profile", repeats=3),
    row("T004", "Preparing for ever", "warning", late_time_out(None), "remote_not_plugged", repeats=3),
    row("T005", "connector 0, 21 or an occupied one Accepted", "error", accepted_and_started, "remote_refused", repeats=9),
    row("T006", "refused for its chargingProfile", "warning", altered(status("Rejected"), part="remote start"), "remote_with_profile", repeats=4),
    row("T007", "Start on connector 0", "error", altered(put(connectorId=0), "StartTransaction"), *SESSIONS),
    row("T008", "the first never stops", "error", stop_lost, "two_sessions", repeats=4),
    row("T008", "another Start on the connector", "error", starts_twice, "local", "remote", "two_at_once"),
    row("T009", "reservationId", "drift", altered(put(reservationId=3), "StartTransaction"), *SESSIONS),
    row("T010", "the id of an open transaction", "error", id_of_the_other, "two_at_once", repeats=4),
    row("T010", "id 0", "warning", numbered(0), "local", "remote"),
    row("T010", "a negative id", "warning", numbered(-7), "local", "remote"),
    row("T011", "Stop with id 0", "error", altered(put(transactionId=0), "StopTransaction"), *SESSIONS),
    row("T011", "Stop with an id never given", "error", altered(put(transactionId=424_242), "StopTransaction"), *SESSIONS),
    row("T011", "MeterValues with another id", "error", altered(put(transactionId=424_242), part=LIVE), *SESSIONS),
    row("T011", "-1 though the Start was answered", "error", altered(put(transactionId=-1), part=LIVE), *SESSIONS),
    row("T012", "MeterValues after the Stop", "warning", after_the_stop, *SESSIONS, "outage"),
    row("T012", "queued messages out of order", "error", queue_out_of_order, "outage", repeats=4),
    row("T012", "messages behind a retry out of order", "warning", queue_out_of_order, "retried", repeats=4),
    row("T012", "Stop before its queued MeterValues", "error", stop_ahead_of_its_queue, "stopped_offline", repeats=4),
    row("T012", "a stamp before the last one", "warning", samples_back, *SESSIONS),
    row("T012", "a sample from before the Start", "warning", outside_the_transaction(-150), *SESSIONS),
    row("T013", "transactionData from before the Start", "warning", data_outside(-150), *SESSIONS),
    row("T013", "transactionData from after the Stop", "warning", data_outside(150, -1), *SESSIONS),
    row("T014", "5 Wh below meterStart", "error", stop_below_start(5), "short_session", repeats=4),
    row("T014", "1 Wh below meterStart", "error", stop_below_start(1), "short_session", repeats=3),
    row("T015", "falls by 5 Wh between samples", "error", falls_between_samples, *SESSIONS, "outage", "retried"),
    row("T015", "falls by 7 Wh at the Stop", "error", falls_at_the_stop, *SESSIONS),
    row("T015", "first sample below meterStart", "error", falls_below_start, *SESSIONS),
    row("T015", "falls in transactionData", "error", falls_in_the_stop, *SESSIONS),
    row("T016", "meterStart is not the last meterStop", "note", starts_elsewhere, "two_sessions", repeats=4),
    row("T017", "half as much current again", "note", current_grows(1.5), *SESSIONS),
    row("T018", "Remote without a RemoteStop", "note", altered(put(reason="Remote"), "StopTransaction"), *LOCAL),
    row("T018", "SoftReset without a Reset", "note", altered(put(reason="SoftReset"), "StopTransaction"), *LOCAL),
    row("T018", "UnlockCommand of a fixed cable", "note", altered(put(reason="UnlockCommand"), "StopTransaction"), *LOCAL),
    row("T018", "DeAuthorized though Accepted", "note", altered(put(reason="DeAuthorized"), "StopTransaction"), *LOCAL),
    row("T018", "PowerLoss without a boot", "note", altered(put(reason="PowerLoss"), "StopTransaction"), *LOCAL),
    row("T018", "HardReset after a soft one", "note", altered(put(reason="HardReset"), part="reset stop"), "soft_reset_charging"),
    row("T019", "a foreign tag stops", "error", altered(put(idTag="FOREIGN"), "StopTransaction"), *LOCAL),
    row("T020", "Authorize of the stopping tag", "warning", same_tag_again, *LOCAL),
    row("T021", "an open one Rejected", "error", altered(status("Rejected"), part="remote stop"), "remote", repeats=3),
    row("T021", "an unknown one Accepted", "error", altered(status("Accepted"), part="remote stop"), "remote_refused", repeats=3),
    row("T021", "no Stop after Accepted", "error", stop_lost, "remote", repeats=3),
    row("T022", "Charging though refused", "warning", altered(put(status="Charging"), part="status", where=lambda x: x.payload["status"] == "SuspendedEVSE"), "refused_start", repeats=3),
    row("T022", "energy though refused", "warning", energy_grows, "refused_start", repeats=3),
    row("T022", "stopped though the key is FALSE", "drift", deauthorized_at_once, "refused_start", repeats=3),
    row("T023", "the CSMS leaves a Start unanswered", "error", altered(unanswered, "StartTransaction"), *SESSIONS),
    row("T023", "the CSMS leaves a Stop unanswered", "error", altered(unanswered, "StopTransaction"), *SESSIONS),
    row("T023", "the CSMS leaves MeterValues unanswered", "error", altered(unanswered, part=LIVE), *SESSIONS),
    row("T024", "a Stop of 256 KiB and more", "warning", huge_stop, "local", "remote"),
    row("T024", "1009 while a Stop waits", "error", too_big, "local", "remote"),
    row("T025", "no Transaction.Begin", "drift", data_without("Transaction.Begin"), *SESSIONS),
    row("T025", "no Transaction.End", "drift", data_without("Transaction.End"), *SESSIONS),
    row("T025", "no transactionData", "drift", no_data, *SESSIONS),
    row("T026", "refused without a transactionId", "warning", altered(answered({"idTagInfo": {"status": "Blocked"}}), "StartTransaction"), "refused_start", repeats=3),
    row("T027", "Accepted with an open transaction", "error", altered(status("Accepted"), part="availability scheduled"), "availability", repeats=3),
    row("T027", "Rejected though the state is the same", "warning", altered(status("Rejected"), part="availability same"), "availability", repeats=3),
    row("T027", "Available before the scheduled Unavailable", "warning", available_between, "availability", repeats=3),
    row("T028", "no Stop at a reset", "error", dropped(part=("reset stop", "queued reset stop")), *RESETS, repeats=3),
    row("T028", "a soft reset stops after the boot", "error", reset_stop_after_boot, "soft_reset_charging", repeats=3),
    row("T028", "no boot after a reset", "error", no_boot_after_reset, "soft_reset", *RESETS),
    row("T029", "Unlocked", "drift", altered(status("Unlocked"), part="unlock"), "certified_answers", repeats=4),
    row("T029", "UnlockFailed", "drift", altered(status("UnlockFailed"), part="unlock"), "certified_answers", repeats=3),
    row("T029", "an unknown connector Unlocked", "error", altered(status("Unlocked"), part="unlock", connector=21), "certified_answers"),
    row("T030", "cleared though there is none", "error", cache_cleared, "no_cache", repeats=3),
    row("T031", "data with UnknownVendorId", "warning", altered(answer_put(data="but"), part="data transfer"), "certified_answers", repeats=3),
    row("T032", "no Stop at the disconnect", "error", stop_lost_at_disconnect, "ev_disconnects_suspended", repeats=4),
    row("T032", "Finishing with an open transaction", "drift", altered(put(status="Finishing"), **CHARGING), *SESSIONS),
    row("T032", "Available with an open transaction", "drift", charging_reports("Available", "Preparing", "Charging", apart_s=14), "local", "two_sessions"),
    row("T032", "no Stop at the disconnect, only certified", "drift", stop_lost_at_disconnect, "ev_disconnects", repeats=4),
    row("T032", "the Stop 15 s late", "error", stop_late_at_disconnect, "ev_disconnects_suspended", repeats=3),
    row("T033", "Start after a refused question", "error", authorize_answers(Refused("InternalError")), *LOCAL),
    row("T034", "a failed start", "note", failed_start, "short_session", repeats=4),
)  # fmt: skip


# M: metering


def samples_left_out(number: int, part: str = "sample") -> Alter:
    def alter(c: Conversation, chance: Random) -> None:
        samples = [x for x in transaction(c, chance) if x.part == part]
        place = chance.randrange(1, len(samples) - number)
        c.drop(*samples[place : place + number])

    return alter


def jitter(seconds: float) -> Alter:
    """One sample is taken and sent that much later."""

    def alter(c: Conversation, chance: Random) -> None:
        sample = chance.choice([x for x in transaction(c, chance) if x.part == "sample"][1:])
        c.delay(sample.at_us, 0)
        sample.at_us += int(seconds * 1e6)
        stamped(seconds)(sample)

    return alter


def kind_off(key: str) -> Alter:
    """The interval of a kind is set to 0 early in a transaction, and the values go on."""

    def alter(c: Conversation, chance: Random) -> None:
        start = chance.choice(c.find("StartTransaction"))
        busy = sorted((x.at_us, x.answered_us) for x in c.find() if x.at_us > start.answered_us + 4_000_000)
        done_us = next(done for (_, done), (then, _) in itertools.pairwise(busy) if then - done > 3e6)
        payload = {"key": key, "value": "0"}
        said(c, done_us + 400_000, CS, "ChangeConfiguration", payload, {"status": "Accepted"})

    return alter


def idle_aligned(c: Conversation, chance: Random) -> None:
    """An unused connector sends clock-aligned values, which it never did before."""
    number = idle_connector(c, chance)
    since_us = c.find("StopTransaction")[-1].answered_us + 20_000_000
    grid_us = (since_us // MINUTE_US + 1) * MINUTE_US
    for turn in range(4):
        at_us = grid_us + turn * MINUTE_US
        value = {"value": "1000", "context": "Sample.Clock", "measurand": ENERGY, "unit": "Wh"}
        more = [
            {"value": "0.0", "context": "Sample.Clock", "measurand": "Current.Import", "unit": "A"},
            {"value": "230.0", "context": "Sample.Clock", "measurand": "Voltage", "unit": "V"},
        ]
        payload = {
            "connectorId": number,
            "meterValue": [{"timestamp": stamp(at_us), "sampledValue": [value, *more]}],
        }
        said(c, at_us + 2_000_000, CP, "MeterValues", payload, {})


def suspended_current(c: Conversation, _: Random) -> None:
    since = c.find(part="status", where=lambda x: x.payload["status"] == "SuspendedEV")[0]
    suspended = [x for x in c.find(part=LIVE) if since.at_us < x.at_us < since.at_us + 180e6]
    for x in suspended:
        value_of(x, "Current.Import")["value"] = "9.5"


def in_another_measurand(measurand: str, value: str, unit: str | None) -> Any:
    def edit(x: Any) -> None:
        place = value_of(x, "Voltage")
        place.update(measurand=measurand, value=value)
        place.pop("unit")
        if unit:
            place["unit"] = unit

    return edit


def phases_do_not_sum(x: Any) -> None:
    """Total and three phases in one sample; together they are two thirds of it."""
    total = energy(x)
    for phase in ("L1", "L2", "L3"):
        also_sampled(value=str(total * 2 // 9), measurand=ENERGY, unit="Wh", phase=phase)(x)


def interval_is_register(x: Any) -> None:
    if "meterValue" in x.payload:
        also_sampled(value=str(energy(x)), measurand="Energy.Active.Import.Interval", unit="Wh")(x)


def all_live(edit: Any) -> Alter:
    return every(edit, part=LIVE)


def empty_data(c: Conversation, chance: Random) -> None:
    data = stop_of(c, chance).payload["transactionData"]
    chance.choice(data[1:-1])["sampledValue"] = []


def observed_lists(c: Conversation, chance: Random) -> None:
    """Every sample of one kind lacks the voltage, though the list was read before."""
    kind = chance.choice(LIVE)
    for x in c.find(part=kind):
        sampled_without("Voltage")(x)


METERING = (
    row("M001", "three samples missing", "error", samples_left_out(3), "local", "local_observed", "paused_by_the_vehicle"),
    row("M001", "two samples missing", "error", samples_left_out(2), "local", "local_observed", "paused_by_the_vehicle"),
    row("M001", "a sample 10 s late", "warning", jitter(10), "local", "local_observed", "two_at_once"),
    row("M002", "aligned 7 s off the grid", "error", altered(stamped(7), part="aligned"), *SESSIONS),
    row("M002", "aligned 0.6 s off the grid", "warning", altered(stamped(0.6), part="aligned"), *SESSIONS),
    row("M003", "a measurand missing", "drift", altered(sampled_without("Voltage"), part=LIVE), *SESSIONS),
    row("M003", "a measurand missing from an observed list", "error", observed_lists, "local_observed", repeats=4),
    row("M003", "a measurand too many", "drift", altered(also_sampled(value="3680", measurand="Power.Active.Import", unit="W"), part=LIVE), *SESSIONS),
    row("M004", "another connector", "error", altered(lambda x: x.payload.update(connectorId=x.payload["connectorId"] % 20 + 1), part=LIVE), *SESSIONS),
    row("M004", "connector 0 with a transactionId", "warning", altered(put(connectorId=0), part=LIVE), *SESSIONS),
    row("M005", "no transactionId", "warning", altered(without("transactionId"), part=LIVE), *SESSIONS),
    row("M006", "decimal comma", "error", altered(sampled("Voltage", value="229,8"), part=LIVE), *SESSIONS),
    row("M006", "a unit in the value", "error", altered(sampled("Current.Import", value="16 A"), part=LIVE), *SESSIONS),
    row("M006", "nothing", "error", altered(sampled("Voltage", value=""), part=LIVE), *SESSIONS),
    row("M006", "SignedData", "drift", altered(sampled(ENERGY, value="4f434d46", format="SignedData"), part=LIVE), "local", "remote"),
    row("M007", "voltage in A", "warning", altered(sampled("Voltage", unit="A"), part=LIVE), *SESSIONS),
    row("M007", "current in Wh", "warning", altered(sampled("Current.Import", unit="Wh"), part=LIVE), *SESSIONS),
    row("M008", "voltage at the vehicle", "warning", altered(sampled("Voltage", location="EV"), part=LIVE), "local", "remote"),
    row("M009", "context Trigger", "drift", altered(for_each_value(lambda value: value.update(context="Trigger")), part=LIVE), "local", "remote"),
    row("M010", "aligned though off", "error", kind_off("ClockAlignedDataInterval"), "local", "remote", "local_observed"),
    row("M010", "sampled though off", "error", kind_off("MeterValueSampleInterval"), "local", "remote", "local_observed"),
    row("M011", "a CSMS too slow for fourteen connectors", "warning", rebuilt(csms_s=2.6), "crowd"),
    row("M012", "idle connectors begin to speak", "note", idle_aligned, "long_idle_after", repeats=3),
    row("M013", "600 V", "note", altered(sampled("Voltage", value="600.0"), part=LIVE), "local", "remote"),
    row("M013", "a negative current", "note", altered(sampled("Current.Import", value="-4.0"), part=LIVE), "local", "remote"),
    row("M013", "9.5 A while SuspendedEV", "note", suspended_current, "paused_by_the_vehicle", repeats=4),
    row("M014", "milli-degrees", "warning", altered(in_another_measurand("Temperature", "23000", "Celsius"), part=LIVE), "local", "remote"),
    row("M014", "power factor in percent", "warning", altered(in_another_measurand("Power.Factor", "98", None), part=LIVE), "local", "remote"),
    row("M014", "frequency in W", "warning", altered(in_another_measurand("Frequency", "50.0", "W"), part=LIVE), "local", "remote"),
    row("M015", "saturated sample", "error", altered(sampled(ENERGY, value="2147483647"), part=LIVE), *SESSIONS),
    row("M015", "saturated meterStart", "error", altered(put(meterStart=2147483647), "StartTransaction"), *SESSIONS),
    row("M016", "empty sampledValue", "error", altered(lambda x: x.payload["meterValue"][0].update(sampledValue=[]), part=LIVE), *SESSIONS),
    row("M016", "empty sampledValue in transactionData", "error", empty_data, *SESSIONS),
    row("M017", "phases do not sum", "warning", all_live(phases_do_not_sum), "local", "remote"),
    row("M017", "Interval is the Register", "warning", all_live(interval_is_register), "local", "remote"),
)  # fmt: skip


# C: configuration


def entry_of(x: Any, key: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in x.answer["configurationKey"] if entry["key"] == key)
    return found


def reads(key: str, value: str) -> Any:
    return lambda x: entry_of(x, key).update(value=value)


def reads_without(key: str, *, unknown: bool = False) -> Any:
    def edit(x: Any) -> None:
        x.answer["configurationKey"] = [
            entry for entry in x.answer["configurationKey"] if entry["key"] != key
        ]
        if unknown:
            x.answer["unknownKey"] = [key]

    return edit


def reads_flag(key: str) -> Any:
    return lambda x: entry_of(x, key).update(readonly=not entry_of(x, key)["readonly"])


def reads_another(x: Any) -> None:
    row = x.answer["configurationKey"][0]
    row["value"] = {"false": "true"}.get(row["value"], "17")


def truncated_answer(x: Any) -> None:
    """Exactly the twenty required keys of more."""
    required = [
        "ClockAlignedDataInterval", "ConnectionTimeOut", "ConnectorPhaseRotation", "HeartbeatInterval",
        "LocalAuthorizeOffline", "LocalPreAuthorize", "MeterValuesAlignedData", "MeterValuesSampledData",
        "MeterValueSampleInterval", "ResetRetries", "StopTransactionOnInvalidId", "StopTxnAlignedData",
        "StopTxnSampledData", "TransactionMessageAttempts", "TransactionMessageRetryInterval",
        "AuthorizeRemoteTxRequests", "UnlockConnectorOnEVSideDisconnect", "GetConfigurationMaxKeys",
        "NumberOfConnectors", "SupportedFeatureProfiles",
    ]  # fmt: skip
    x.answer["configurationKey"] = [
        entry for entry in x.answer["configurationKey"] if entry["key"] in required
    ]


def twice(x: Any) -> None:
    x.answer["configurationKey"] *= 2


def writes_and_reads(key: str, written: str, read: str, readonly: bool = False) -> Alter:
    """A write that is Accepted, and what is read afterwards."""

    def alter(c: Conversation, chance: Random) -> None:
        at_us = quiet(c, chance, 25, 5)
        said(c, at_us, CS, "ChangeConfiguration", {"key": key, "value": written}, {"status": "Accepted"})
        answer = {"configurationKey": [{"key": key, "readonly": readonly, "value": read}]}
        said(c, at_us + 1_500_000, CS, "GetConfiguration", {"key": [key]}, answer)

    return alter


def write(key: str, value: str, answer: str) -> Alter:
    return inserted(CS, "ChangeConfiguration", {"key": key, "value": value}, {"status": answer})


def many_keys(number: int) -> Alter:
    keys = [f"Key{turn}" for turn in range(number)]
    return inserted(CS, "GetConfiguration", {"key": keys}, {"unknownKey": keys})


ALL = {"part": "read all"}


def told_unknown(x: Any) -> bool:
    """A key that GetConfiguration.conf called unknown; of another one nobody can say it."""
    return bool(x.payload["key"] == "NoSuchKey")


FOUR = f"{ENERGY},Current.Import,Voltage,Power.Active.Import"
CONFIGURATION = (
    row("C001", "sampled every 30 s", "drift", write("MeterValueSampleInterval", "30", "Accepted"), "cold_boot", "read_all"),
    row("C001", "stops on invalid ids", "drift", write("StopTransactionOnInvalidId", "true", "Accepted"), "cold_boot", "read_all"),
    row("C001", "fewer measurands", "drift", write("MeterValuesSampledData", ENERGY, "Accepted"), "cold_boot", "read_all"),
    row("C002", "a read-only key Accepted", "error", altered(status("Accepted"), part="read-only"), "write_and_read", repeats=6),
    row("C003", "an invalid value Accepted", "error", altered(status("Accepted"), part="invalid"), "write_and_read", repeats=9),
    row("C003", "a fourth measurand Accepted", "error", write("MeterValuesSampledData", FOUR, "Accepted"), "read_all"),
    row("C004", "an unknown key Accepted", "error", altered(status("Accepted"), part="unknown", where=told_unknown), "write_and_read", repeats=4),
    row("C004", "an unknown key Rejected", "error", altered(status("Rejected"), part="unknown", where=told_unknown), "write_and_read", repeats=4),
    row("C005", "a list is switched on", "drift", write("LocalAuthListEnabled", "true", "NotSupported"), "cold_boot", "read_all"),
    row("C005", "a security profile", "drift", write("SecurityProfile", "2", "Rejected"), "cold_boot", "read_all"),
    row("C006", "reads another value", "error", altered(reads_another, part="read"), "write_and_read", repeats=6),
    row("C006", "a write without effect", "error", writes_and_reads("ConnectionTimeOut", "90", "60"), "cold_boot", "read_all"),
    row("C007", "another heartbeat interval", "drift", altered(reads("MessageTimeout", "30"), **ALL), *READS),
    row("C007", "another time-out", "drift", altered(reads("ConnectionTimeOut", "120"), **ALL), *READS),
    row("C007", "no stop at the disconnect", "drift", altered(reads("StopTransactionOnEVSideDisconnect", "FALSE"), **ALL), *READS),
    row("C008", "a required key missing", "error", altered(reads_without("ResetRetries"), **ALL), *READS),
    row("C008", "a required key unknown", "error", altered(reads_without("ConnectionTimeOut", unknown=True), **ALL), *READS),
    row("C009", "NumberOfConnectors can be written", "error", altered(reads_flag("NumberOfConnectors"), **ALL), *READS),
    row("C009", "HeartbeatInterval cannot be written", "error", altered(reads_flag("HeartbeatInterval"), **ALL), *READS),
    row("C009", "the lock of a fixed cable can be written", "error", altered(reads_flag("UnlockConnectorOnEVSideDisconnect"), **ALL), *READS),
    row("C010", "a key twice", "error", altered(twice, part="read"), "write_and_read", repeats=3),
    row("C010", "a key left out", "error", altered(lambda x: x.answer.update(configurationKey=[]), part="read"), "write_and_read", repeats=3),
    row("C010", "known and unknown", "error", altered(lambda x: x.answer["unknownKey"].append(x.payload["key"][0]), part="read"), "write_and_read", repeats=3),
    row("C011", "21 keys asked for", "warning", many_keys(21), "cold_boot", "read_all"),
    row("C012", "twenty keys of more", "warning", altered(truncated_answer, **ALL), *READS),
    row("C013", "dots between thousands", "warning", altered(reads("StopTransactionMaxMeterValues", "2.147.483.647"), **ALL), *READS),
    row("C013", "no number", "warning", altered(reads("ResetRetries", "three"), **ALL), *READS),
    row("C013", "neither true nor false", "warning", altered(reads("LocalPreAuthorize", "off"), **ALL), *READS),
    row("C013", "a word that no list has", "warning", altered(reads("StopTxnSampledData", "Energy.Total"), **ALL), *READS),
    row("C014", "a list longer than its MaxLength", "error", altered(reads("MeterValuesSampledData", FOUR), **ALL), *READS),
    row("C015", "a value of 501 characters", "error", altered(reads("ConnectorPhaseRotation", "NotApplicable" + " " * 488), **ALL), *READS),
    row("C015", "a key of 51 characters", "error", write("K" * 51, "1", "NotSupported"), "cold_boot", "read_all"),
    row("C016", "another profile", "drift", altered(reads("SupportedFeatureProfiles", "Core,SmartCharging"), **ALL), *READS),
    row("C017", "pings slower than the retries end", "note", altered(reads("WebSocketPingInterval", "300"), **ALL), *READS),
    row("C017", "a message time-out of 3 s", "note", altered(reads("MessageTimeout", "3"), **ALL), *READS),
    row("C019", "AuthorizationKey is listed", "warning", altered(lambda x: x.answer["configurationKey"].append({"key": "AuthorizationKey", "readonly": False, "value": "****"}), **ALL), *READS),
)  # fmt: skip


# P: time


def stamps_as(change: Any) -> Alter:
    """Every stamp of the station is written another way."""

    def alter(c: Conversation, _: Random) -> None:
        for x in c.find(sender=CP):
            restamp(x.payload, change)

    return alter


def one_stamp(change: Any) -> Alter:
    return altered(lambda x: restamp(x.payload, change), part=("status", "boot status", "sample", "start"))


def silent_for(seconds: float) -> Alter:
    """The station says nothing for so long."""

    def alter(c: Conversation, chance: Random) -> None:
        beats = c.find("Heartbeat")
        since_us = chance.choice([x.at_us for x in beats if x.at_us + (seconds + 40) * 1e6 < c.until_us])
        c.drop(*(x for x in c.find(sender=CP) if since_us <= x.at_us < since_us + seconds * 1e6))

    return alter


def busy_heart(c: Conversation, chance: Random) -> None:
    at_us = quiet(c, chance, 30, 22)
    for turn in range(5):
        beat = said(c, at_us + turn * 4_000_000, CP, "Heartbeat", {}, {})
        beat.answer = {"currentTime": stamp(beat.answered_us)}


def no_clock_for_a_day(c: Conversation, _: Random) -> None:
    """The heart beats, but as DataTransfer: nobody tells the time."""
    for beat in c.find("Heartbeat"):
        beat.action, beat.payload = "DataTransfer", {"vendorId": "com.manageon", "messageId": "alive"}
        beat.answer = {"status": "UnknownVendorId"}


def slow_remote_start(seconds: float) -> Alter:
    """RemoteStart is answered late, and everything that it triggers comes as much later."""

    def alter(c: Conversation, _: Random) -> None:
        asked = c.find(part="remote start")[0]
        c.delay(asked.at_us + 1, seconds - asked.took_us / 1e6)
        asked.took_us = int(seconds * 1e6)

    return alter


COMMANDS = ("read", "write", "invalid", "read-only", "unknown", "unlock", "clear cache", "data transfer")
TIMING = (
    row("P001", "answered after 5.5 s", "warning", altered(took(5.5), part=COMMANDS), "write_and_read", "certified_answers", repeats=4),
    row("P001", "answered after 3.5 s", "note", altered(took(3.5), part=COMMANDS), "write_and_read", "certified_answers", repeats=3),
    row("P002", "RemoteStop takes 6 s", "warning", rebuilt(**{"remote stop wait_s": 6}), "remote"),
    row("P002", "ChangeAvailability takes 6 s", "warning", rebuilt(availability_s=6), "availability"),
    row("P002", "a refused Start suspends after 7 s", "warning", rebuilt(suspended_s=7), "refused_start"),
    row("P002", "RemoteStart authorizes after 6 s", "warning", rebuilt(**{"remote authorize_s": 6}), "remote", "remote_not_plugged"),
    row("P002", "Start 6 s after its Authorize", "warning", rebuilt(start_s=6), "local", "remote"),
    row("P002", "RemoteStop takes 4.5 s", "note", rebuilt(**{"remote stop wait_s": 4.5}), "remote"),
    row("P003", "RemoteStart answered after 5.5 s", "warning", slow_remote_start(5.5), "remote", "remote_with_profile", "remote_not_plugged"),
    row("P003", "RemoteStart answered after 3.5 s", "note", slow_remote_start(3.5), "remote", "remote_with_profile", "remote_not_plugged"),
    row("P004", "the CSMS answers after 64 s", "warning", altered(took(64), "Heartbeat"), "long_idle_after", repeats=4),
    row("P004", "the CSMS answers a sample after 70 s", "warning", altered(took(70), part=LIVE), "local", "remote"),
    row("P005", "no milliseconds", "drift", stamps_as(lambda t: t[:19] + "Z"), "local", "cold_boot", "remote"),
    row("P006", "no time at all", "error", one_stamp(lambda _: "yesterday"), *SESSIONS),
    row("P006", "an impossible day", "error", one_stamp(lambda t: "2026-02-30" + t[10:]), *SESSIONS),
    row("P006", "no zone", "warning", one_stamp(lambda t: t[:-1]), *SESSIONS),
    row("P006", "a zone without a colon", "warning", one_stamp(lambda t: t[:-1] + "+0000"), *SESSIONS),
    row("P006", "no zone from the CSMS", "warning", altered(lambda x: x.answer.update(currentTime=x.answer["currentTime"][:-1]), "Heartbeat"), "local", "cold_boot"),
    row("P007", "five minutes in the future", "warning", one_stamp(lambda t: moved(t, 300)), *SESSIONS),
    row("P007", "before 2010", "warning", one_stamp(lambda t: "1970" + t[4:]), *SESSIONS),
    row("P008", "silent for five minutes", "warning", silent_for(300), "long_idle_after", "cold_boot", repeats=3),
    row("P008", "silent for a minute", "warning", silent_for(65), "long_idle_after", "cold_boot"),
    row("P009", "nobody tells the time for a day", "warning", no_clock_for_a_day, "a_day", repeats=1),
    row("P011", "a heartbeat every 4 s", "note", busy_heart, "cold_boot", "long_idle_after"),
    row("P012", "clock 20 s ahead", "warning", rebuilt(clock_s=20), "local", "cold_boot", "remote"),
    row("P012", "clock 12 s behind", "warning", rebuilt(clock_s=-12), "local", "cold_boot", "remote"),
)  # fmt: skip


# R: retries and offline


def never_again(c: Conversation, _: Random) -> None:
    """The refused Stop is not sent again."""
    c.drop(*c.find(part="retry"))


def overtaken(c: Conversation, _: Random) -> None:
    """A newer message goes out while the refused one waits."""
    refused = c.find(part="refused")[0]
    newer = next(x for x in c.find() if x.part.startswith("queued"))
    newer.at_us = refused.answered_us + 33_000_000


def retry_changed(edit: Any) -> Alter:
    return altered(edit, part="retry")


def sent_again(*parts: str) -> Alter:
    """The CSMS refuses it, and it is sent again a minute later."""

    def alter(c: Conversation, chance: Random) -> None:
        x = chance.choice([x for x in c.find(part=parts) if x.at_us + 80e6 < c.until_us])
        again = said(
            c, x.answered_us + 60_000_000, x.sender, x.action, deepcopy(x.payload), deepcopy(x.answer)
        )
        again.connector = x.connector
        x.answer = Refused("InternalError", "try again")

    return alter


def lane_stuck(c: Conversation, _: Random) -> None:
    """After three refusals no transaction message is sent any more."""
    last = c.find(part="retry")[-1]
    c.drop(*(x for x in c.find() if x.at_us > last.at_us and x.action in ("MeterValues", "StopTransaction")))


def started_offline(c: Conversation, chance: Random) -> None:
    """A Start from inside the outage is delivered after it, without any question."""
    gone, back = c.happened(Kind.END)[0], c.happened(Kind.OPEN)[-1]
    number = idle_connector(c, chance)
    at_us = (gone.at_us + back.at_us) // 2
    c.delay(back.at_us + 1, 3)
    payload = {"connectorId": number, "idTag": "OFFLINE", "meterStart": 5000, "timestamp": stamp(at_us)}
    answer = {"transactionId": 31_337, "idTagInfo": {"status": "Accepted"}}
    said(c, back.at_us + 300_000, CP, "StartTransaction", payload, answer)
    status_report(c, back.at_us + 1_200_000, number, "Charging")


def queue_lost(number: int) -> Alter:
    """So many of the samples of the outage are never delivered."""

    def alter(c: Conversation, chance: Random) -> None:
        queued = c.find(part="queued sample")
        place = chance.randrange(len(queued) - number + 1)
        c.drop(*queued[place : place + number])

    return alter


def status_not_sent(c: Conversation, _: Random) -> None:
    """What changed during the outage is never reported."""
    back = c.happened(Kind.OPEN)[-1]
    c.drop(*(x for x in c.find(part="status") if x.at_us > back.at_us))


def history_replayed(c: Conversation, _: Random) -> None:
    """After the outage every state in between is reported, with its own stamp."""
    gone, back = c.happened(Kind.END)[0], c.happened(Kind.OPEN)[-1]
    report = next(x for x in c.find(part="status") if x.at_us > back.at_us)
    c.delay(report.at_us, 2)
    for turn, word in enumerate(("SuspendedEV", "Charging", "SuspendedEV")):
        old = status_report(c, report.at_us - 2_000_000 + turn * 500_000, report.connector or 1, word)
        old.payload["timestamp"] = stamp(gone.at_us + (5 + 10 * turn) * 1_000_000)


RETRIES = (
    row("R006", "a fourth transmission", "warning", rebuilt(refusals=4, attempts=6), "given_up", repeats=4),
    row("R001", "never sent again", "warning", never_again, "stop_retried", repeats=4),
    row("R002", "again after 10 s", "warning", rebuilt(retry_s=10), "retried", "given_up", "stop_retried"),
    row("R002", "again after 100 s", "warning", rebuilt(retry_s=100), "retried", "stop_retried"),
    row("R003", "a newer message overtakes", "error", overtaken, "retried", "given_up", repeats=3),
    row("R004", "a sample sent again with another value", "error", retry_changed(sampled("Voltage", value="211.1")), "retried", "given_up", repeats=4),
    row("R004", "a Stop sent again with a new stamp", "error", retry_changed(stamped(60)), "stop_retried", repeats=3),
    row("R004", "a Stop sent again with another meterStop", "error", retry_changed(lambda x: x.payload.update(meterStop=x.payload["meterStop"] + 3)), "stop_retried", repeats=3),
    row("R005", "Status sent again", "note", sent_again("status", "boot status"), "local", "cold_boot"),
    row("R005", "Authorize sent again", "note", sent_again("authorize refused"), "refused_tag", repeats=3),
    row("M001", "nothing follows what was given up", "error", lane_stuck, "given_up", repeats=3),
    row("R007", "started in the outage", "error", started_offline, "idle_outage", repeats=4),
    row("R009", "a queued sample is lost", "error", queue_lost(1), "outage_observed", repeats=4),
    row("R009", "all queued samples are lost", "error", queue_lost(3), "outage_observed", repeats=3),
    row("R009", "a queued sample is lost, only certified", "warning", queue_lost(1), "outage", repeats=3),
    row("R010", "no status after the outage", "warning", status_not_sent, "stopped_offline", repeats=3),
    row("R010", "history is replayed", "warning", history_replayed, "stopped_offline", repeats=3),
    row("R011", "connects again and again", "warning", hammers, "cold_boot", "outage", "idle_outage"),
    row("R011", "refused and back within half a second", "warning", refusals(503, 0.4), "cold_boot", "outage"),
    row("R012", "the queue waits for 90 s", "warning", rebuilt(drain_s=90), "outage", "stopped_offline"),
)  # fmt: skip


# N: outside the Core profile


def accepted_outside(action: str, answer: dict[str, Any]) -> Alter:
    return altered(answered(answer), action, part="outside")


OUTSIDE = {"part": "outside"}
NONCORE = (
    row("N001", "SetChargingProfile Accepted", "drift", accepted_outside("SetChargingProfile", {"status": "Accepted"}), "outside_core"),
    row("N001", "ClearChargingProfile Accepted", "drift", accepted_outside("ClearChargingProfile", {"status": "Accepted"}), "outside_core"),
    row("N001", "TriggerMessage Accepted", "drift", accepted_outside("TriggerMessage", {"status": "Accepted"}), "outside_core"),
    row("N001", "SendLocalList Accepted", "drift", accepted_outside("SendLocalList", {"status": "Accepted"}), "outside_core"),
    row("N001", "a list version", "drift", accepted_outside("GetLocalListVersion", {"listVersion": 0}), "outside_core"),
    row("N001", "CancelReservation Accepted", "drift", accepted_outside("CancelReservation", {"status": "Accepted"}), "outside_core"),
    row("N001", "a diagnostics file", "drift", accepted_outside("GetDiagnostics", {"fileName": "log.txt"}), "outside_core"),
    row("N002", "SetChargingProfile refused in a confirmation", "note", accepted_outside("SetChargingProfile", {"status": "NotSupported"}), "outside_core"),
    row("N002", "CancelReservation Rejected", "note", accepted_outside("CancelReservation", {"status": "Rejected"}), "outside_core"),
    row("N002", "list version -1", "note", accepted_outside("GetLocalListVersion", {"listVersion": -1}), "outside_core"),
    row("N003", "NotImplemented for a known action", "note", altered(to_refusal("NotImplemented"), **OUTSIDE), "outside_core", repeats=4),
    row("N004", "InternalError", "error", altered(to_refusal("InternalError"), **OUTSIDE), "outside_core", repeats=4),
    row("N004", "GenericError", "error", altered(to_refusal("GenericError"), **OUTSIDE), "outside_core", repeats=4),
    row("N004", "no answer", "error", altered(unanswered, **OUTSIDE), "outside_core", repeats=4),
    row("N005", "FirmwareStatusNotification", "drift", inserted(CP, "FirmwareStatusNotification", {"status": "Installed"}, {}), "local", "cold_boot"),
    row("N005", "DiagnosticsStatusNotification", "drift", inserted(CP, "DiagnosticsStatusNotification", {"status": "Idle"}, {}), "local", "cold_boot"),
    row("N006", "GetLocalListVersion", "warning", inserted(CS, "GetLocalListVersion", {}, Refused("NotSupported")), "local", "cold_boot"),
    row("N006", "TriggerMessage", "warning", inserted(CS, "TriggerMessage", {"requestedMessage": "Heartbeat"}, Refused("NotSupported")), "local", "cold_boot"),
    row("N007", "NotSupported for an unknown action", "warning", altered(to_refusal("NotSupported"), part="unknown action"), "outside_core", repeats=3),
    row("N007", "an answer to an unknown action", "warning", altered(answered({"status": "Accepted"}), part="unknown action"), "outside_core", repeats=3),
    row("N008", "a status in DataTransfer", "note", inserted(CP, "DataTransfer", {"vendorId": "com.manageon", "data": "temp=41"}, {"status": "UnknownVendorId"}), "local", "cold_boot"),
)  # fmt: skip

MUTATIONS = (
    *CONNECTION, *FRAMING, *BOOTING, *CONNECTORS, *TRANSACTIONS, *METERING, *CONFIGURATION, *TIMING, *RETRIES, *NONCORE,
)  # fmt: skip

# The rules of the book that no single alteration can break, and why.
NOT_MUTABLE = {
    "P010": "a definition that P008 uses, not a finding",
    "R008": "right behaviour that is only recognised",
    "C018": "the same evidence as R007, which speaks for it",
}
