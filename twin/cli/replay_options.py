"""The options of twin replay and twin diff as typer sees them; what they do is imported when it is done."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


class As(StrEnum):
    """The side that is played."""

    STATION = "station"
    CSMS = "csms"


class Miss(StrEnum):
    """What a live CALL gets that no recording covers."""

    STRICT = "strict"
    LENIENT = "lenient"
    EXTEND = "extend"


class Times(StrEnum):
    """Whether messages may be late."""

    AUTO = "auto"
    COMPARE = "compare"
    IGNORE = "ignore"


class PayloadTime(StrEnum):
    """What becomes of the times inside payloads."""

    SHIFT = "shift"
    KEEP = "keep"


def replay(
    captures: Annotated[list[Path], typer.Argument(help="Captures of any format; each is a session.")],
    as_: Annotated[As, typer.Option("--as", help="The side to play.")] = As.STATION,
    csms: Annotated[
        str | None, typer.Option(help="Live CSMS, ws://HOST:PORT[/path]. Default: the recorded one.")
    ] = None,
    listen: Annotated[str, typer.Option(help="With --as csms: HOST:PORT to listen on.")] = "127.0.0.1:0",
    to: Annotated[
        str | None, typer.Option(metavar="recorded", help="Play the recorded other side too, in process.")
    ] = None,
    station_id: Annotated[str | None, typer.Option(help="Identity to connect with instead.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="HTTP Basic password of the station; or TWIN_STATION_PASSWORD.")
    ] = None,
    map_: Annotated[
        Path | None, typer.Option("--map", help="TOML: [stations] [tags] [passwords], recorded = live.")
    ] = None,
    needs: Annotated[
        bool, typer.Option("--needs", help="Print what the CSMS must know; play nothing.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent.")] = False,
    explain: Annotated[
        str | None, typer.Option(metavar="ACTION/PATH", help="Which rule compares a field.")
    ] = None,
    stimulus: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND", help="Makes the CSMS send a recorded CALL; gets it as JSON on stdin."
        ),
    ] = None,
    require_stimuli: Annotated[
        bool, typer.Option("--require-stimuli", help="Fail where a recorded CALL could not be stimulated.")
    ] = False,
    expect_calls: Annotated[
        bool, typer.Option(help="The live CSMS will send the recorded CALLs; wait for them.")
    ] = False,
    timing: Annotated[
        str, typer.Option(help="causal, original, xN (N times as fast), max-gap=SECONDS, or virtual.")
    ] = "causal",
    payload_time: Annotated[
        PayloadTime, typer.Option(help="shift: times in payloads move with their message. keep: as recorded.")
    ] = PayloadTime.SHIFT,
    policy: Annotated[
        Miss, typer.Option(help="A live CALL that nothing covers: an error, a model's answer, or a new line.")
    ] = Miss.STRICT,
    matchers: Annotated[
        Path | None, typer.Option(help="TOML with [[match]] rules: how fields are compared (docs/replay.md).")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="Known divergences: only new ones fail.")] = None,
    write_baseline: Annotated[Path | None, typer.Option(help="Keep what diverges now as known.")] = None,
    gate_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds of silence after which nothing is waited for any longer.")
    ] = 30.0,
    late: Annotated[float, typer.Option(min=0.0, help="Seconds by which something may be late.")] = 5.0,
    prologue: Annotated[
        bool, typer.Option(help="A capture that begins in the middle gets a boot and its starts first.")
    ] = True,
    workers: Annotated[int, typer.Option(min=1, max=64, help="So many sessions at once.")] = 1,
    allow: Annotated[
        list[str] | None, typer.Option(help="HOST:PORT that is not loopback and may be used.")
    ] = None,
    dangerous: Annotated[
        list[str] | None,
        typer.Option(metavar="ACTION", help="With --as csms: what the station may be made to do."),
    ] = None,
    unsealed: Annotated[
        bool, typer.Option("--unsealed", help="Replay also a capture that was altered since it was written.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report as one page.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Keep the new captures here.")] = None,
    json: Json = False,
) -> None:
    """Play one side of captures and compare what happens with what was recorded.

    Examples: twin replay site-a.capture; twin replay site-a.capture --csms ws://127.0.0.1:8180/ocpp;
    twin replay night/* --csms ws://127.0.0.1:8180/ocpp --workers 4 --baseline known.json --html night.html
    """
    from twin.cli import replay as verb

    if needs:
        raise typer.Exit(verb.needs(captures, as_json=json))
    if explain is not None:
        raise typer.Exit(verb.explain(explain, matchers))
    options = verb.Options(
        as_=as_.value,
        to=to,
        csms=csms,
        listen=listen,
        station_id=station_id,
        password_file=password_file,
        expect_calls=expect_calls,
        stimulus=stimulus,
        require_stimuli=require_stimuli,
        timing=timing,
        payload_time=payload_time.value,
        policy=policy.value,
        gate_timeout=gate_timeout,
        late=late,
        prologue=prologue,
        map=map_,
        matchers=matchers,
        baseline=baseline,
        write_baseline=write_baseline,
        workers=workers,
        allow=tuple(allow or ()),
        dangerous=tuple(dangerous or ()),
        unsealed=unsealed,
        html=html,
        junit=junit,
        output=output,
        as_json=json,
    )
    raise typer.Exit(verb.dry_run(captures, options) if dry_run else verb.replay(captures, options))


def diff(
    recorded: Annotated[Path, typer.Argument(help="A capture of any format.")],
    replayed: Annotated[Path, typer.Argument(help="Another one.")],
    matchers: Annotated[
        Path | None, typer.Option(help="TOML with [[match]] rules: how fields are compared (docs/replay.md).")
    ] = None,
    times: Annotated[
        Times, typer.Option(help="auto: compared if both captures took the same time.")
    ] = Times.AUTO,
    late: Annotated[float, typer.Option(min=0.0, help="Seconds by which something may be late.")] = 5.0,
    shrink: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Cut the first divergence down to a short test.")
    ] = None,
    learn: Annotated[
        bool,
        typer.Option("--learn", help="Two runs of the same: propose rules for what differs; apply none."),
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report as one page.")] = None,
    json: Json = False,
) -> None:
    """Compare two captures stream by stream; ids and times that must differ do not count.

    Examples: twin diff before.capture after.capture; twin diff a b --shrink tests/regressions/lost-stop;
    twin diff monday.capture tuesday.capture --learn > proposal.toml
    """
    from twin.cli import diff as verb

    raise typer.Exit(
        verb.diff(
            recorded,
            replayed,
            matchers=matchers,
            times=times.value,
            late=late,
            shrink_to=shrink,
            learned=learn,
            html=html,
            as_json=json,
        )
    )
