"""twin certify: our reading of the Core test cases, against the model or against a station that connects."""

import asyncio
import contextlib
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from twin.certificate.case_words import Case
from twin.certificate.cases import CASES, case_named
from twin.cli.common import FINDINGS, USAGE, fail, note, say, say_json
from twin.engine.case_hands import ModelHands, lacks, variant_for
from twin.engine.case_verdict import Verdict
from twin.engine.cases import CaseResult
from twin.engine.certify import (
    STATION_ID,
    CaseVerdict,
    Driven,
    Examined,
    certify_virtually,
    joined,
    not_applicable,
)
from twin.engine.checked import check_frames
from twin.engine.observed import Observer
from twin.engine.sheet import sheet
from twin.engine.station import PROFILES, QUIRKS, Behaviour
from twin.io.capture import write_capture
from twin.io.driver import Pace
from twin.io.examining import CommandHands, LiveExamination, People
from twin.io.running import LiveStation, Plan
from twin.io.websocket import listen, url_of
from twin.report import examined as report


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of ``twin certify``, by the names of its options."""

    listen: str | None = None
    model: bool = False
    hands: str | None = None
    cases: tuple[str, ...] = ()
    variant: str | None = None
    intervals: tuple[str, ...] = ()
    quirks: tuple[str, ...] = ()
    connectors: int = 20
    seed: int = 1
    speed: float = 1.0
    html: Path | None = None
    junit: Path | None = None
    output: Path | None = None
    as_json: bool = False


def certify(options: Options) -> int:
    """Drive the cases and say how they went; 1 where one failed or could not be decided."""
    if options.output is not None and options.output.exists():
        raise fail(f"{options.output} exists: a capture is never appended to", USAGE)
    cases, intervals, variants = _cases(options.cases), _intervals(options.intervals), _variants(options)
    live = options.listen is not None or options.model
    driven: list[Driven] = []

    def told(one: Driven) -> None:
        driven.append(one)
        if not options.as_json:
            say(report.line(one.examined))

    if live:
        asyncio.run(_live(options, cases, intervals, variants, told))
    else:
        seeded = random.Random(options.seed).random  # noqa: S311  # a seeded station, no secret
        for one in certify_virtually(cases, variants=variants, intervals=intervals, random=seeded):
            told(one)
    examined = [one.examined for one in driven]
    if options.as_json:
        say_json(report.as_json(examined))
    else:
        say(f"\n{report.closing(examined)}")
    _keep(options, driven, live=live)
    undecided = (CaseVerdict.FAILED, CaseVerdict.INCONCLUSIVE)
    return FINDINGS if any(one.verdict in undecided for one in examined) else 0


async def _live(
    options: Options,
    cases: Sequence[Case],
    intervals: Mapping[str, int],
    variants: Mapping[str, Behaviour],
    told: Callable[[Driven], None],
) -> None:
    """Against a station that connects, or (``--model``) our own over a loopback socket."""
    name, behaviour = next(iter(variants.items()))  # a station that connects is one variant
    for case in cases:
        if lacks(case, behaviour) or not variant_for(case, {name: behaviour}):
            told(Driven(examined=not_applicable(case, {name: behaviour})))
    asked = [case for case in cases if variant_for(case, {name: behaviour})]
    pace = Pace(options.speed)
    model: list[LiveStation] = []
    hands: ModelHands | People | CommandHands
    if options.model:
        hands = ModelHands(
            lambda act, now_us: model[0].act(act),
            lambda act, at_us: model[0].act_at(act, at_us),
            behaviour.connectors,
        )
    else:
        hands = CommandHands(options.hands, note) if options.hands else People(note)
    examination = LiveExamination(
        asked,
        hands,
        pace,
        intervals=intervals,
        variant=name,
        told=told,
        began=lambda case: note(f"-- {case.id} {case.name}"),
    )
    if isinstance(hands, People | CommandHands):
        hands.wake = examination.wake
    host, port = _address(options.listen or "127.0.0.1:0")
    try:
        server = await listen(host, port, examination.peer_of)
    except OSError as error:
        raise fail(f"cannot listen on {options.listen}: {error.strerror or error}", USAGE) from error
    ending = asyncio.ensure_future(examination.done.wait())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ending.cancel)
    note(f"listening {server.url}: point the station here; its id ends the URL")
    if options.model:
        url = url_of(server.url, STATION_ID)
        plan = Plan(station_id=STATION_ID, url=url, behaviour=behaviour, seed=options.seed)
        model.append(LiveStation(plan, pace))
        model[0].start()
    with contextlib.suppress(asyncio.CancelledError):
        await ending
    for case in asked[examination.finished :]:
        verdict = CaseVerdict.INCONCLUSIVE
        told(Driven(examined=Examined(case_id=case.id, name=case.name, verdict=verdict, why="interrupted")))
    for station in model:
        station.stop()
    examination.stop()
    server.close()
    await asyncio.sleep(0.05)  # the Close frames leave


def _cases(names: Sequence[str]) -> tuple[Case, ...]:
    chosen = []
    for name in names:
        case = case_named(name.upper())
        if case is None:
            raise fail(f"no case {name!r}; there are {', '.join(case.id for case in CASES)}", USAGE)
        chosen.append(case)
    return tuple(chosen) or CASES


def _intervals(written: Sequence[str]) -> dict[str, int]:
    intervals = {}
    for one in written:
        key, _, seconds = one.partition("=")
        if not seconds.isdecimal() or not key:
            raise fail(f"--interval {one}: expected KEY=SECONDS", USAGE)
        intervals[key] = int(seconds)
    return intervals


def _variants(options: Options) -> dict[str, Behaviour]:
    """The variants of the station that cases may ask for, with what was asked of all of them."""
    if options.variant is not None and options.variant not in PROFILES:
        raise fail(f"--variant {options.variant}: there are {', '.join(PROFILES)}", USAGE)
    names = [options.variant] if options.variant else list(PROFILES)
    if unknown := sorted(set(options.quirks) - QUIRKS.keys()):
        raise fail(f"no quirk {', '.join(unknown)}; twin run --list-quirks names them", USAGE)
    more = {"quirks": frozenset(options.quirks), "connectors": options.connectors}
    return {name: msgspec.structs.replace(PROFILES[name], **more) for name in names}


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise fail(f"--listen {text}: expected HOST:PORT", USAGE)
    return host.strip("[]"), int(port)


def _keep(options: Options, driven: Sequence[Driven], *, live: bool) -> None:
    """The files that were asked for: capture, JUnit, and the certificate beside what was seen."""
    if options.junit is not None:
        _write("--junit", options.junit, report.as_junit([one.examined for one in driven]))
    if options.output is None and options.html is None:
        return
    frames = [frame for one in driven for frame in one.frames] if live else joined(driven)
    if options.output is not None:
        write_capture(frames, options.output, vantage="csms" if live else "simulated")
    if options.html is None:
        return
    from twin.report.sheet_html import page

    observer = Observer()
    observer.begin(0)
    checked = check_frames("twin certify", frames, observer)
    checked.cases = [
        CaseResult(
            case_id=one.examined.case_id,
            verdict=Verdict(one.examined.verdict.value.replace("-", " ")),
            why=one.examined.why,
            station=next(iter(observer.stations), STATION_ID),
        )
        for one in driven
    ]
    observer.end()
    sheets = [sheet(seen.profile.certificate, seen, checked.findings) for seen in observer.stations.values()]
    against = "a station that connected" if live and not options.model else "our model of the station"
    remarks = [f"Driven by twin certify against {against}: {report.READING}."]
    _write("--html", options.html, page([checked], observer, sheets, remarks))


def _write(option: str, path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise fail(f"{option} {path}: {error.strerror or error}", USAGE) from error
