"""The recorder as the proxy drives it: records first, judges second, and live findings equal offline ones."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire_cases import frame, mask_of
from twin.engine.analyzer import Analyzer
from twin.io.books import Summary
from twin.io.formats import open_capture
from twin.io.integrity import verify
from twin.io.judging import Judge
from twin.io.recorder import Recorder
from twin.io.redact import Redactor
from twin.io.segments import CaptureWriter
from twin.model import Finding, Frame, Kind, Side
from twin.rules import Step

SECOND = 1_000_000_000
WALL_NS = 1_795_000_000 * SECOND
HANDSHAKE = {"path": "/ocpp/CP7", "subprotocols_offered": ["ocpp1.6"], "subprotocol": "ocpp1.6"}
BOOT = '[2,"b","BootNotification",{"chargePointVendor":"Manageon","chargePointModel":"OTM-K"}]'
BOOTED = '[3,"b",{"status":"Accepted","currentTime":"2026-11-18T06:26:40Z","interval":300}]'
SAYS = (
    (Side.STATION, BOOT),
    (Side.CSMS, BOOTED),
    (Side.STATION, '[2,"h","Heartbeat",{}]'),
    (Side.CSMS, '[3,"h",{"currentTime":"2026-11-18T06:26:40Z"}]'),
    (Side.CSMS, '[2,"r","Reset",{"type":"Soft"}]'),
    (Side.STATION, '[3,"r",{"status":"Accepted"}]'),
    (Side.STATION, '[2,"a","Authorize",{"idTag":"04A2B3C4"}]'),
    (Side.CSMS, '[3,"a",{"idTagInfo":{"status":"Accepted"}}]'),
    (Side.STATION, "no JSON"),
)


class Proxy:
    """Plays the proxy against a real recorder in a directory of its own; the clock only moves when told."""

    def __init__(self, folder: Path, analyzer: Analyzer | None = None, *, keep_id_tags: bool = False) -> None:
        self.capture = folder / "site.capture"
        self.findings = folder / "site.findings.jsonl"
        self.now_ns = 0
        writer = CaptureWriter(self.capture, created_us=WALL_NS // 1000, vantage="proxy")
        redactor = Redactor(bytes(32), keep_id_tags=keep_id_tags)
        self.recorder = Recorder(writer, redactor, Judge(analyzer or Analyzer(), self.findings))
        self.summary: Summary | None = None
        self.recorder.hello(0, [], *self.clocks())

    def clocks(self) -> tuple[int, int]:
        return WALL_NS + self.now_ns, self.now_ns

    def opens(self, conn: str = "c1", **facts: object) -> None:
        self.recorder.opened(conn, {**HANDSHAKE, **facts}, *self.clocks())

    def says(self, sender: Side, text: str, conn: str = "c1") -> None:
        self.recorder.chunk(conn, sender, frame(1, text.encode(), mask=mask_of(sender)), *self.clocks())

    def tick(self, **counters: object) -> None:
        self.recorder.tick(*self.clocks(), counters)

    def finish(self) -> Summary:
        return self.recorder.finish(*self.clocks())

    def frames(self) -> list[Frame]:
        reading = open_capture(self.capture)
        frames = list(reading.frames)
        assert not reading.report.unusable
        assert verify(self.capture).problems == []
        return frames

    def told(self) -> list[Frame]:
        """What was said in the capture, the counters left out."""
        return [seen for seen in self.frames() if seen.kind is not Kind.STATS]

    def live(self) -> list[Finding]:
        lines = self.findings.read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Finding) for line in lines]


@pytest.fixture
def proxy(tmp_path: Path) -> Proxy:
    return Proxy(tmp_path)


def offline(frames: list[Frame]) -> list[Finding]:
    analyzer = Analyzer()
    return [found for seen in frames for found in analyzer.receive(seen)] + analyzer.finish()


def test_a_conversation_is_recorded_in_order(proxy: Proxy) -> None:
    proxy.opens()
    for sender, text in SAYS[:4]:
        proxy.now_ns += SECOND
        proxy.says(sender, text)
    proxy.recorder.ended("c1", {}, *proxy.clocks())
    summary = proxy.finish()
    frames = proxy.told()
    assert [seen.kind for seen in frames] == [Kind.OPEN, *[Kind.TEXT] * 4, Kind.END]
    assert [(seen.sender, seen.text) for seen in frames[1:5]] == list(SAYS[:4])
    assert [seen.seq for seen in frames] == [2, 3, 4, 5, 6, 7]
    assert {seen.station for seen in frames} == {"CP7"}
    assert [seen.mono_ns for seen in frames[1:5]] == [second * SECOND for second in (1, 2, 3, 4)]
    assert (summary.connections, summary.stations, summary.recorded_chunks) == (1, 1, 4)
    assert summary.exact


def test_what_was_not_handed_over_is_a_gap_and_the_books_balance(proxy: Proxy) -> None:
    proxy.opens()
    proxy.says(*SAYS[0])
    proxy.recorder.lost("c1", Side.CSMS, "queue_full", 3, 400, *proxy.clocks())
    proxy.says(*SAYS[2])
    size = len(frame(1, SAYS[0][1].encode(), mask=b"abcd")) + len(frame(1, SAYS[2][1].encode(), mask=b"abcd"))
    dropped = {"dropped_chunks": {"queue_full": 3}, "dropped_bytes": {"queue_full": 400}}
    proxy.tick(seen_chunks=5, seen_bytes=size + 400, **dropped)
    summary = proxy.finish()
    gap = next(seen for seen in proxy.frames() if seen.kind is Kind.GAP)
    assert (gap.sender, gap.facts["reason"], gap.facts["chunks"], gap.facts["bytes"]) == (
        Side.CSMS,
        "queue_full",
        3,
        400,
    )
    assert summary.dropped_chunks == {"queue_full": 3}
    assert (summary.seen_chunks, summary.seen_bytes, summary.exact) == (5, size + 400, True)


def test_what_the_proxy_saw_and_never_told_is_counted_as_recorder_down(proxy: Proxy) -> None:
    proxy.opens()
    proxy.says(*SAYS[0])
    proxy.tick(seen_chunks=4, seen_bytes=1000)
    summary = proxy.finish()
    assert summary.dropped_chunks == {"recorder_down": 3}
    assert summary.exact


def test_a_socket_nobody_saw_open_is_late(proxy: Proxy) -> None:
    proxy.says(*SAYS[2])
    proxy.finish()
    frames = proxy.told()
    assert (frames[0].kind, frames[0].facts["late"]) == (Kind.OPEN, True)
    assert frames[1].text == SAYS[2][1]


def test_secrets_of_the_handshake_and_of_unreadable_bytes_are_not_stored(proxy: Proxy) -> None:
    headers = [["Authorization", "Basic Q1A3OnNlY3JldA=="], ["X-Api-Token", "secret"], ["Host", "csms"]]
    proxy.opens(request_headers=headers, basic_user="CP7", path="/ocpp/CP7?token=secret")
    proxy.recorder.chunk("c1", Side.STATION, frame(2, b"04A2B3C4 secret", mask=b"abcd"), *proxy.clocks())
    proxy.recorder.chunk("c1", Side.STATION, frame(1, b"secret\xff", mask=b"abcd"), *proxy.clocks())
    proxy.recorder.chunk("c1", Side.STATION, frame(9, b"secret", mask=b"abcd"), *proxy.clocks())
    proxy.finish()
    opened, binary, broken, ping, _ = proxy.told()
    assert opened.facts["auth"] == {"scheme": "Basic", "user_is_identity": True}
    assert ["Host", "csms"] in opened.facts["request_headers"]
    assert (binary.kind, binary.data, binary.facts["bytes"]) == (Kind.BINARY, None, 15)
    assert (broken.kind, broken.facts["why"], broken.data) == (Kind.UNDECODABLE, "utf8", None)
    assert (ping.kind, ping.data) == (Kind.PING, None)
    stored = b"".join(path.read_bytes() for path in proxy.capture.iterdir())
    assert b"secret" not in stored
    assert b"Q1A3" not in stored


class Broken(Analyzer):
    """An analyzer with a bug of ours."""

    def steps(self, frame: Frame) -> list[Step]:
        raise ZeroDivisionError


def test_a_bug_in_judging_costs_the_opinion_and_not_the_record(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path, Broken())
    proxy.opens()
    proxy.says(*SAYS[0])
    summary = proxy.finish()
    assert [seen.text for seen in proxy.told()] == [None, SAYS[0][1], None]
    assert summary.faults == 5
    assert b"ZeroDivisionError" in proxy.findings.read_bytes()


class Leaky(Redactor):
    """A redactor with a bug of ours."""

    def frame(self, frame: Frame) -> Frame:
        raise ZeroDivisionError


def test_a_bug_in_redaction_stores_nothing_rather_than_a_secret(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path)
    proxy.opens()
    proxy.recorder._redactor = Leaky(bytes(32))
    proxy.says(*SAYS[6])
    proxy.finish()
    fault = proxy.told()[1]
    assert (fault.kind, fault.text, fault.facts["where"]) == (Kind.FAULT, None, "redact")
    assert b"04A2B3C4" not in b"".join(path.read_bytes() for path in proxy.capture.iterdir())


def test_a_clock_that_is_set_is_a_line_and_no_round_trip_is_negative(proxy: Proxy) -> None:
    proxy.opens()
    step_ns = 0
    for number, step_s in enumerate((0, 3600, -3600, -3600, 7200)):
        step_ns += step_s * SECOND
        proxy.clocks = lambda step=step_ns: (WALL_NS + step + proxy.now_ns, proxy.now_ns)  # type: ignore[method-assign, misc]  # the host's clock was set
        proxy.says(Side.STATION, f'[2,"{number}","Heartbeat",{{}}]')
        proxy.now_ns += SECOND
        proxy.says(Side.CSMS, f'[3,"{number}",{{"currentTime":"2026-11-18T06:26:40Z"}}]')
    summary = proxy.finish()
    frames = proxy.told()
    assert [seen.facts["step_ms"] for seen in frames if seen.kind is Kind.CLOCK_STEP] == [
        3_600_000, -3_600_000, -3_600_000, 7_200_000,
    ]  # fmt: skip
    assert summary.clock_steps == 4
    analyzer = Analyzer()
    took = [step.event.took_us for seen in frames for step in analyzer.steps(seen) if step.event.took_us]
    assert took == [1_000_000] * 5
    assert [seen.at_us for seen in frames] == sorted(seen.at_us for seen in frames)


@pytest.mark.parametrize("year_us", [2_147_483_647_000_000, 4_102_444_800_000_000])
def test_the_year_2038_is_a_year_like_others(proxy: Proxy, year_us: int) -> None:
    proxy.clocks = lambda: (year_us * 1000 + proxy.now_ns, proxy.now_ns)  # type: ignore[method-assign]  # a later day
    proxy.opens()
    proxy.now_ns += 2 * SECOND
    proxy.says(*SAYS[2])
    proxy.finish()
    assert proxy.told()[-2].at_us == year_us + 2_000_000


class Refusing(CaptureWriter):
    """A store that is out while ``problem`` is set."""

    out = False

    def write(self, frame: Frame) -> bool:
        self.problem = "disk: No space left on device" if self.out else ""
        return super().write(frame) if not self.out else False


def test_what_the_store_does_not_take_is_a_gap_when_it_does_again(proxy: Proxy) -> None:
    proxy.opens()
    writer = proxy.recorder._writer
    writer.__class__ = Refusing
    proxy.says(*SAYS[2])
    writer.out = True  # type: ignore[attr-defined]  # of the class above
    sizes = [len(frame(1, text.encode(), mask=mask_of(side))) for side, text in SAYS[3:6]]
    for side, text in SAYS[3:6]:
        proxy.says(side, text)
    proxy.recorder.ended("c1", {}, *proxy.clocks())
    writer.out = False  # type: ignore[attr-defined]  # of the class above
    writer.problem = ""
    proxy.tick()
    summary = proxy.finish()
    frames = proxy.told()
    gaps = [
        (seen.sender, seen.facts["reason"], seen.facts["chunks"]) for seen in frames if seen.kind is Kind.GAP
    ]
    assert gaps == [(Side.CSMS, "disk", 2), (Side.STATION, "disk", 1)]
    assert sum(seen.facts["bytes"] for seen in frames if seen.kind is Kind.GAP) == sum(sizes)
    assert frames[-1].kind is Kind.END
    assert summary.dropped_chunks == {"disk": 3}
    assert summary.exact


def test_books_without_their_drop_counter_do_not_balance(proxy: Proxy) -> None:
    """The sum is worth something: leave one drop uncounted, and it shows."""
    proxy.opens()
    proxy.says(*SAYS[2])
    proxy.recorder.lost("c1", Side.CSMS, "queue_full", 3, 400, *proxy.clocks())
    summary = proxy.finish()
    assert summary.exact
    assert not msgspec.structs.replace(summary, dropped_chunks={}).exact
    assert not msgspec.structs.replace(summary, dropped_bytes={"queue_full": 399}).exact


# ---- live equals offline

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("says"), st.sampled_from(SAYS)),
        st.tuples(st.just("tick"), st.just(None)),
        st.tuples(st.just("wait"), st.sampled_from((0, 1, 29, 30, 31, 61, 400))),
        st.tuples(st.just("clock"), st.sampled_from((-3600, -40, 40))),
        st.tuples(st.just("lost"), st.sampled_from(list(Side))),
        st.tuples(st.just("ends"), st.just(None)),
    ),
    max_size=14,
)
type Steps = list[tuple[str, object]]


def same(
    steps: Steps, analyzer: Callable[[], Analyzer] = Analyzer, recorder: type[Recorder] = Recorder
) -> bool:
    """Whether a recording driven by ``steps`` found live what the sound analyzer finds in its capture."""
    with TemporaryDirectory() as folder:
        proxy = Proxy(Path(folder), analyzer())
        proxy.recorder.__class__ = recorder
        step_ns = 0
        proxy.opens()
        for what, value in steps:
            if what == "says":
                proxy.says(*value)  # type: ignore[misc]  # the pair that belongs to "says"
            elif what == "tick":
                proxy.tick()
            elif what == "wait":
                proxy.now_ns += int(str(value)) * SECOND
            elif what == "clock":
                step_ns += int(str(value)) * SECOND
                proxy.clocks = lambda step=step_ns: (WALL_NS + step + proxy.now_ns, proxy.now_ns)  # type: ignore[method-assign, misc]  # the host's clock was set
            elif what == "lost":
                proxy.recorder.lost("c1", Side(str(value)), "queue_full", 1, 10, *proxy.clocks())
            else:
                proxy.recorder.ended("c1", {}, *proxy.clocks())
        proxy.finish()
        return proxy.live() == offline(proxy.frames())


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_live_findings_equal_offline_ones(steps: Steps) -> None:
    assert same(steps)


class LateTimers(Analyzer):
    """Without decision 1: a frame does not fire the timers that were due before it."""

    def steps(self, frame: Frame) -> list[Step]:
        self.seen_us = max(self.seen_us, frame.at_us)
        return self._steps_of_link(frame)


class WokenStamps(Analyzer):
    """Without decision 2: a time-out is stamped with the moment somebody woke up."""

    def timer_steps(self, now_us: int) -> list[Step]:
        return [
            msgspec.structs.replace(step, event=msgspec.structs.replace(step.event, at_us=now_us))
            for step in super().timer_steps(now_us)
        ]


class Unstamped(Recorder):
    """Without decision 3: a frame may be stamped earlier than the last wake-up of the analyzer."""

    def _stamp_us(self, wall_ns: int) -> int:
        return max(wall_ns // 1000, self._at_us)


UNANSWERED: Steps = [("says", SAYS[2]), ("wait", 61)]
TOO_LATE: Steps = [*UNANSWERED, ("says", SAYS[3])]
BACKWARD: Steps = [*UNANSWERED, ("tick", None), ("clock", -3600), ("says", SAYS[3])]


@pytest.mark.parametrize(
    ("steps", "analyzer", "recorder"),
    [
        (TOO_LATE, LateTimers, Recorder),
        ([*UNANSWERED, ("wait", 1), ("tick", None)], WokenStamps, Recorder),
        (BACKWARD, Analyzer, Unstamped),
    ],
)
def test_each_of_the_three_decisions_is_needed(
    steps: Steps, analyzer: type[Analyzer], recorder: type[Recorder]
) -> None:
    assert same(steps)
    assert not same(steps, analyzer, recorder)
