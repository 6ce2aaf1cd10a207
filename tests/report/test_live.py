"""What is seen of a recording while it goes on: the view, the lines, the metrics; from real frames."""

import contextlib
import http.client
import io
import re
import socket
import threading
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from tests.conftest import REPOSITORY
from twin.engine.analyzer import Analyzer
from twin.io.books import REASONS
from twin.io.formats import open_capture
from twin.io.settings import Settings
from twin.io.watching import Status, Watcher
from twin.model import EventKind, Frame, Kind, Side
from twin.protocol.timestamps import format_us
from twin.report.live import MOST_STATIONS, Board, picture
from twin.report.metrics import Metrics
from twin.report.watchers import Heartbeats, Lines, View, watchers_of

SESSION = REPOSITORY / "captures" / "otmk-shaped-demo"
HOSTILE = "CP\x1b[31m[red]\u202e7"
SECOND_NS = 1_000_000_000


def watched(frames: list[Frame], *watchers: Watcher) -> Analyzer:
    """What a recorder would tell whoever looks on."""
    analyzer = Analyzer()
    for frame in frames:
        steps = analyzer.steps(frame)
        findings = [finding for step in steps for finding in analyzer.judge(step)]
        for watcher in watchers:
            watcher.saw(frame, steps, findings)
    return analyzer


def session() -> list[Frame]:
    return list(open_capture(SESSION).frames)


def status(at_us: int, **more: object) -> Status:
    return Status(wall_ns=at_us * 1000, mono_ns=at_us * 1000, **more)  # type: ignore[arg-type]  # by name


def drawn(board: Board, rows: int = 40) -> str:
    console = Console(file=io.StringIO(), width=160, height=rows, force_terminal=False)
    console.print(picture(board, "site.capture", rows=rows))
    return console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO


def says(seq: int, text: str, sender: Side, station: str = "CP7", at_us: int | None = None) -> Frame:
    at_us = 1_795_000_000_000_000 + seq * 1_000_000 if at_us is None else at_us
    return Frame(
        seq=seq, at_us=at_us, link=f"c-{station}", station=station, kind=Kind.TEXT, sender=sender, text=text
    )


def test_the_view_shows_what_an_engineer_asks_first() -> None:
    board, frames = Board(), session()
    watched(frames, board)
    board.status = status(frames[-1].at_us + 90_000_000, seen_chunks=646, recorded_chunks=640,
                          dropped_chunks={"queue_full": 6}, disk_free_bytes=3 << 30, sockets=1)  # fmt: skip
    shown = drawn(board)
    for word in ("OTMK-0001", " CHARGING", "2 min", "ms", "queue_full 6", "3.0 GiB free", "seen 646"):
        assert word in shown, (word, shown)
    line = board.stations["OTMK-0001"]
    assert line.messages == 646
    assert line.worst_s is not None


def test_few_connectors_are_named_and_many_stations_leave_room_for_the_counters() -> None:
    board, frames = Board(), session()
    for number in range(8):
        watched(
            [replace(frame, station=f"S{number}", link=f"{number}{frame.link}") for frame in frames], board
        )
    board.status = status(frames[-1].at_us, seen_chunks=646)
    console = Console(file=io.StringIO(), width=120, height=40, force_terminal=False)
    console.print(picture(board, "a[/b].capture", rows=40))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # a StringIO
    assert lines[0].strip() == "a[/b].capture   recording"
    assert len(lines) < 40
    assert any("seen 646" in line for line in lines)
    board.stations["S0"].connectors = {1: "Charging", 2: "Available"}
    assert "1:CHARGING 2:free" in drawn(board)


def test_open_calls_and_slow_answers_show() -> None:
    board = Board()
    start_us = 1_795_000_000_000_000
    watched(
        [
            says(1, '[2,"1","Heartbeat",{}]', Side.STATION, at_us=start_us),
            says(2, '[3,"1",{"currentTime":"2026-11-18T11:06:40Z"}]', Side.CSMS, at_us=start_us + 6_200_000),
            says(3, '[2,"2","Heartbeat",{}]', Side.STATION, at_us=start_us + 7_000_000),
        ],
        board,
    )
    line = board.stations["CP7"]
    assert (line.open_calls, line.took_s, line.last) == (1, 6.2, "→ Heartbeat")
    board.status = status(start_us)
    assert "6,200 ms" in drawn(board)


def test_text_of_a_stranger_is_text() -> None:
    board = Board()
    board.status = status(1)
    watched([says(1, '[2,"1","[bold]\\u001b[2JX\\u202e",{}]', Side.STATION, station=HOSTILE)], board)
    shown = drawn(board)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[red]7" in shown
    assert "[bold]" in shown


def test_stations_beyond_the_cap_push_out_the_longest_silent() -> None:
    board = Board()
    watched([says(n, "[]", Side.STATION, station=f"S{n}") for n in range(1, MOST_STATIONS + 10)], board)
    assert len(board.stations) == MOST_STATIONS
    assert f"S{MOST_STATIONS + 9}" in board.stations
    assert "S1" not in board.stations


class Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("watcher", [Lines(Gone()), View("c", Gone()), Heartbeats(1, Gone())])
def test_a_terminal_that_is_gone_stops_nothing(watcher: Watcher) -> None:
    watched(session()[:60], watcher)
    watcher.told(status(10**15, lines=5))
    watcher.close()


def test_without_a_terminal_findings_and_counters_are_lines() -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    watched(session(), lines)
    lines.told(status(10**15, lines=5, seen_chunks=7))
    lines.told(status(10**15, lines=5, seen_chunks=7))
    told = stream.getvalue().splitlines()
    assert any(re.match(r"(error|warning|drift|note) +[A-Z]\d{3} #\d+ OTMK-0001: ", line) for line in told)
    assert sum(line.startswith("seen 7") for line in told) == 1


