"""What a state waits for begins, ends and falls due as the conversation says; held-up time is added."""

from tests.playbook import Play, after, cp, cs, ended, gap, opened, play, stamp
from twin.engine.analyzer import Analyzer
from twin.model import Event, EventKind
from twin.protocol.state import Wait


def waiting(p: Play) -> set[tuple[Wait, int | None]]:
    """But for the silence that every exchange ends."""
    return {place for place in p.analyzer.state_of("CP1").awaited if place[0] is not Wait.SILENT}


def overdue(p: Play) -> list[Event]:
    """The OVERDUE events of the conversation, by an analyzer that nobody wakes up."""
    analyzer = Analyzer(rules=())
    steps = [step for frame in p.frames for step in analyzer.steps(frame)]
    steps += analyzer.timer_steps(p.at_us)
    return [step.event for step in steps if step.event.kind is EventKind.OVERDUE]


def status(p: Play, value: str, connector: int = 1, **more: str) -> Play:
    told = {"connectorId": connector, "errorCode": "NoError", "status": value} | more
    return p.station("StatusNotification", told, {})


def quiet(p: Play) -> Play:
    """Booted, with the wait for all connectors behind it."""
    p << after(60)
    return p


def test_a_boot_waits_for_every_connector_and_falls_due_after_21_rounds() -> None:
    p = play().booted()
    assert waiting(p) == {(Wait.STATUSES, None), (Wait.HEARTBEAT, None)}
    p << after(40)
    (missed,) = [event for event in overdue(p) if event.action != Wait.SILENT]
    assert (missed.action, missed.at_us) == (Wait.STATUSES, missed.awaited and missed.awaited.due_us)
    assert missed.at_us == p.frames[-1].at_us + 30_000_000
    assert waiting(p) == {(Wait.HEARTBEAT, None)}


def test_start_and_status_may_come_in_either_order() -> None:
    p = status(status(quiet(play().booted()), "Available"), "Charging")
    assert (Wait.STATUS_FITS, 1) in waiting(p)
    p.started()
    assert (Wait.STATUS_FITS, 1) not in waiting(p)


def test_a_status_that_does_not_fit_its_transaction_falls_due_after_the_grace() -> None:
    p = status(quiet(play().booted().started()), "Preparing") << after(11)
    assert Wait.STATUS_FITS in [event.action for event in overdue(p)]
    again = overdue(status(p, "Charging") << after(11))
    assert [event.action for event in again].count(Wait.STATUS_FITS) == 1


def test_preparing_ends_after_the_connection_time_out() -> None:
    p = status(quiet(play().booted()), "Preparing")
    assert (Wait.LEAVES_PREPARING, 1) in waiting(p)
    assert (Wait.LEAVES_PREPARING, 1) not in waiting(status(p, "Available"))
    p = status(status(p, "Preparing") << after(10), "Preparing") << after(54)
    assert [event.action for event in overdue(p)][-1] == Wait.LEAVES_PREPARING  # 60 s and 3 of tolerance


def test_a_reset_waits_for_the_stop_and_for_the_boot_past_the_end_of_the_link() -> None:
    p = quiet(play().booted().started()).csms("Reset", {"type": "Hard"}, {"status": "Accepted"})
    assert {(Wait.STOP_AFTER_RESET, 7), (Wait.BOOT_AFTER_RESET, None)} <= waiting(p)
    p = p << ended()
    assert waiting(p) == {(Wait.STOP_AFTER_RESET, 7), (Wait.BOOT_AFTER_RESET, None)}
    assert (Wait.STOP_AFTER_RESET, 7) in waiting(p.booted())
    assert (Wait.BOOT_AFTER_RESET, None) not in waiting(p)
    stop = {"transactionId": 7, "meterStop": 2000, "timestamp": stamp(), "reason": "HardReset"}
    assert (Wait.STOP_AFTER_RESET, 7) not in waiting(p.station("StopTransaction", stop, {}))


def test_a_remote_stop_waits_for_its_stop() -> None:
    p = quiet(play().booted().started())
    p.csms("RemoteStopTransaction", {"transactionId": 7}, {"status": "Accepted"})
    assert (Wait.STOP_AFTER_REMOTE, 7) in waiting(p)