@pytest.mark.parametrize(("interval_s", "warned"), [(300, False), (4_000, True)])
def test_a_heartbeat_that_the_time_out_could_outrun_is_warned_of(interval_s: int, warned: bool) -> None:
    stream = io.StringIO()
    boot = '[2,"1","BootNotification",{"chargePointVendor":"V","chargePointModel":"M"}]'
    said = f'[3,"1",{{"status":"Accepted","currentTime":"{format_us(10**15)}","interval":{interval_s}}}]'
    watched([says(1, boot, Side.STATION), says(2, said, Side.CSMS)] * 1, Heartbeats(9_000, stream))
    assert (f"--heartbeat {interval_s}" in stream.getvalue()) is warned


def test_who_looks_on_is_chosen_by_the_settings(tmp_path: Path) -> None:
    def kinds(view: str, stream: io.StringIO) -> list[type]:
        settings = Settings(directory=str(tmp_path), view=view)
        return [type(watcher) for watcher in watchers_of(settings, "c", stream)]

    assert kinds("auto", io.StringIO()) == [Heartbeats, Lines]
    assert kinds("auto", Gone()) == [Heartbeats, View]
    assert kinds("plain", Gone()) == [Heartbeats, Lines]
    assert kinds("quiet", Gone()) == [Heartbeats]


# ---- metrics


def asked(
    metrics: Metrics, path: str = "/metrics", method: str = "GET", host: str | None = None
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", metrics.port, timeout=30)
    headers = {} if host is None else {"Host": host}
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body


def test_metrics_count_what_was_recorded_and_name_nobody() -> None:
    metrics, frames = Metrics("127.0.0.1:0"), session()
    analyzer = watched(frames, metrics)
    metrics.told(status(1, dropped_chunks={"queue_full": 4}, sockets=2, lag_s=0.5, disk_free_bytes=9))
    metrics.told(status(2, dropped_chunks={"queue_full": 5}, sockets=1, lag_s=0.5, disk_free_bytes=9))
    code, body = asked(metrics)
    metrics.close()
    assert code == 200
    held = {family.name: family for family in text_string_to_metric_families(body)}
    samples = [sample for sample in held["twin_messages"].samples if sample.name == "twin_messages_total"]
    assert sum(sample.value for sample in samples) == sum(seen.kind is Kind.TEXT for seen in frames)
    found = {sample.labels["rule"]: sample.value for sample in held["twin_findings"].samples}
    assert found.keys() == analyzer.occurrences.keys()
    dropped = {sample.labels["reason"]: sample.value for sample in held["twin_records_dropped"].samples}
    assert dropped == dict.fromkeys(REASONS, 0) | {"queue_full": 5}  # at 0 before the first is lost
    assert [sample.value for sample in held["twin_sockets"].samples] == [1]
    buckets = {
        sample.labels["le"] for sample in held["twin_call_duration_seconds"].samples if "le" in sample.labels
    }
    assert buckets == {"0.05", "0.1", "0.25", "0.5", "1.0", "2.0", "5.0", "10.0", "30.0", "60.0", "+Inf"}
    assert {"twin_capture_lag_seconds", "twin_disk_free_bytes", "twin_build_info"} <= held.keys()
    labels = Counter(name for family in held.values() for sample in family.samples for name in sample.labels)
    assert labels.keys() <= {"direction", "action", "type", "rule", "severity", "reason", "le", "version"}
    assert "TAG" not in body.upper().replace("IDTAG", "")


def test_nobody_on_the_wire_multiplies_the_series() -> None:
    metrics = Metrics("127.0.0.1:0")
    watched([says(n, f'[2,"{n}","Action{n}",{{}}]', Side.STATION) for n in range(1, 500)], metrics)
    series = asked(metrics)[1].count("twin_messages_total{")
    metrics.close()
    assert series == 1


@pytest.mark.parametrize(
    ("path", "method", "host", "code"),
    [
        ("/metrics", "GET", "evil.example", 403),
        ("/metrics", "GET", "", 403),
        ("/", "GET", None, 404),
        ("/metrics", "POST", None, 405),
    ],
)
def test_only_this_host_may_read_metrics(path: str, method: str, host: str | None, code: int) -> None:
    metrics = Metrics("127.0.0.1:0")
    assert asked(metrics, path, method, host)[0] == code
    metrics.close()


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9100", "192.0.2.1:9100", "example.org:9100", "9100", "127.0.0.1:x"]
)
def test_metrics_are_never_served_to_others(address: str) -> None:
    with pytest.raises(ValueError, match="this host only"):
        Metrics(address)


def test_metrics_are_served_on_the_other_loopback_and_end_while_a_client_drips() -> None:
    metrics = Metrics("[::1]:0")
    with socket.create_connection(("::1", metrics.port), 30) as dripping:
        dripping.sendall(b"GET /metr")
        closing = threading.Thread(target=metrics.close)
        closing.start()
        for _ in range(40):  # 20 s
            with contextlib.suppress(OSError):
                dripping.sendall(b"i")
            closing.join(0.5)
        assert not closing.is_alive()


def test_a_port_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        Metrics(f"127.0.0.1:{taken.getsockname()[1]}")


def test_every_kind_of_event_has_its_place() -> None:
    """A new kind of event must be counted or left out on purpose."""
    assert {kind.value for kind in EventKind} == {
        "opened", "called", "answered", "refused", "timed out", "orphaned", "malformed", "closed", "reset",
        "noted", "overdue",
    }  # fmt: skip