def test_an_unplugged_ev_waits_for_its_stop() -> None:
    p = status(quiet(play().booted().started()), "SuspendedEV", info="EV side disconnected")
    assert (Wait.STOP_AFTER_UNPLUG, 7) in waiting(p)
    assert (Wait.STOP_AFTER_UNPLUG, 7) not in waiting(status(p, "Charging"))


def test_a_refused_start_waits_for_suspended_evse() -> None:
    p = quiet(play().booted())
    start = {"connectorId": 1, "idTag": "T", "meterStart": 0, "timestamp": stamp(60)}
    p.station("StartTransaction", start, {"transactionId": 7, "idTagInfo": {"status": "Invalid"}})
    assert (Wait.SUSPENDED_AFTER_REFUSAL, 1) in waiting(p)
    assert (Wait.SUSPENDED_AFTER_REFUSAL, 1) not in waiting(status(p, "SuspendedEVSE"))


def test_a_refused_transaction_message_is_to_come_again() -> None:
    p = quiet(play().booted().started())
    stop = {"transactionId": 7, "meterStop": 2000, "timestamp": stamp(60)}
    p.station("StopTransaction", stop, "InternalError")
    assert Wait.RESEND in [wait for wait, _ in waiting(p)]
    p << after(60)
    assert waiting(p.station("StopTransaction", stop, {})) == {(Wait.HEARTBEAT, None)}


def test_a_server_ping_wants_a_pong() -> None:
    from tests.playbook import Happened
    from twin.model import Kind, Side

    p = quiet(play().booted()) << Happened(Kind.PING, {}, Side.CSMS)
    assert (Wait.PONG, None) in waiting(p)
    assert (Wait.PONG, None) not in waiting(p << Happened(Kind.PONG, {}, Side.STATION))


def test_time_spent_on_an_unanswered_call_is_added() -> None:
    p = status(quiet(play().booted().started()), "Preparing")
    begun_us = p.at_us - 100_000  # the status was sent a breath before its answer
    p << cp('[2,"slow","Heartbeat",{}]') << after(8)
    p << cs('[3,"slow",{"currentTime":"2026-09-21T14:14:20Z"}]') << after(11)
    fits = [event for event in overdue(p) if event.action == Wait.STATUS_FITS]
    assert [event.at_us - begun_us for event in fits] == [10_000_000 + 100_000 + 8_000_000]


def test_a_gap_and_a_lost_link_forget() -> None:
    p = status(quiet(play().booted().started()), "Preparing")
    assert waiting(p)
    assert waiting(p << gap()) == set()
    q = status(quiet(play().booted().started()), "Preparing") << ended() << opened()
    assert waiting(q) == set()


def test_an_overlap_of_two_links_falls_due_unless_the_old_one_ends() -> None:
    q = quiet(play().booted())
    q.link = "c2"
    q << opened()
    assert (Wait.OLD_LINK_ENDS, None) in waiting(q)
    q.link = "c1"
    assert (Wait.OLD_LINK_ENDS, None) not in waiting(q << ended())


def test_every_exchange_puts_off_the_silence() -> None:
    p = play().booted(30)
    for _ in range(3):
        p = status(p << after(31), "Available")
    assert Wait.SILENT not in [event.action for event in overdue(p)]
    (missed,) = [event for event in overdue(p << after(33)) if event.action == Wait.SILENT]
    assert missed.at_us == p.frames[-1].at_us + 32_000_001
    assert missed.awaited is not None
    assert missed.awaited.seq == p.frames[-1].seq
    p = play().booted(30) << ended() << after(100)
    assert Wait.SILENT not in [event.action for event in overdue(p)]


def test_a_longer_interval_puts_it_off_too() -> None:
    p = play().booted(30)
    p.csms("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "300"}, {"status": "Accepted"})
    assert Wait.SILENT not in [event.action for event in overdue(p << after(200))]
    assert Wait.SILENT in [event.action for event in overdue(p << after(200))]
