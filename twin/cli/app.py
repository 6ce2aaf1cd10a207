"""The verbs as typer sees them: options, help with examples; heavy imports only inside."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from twin import __version__
from twin.cli.replay_options import As, Json, diff, replay

app = typer.Typer(
    name="twin",
    help="Record, check, replay and model the OCPP 1.6-J traffic of a charging station.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class FailOn(StrEnum):
    """The mildest severity that makes the exit code 1."""

    ERROR = "error"
    WARNING = "warning"
    DRIFT = "drift"
    NOTE = "note"


class Mode(StrEnum):
    """How a station's traffic comes here."""

    REVERSE = "reverse"
    TRANSPARENT = "transparent"


class OnQuota(StrEnum):
    """What gives way when a capture has reached its quota."""

    DELETE_OLDEST = "delete-oldest"
    STOP = "stop"


class Context(StrEnum):
    """Where traffic comes from."""

    FIELD = "field"
    LAB = "lab"


Capture = Annotated[Path, typer.Argument(help="A capture of any format.", metavar="CAPTURE")]
Format = Annotated[str | None, typer.Option("--format", help="Insist on a format instead of sniffing.")]
Timezone = Annotated[
    str | None, typer.Option("--log-timezone", help="Time zone of a text log, such as Europe/Berlin.")
]
LoggedBy = Annotated[As | None, typer.Option("--logged-by", help="The side that wrote a text log.")]
Profile = Annotated[
    str | None,
    typer.Option(
        help="octoflex-otm-k, spec, or a certificate's TOML file. Default: what BootNotification identifies."
    ),
]
Fail = Annotated[FailOn, typer.Option("--fail-on", help="Exit 1 from this severity upward.")]


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"twin {__version__}\n")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Exit codes: 0 clean, 1 findings or divergence, 2 usage, 3 unreadable, 4 refused, 70 internal error."""


@app.command()
def record(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Capture directory, new or one to go on with.")
    ],
    upstream: Annotated[
        list[str] | None,
        typer.Option(help="The CSMS: ws://HOST:PORT or wss://HOST:PORT. Again for each further --listen."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(help="HOST:PORT for stations; port 0 takes a free one. [default: 127.0.0.1:9000]"),
    ] = None,
    passive: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Follow the pcap ring of dumpcap or tcpdump instead: nothing in the path."
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="With --passive: read what is there, then end.")
    ] = False,
    mode: Annotated[
        Mode, typer.Option(help="reverse: stations are pointed here. transparent: the kernel redirects them.")
    ] = Mode.REVERSE,
    interactive: Annotated[
        bool, typer.Option("--interactive", help="mitmweb on 127.0.0.1, in WebSocket mode: not byte-exact.")
    ] = False,
    heartbeat: Annotated[
        int, typer.Option(min=1, help="Longest silence of a healthy station, in seconds.")
    ] = 14_400,
    key_file: Annotated[
        Path | None, typer.Option(help="Pseudonym key; made on first use, to be kept secret.")
    ] = None,
    keep_id_tags: Annotated[
        bool, typer.Option(help="Store idTags and serials as they are (you must be allowed to).")
    ] = False,
    segment_mib: Annotated[int, typer.Option(min=1, help="A new segment after so many MiB.")] = 64,
    segment_minutes: Annotated[float, typer.Option(min=0.01, help="A new segment after so long.")] = 60,
    quota_mib: Annotated[int, typer.Option(min=0, help="Most that a capture may hold; 0: no limit.")] = 0,
    on_quota: Annotated[
        OnQuota, typer.Option(help="At the quota: delete the oldest sealed segment, or stop recording.")
    ] = OnQuota.DELETE_OLDEST,
    compress: Annotated[bool, typer.Option("--compress", help="Sealed segments as .zst.")] = False,
    seal_key: Annotated[
        Path | None, typer.Option(help="Key that seals segments; made on first use, to be kept secret.")
    ] = None,
    no_seal: Annotated[bool, typer.Option("--no-seal", help="Leave segments unsealed.")] = False,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM with key that stations are shown; TLS is then required of them.")
    ] = None,
    client_ca: Annotated[
        Path | None, typer.Option(help="PEM of the CA whose certificate a station must show (profile 3).")
    ] = None,
    client_allow: Annotated[
        Path | None, typer.Option(help="File of the stations let in, one a line; see docs/tls.md.")
    ] = None,
    upstream_ca: Annotated[
        Path | None, typer.Option(help="PEM of the CA that the CSMS must chain to. [default: the system's]")
    ] = None,
    upstream_certificates: Annotated[
        Path | None, typer.Option(help="PEM with key for the CSMS, or a folder of STATION.pem.")
    ] = None,
    plain_stations: Annotated[
        bool, typer.Option("--plain-stations", help="Stations may speak ws although the CSMS speaks wss.")
    ] = False,
    accept_insecure: Annotated[
        bool,
        typer.Option("--i-accept-insecure-upstream", help="Do not verify the CSMS: a lab at most."),
    ] = False,
    profile: Profile = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="An option of mitmproxy, such as certs=*=site.pem.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No view and no line per finding.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of the view.")] = False,
    preflight: Annotated[
        bool, typer.Option("--preflight", help="Look at what could go wrong, say what to do, and end.")
    ] = False,
    stations: Annotated[int, typer.Option(min=1, help="With --preflight: how many are expected.")] = 100,
    bypass: Annotated[
        str, typer.Option(metavar="COMMAND", help="With --preflight: how stations go round a dead host.")
    ] = "",
    json: Json = False,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve Prometheus /metrics, to this host only.")
    ] = None,
    fail_on: Fail = FailOn.ERROR,
) -> None:
    """Start the relay between station and CSMS, record byte for byte, check live.

    Limits, true of any terminating proxy: a restart drops live sockets and stations reconnect; an RST becomes
    a FIN; TLS is ended and started anew; segmentation and segment timing change; a dead host is a dead path.

    Examples: twin record --upstream ws://csms.local:8180 --listen 0.0.0.0:9000 -o site-a.capture;
    twin record --passive ring -o site-a.capture
    """
    from twin.cli import passive as beside
    from twin.cli import record as verb
    from twin.io.settings import Settings, Store, Tls

    def whole(path: Path | None) -> str:
        return str(path.absolute()) if path else ""

    tls = (tls_certificate, client_ca, client_allow, upstream_ca, upstream_certificates)
    if passive is not None and any((upstream, listen, interactive, set_, mode is not Mode.REVERSE, *tls)):
        raise typer.BadParameter("--passive reads a ring: it has no listener, upstream, TLS or proxy option")
    if once and passive is None:
        raise typer.BadParameter("--once goes with --passive")
    settings = Settings(
        directory=str(output),
        routes=verb.routes_of(mode.value, upstream or [], listen or ["127.0.0.1:9000"])
        if passive is None
        else (),
        mode=mode.value if passive is None else "passive",
        websocket=interactive,
        key_file=str(key_file or ""),
        keep_id_tags=keep_id_tags,
        profile=profile or "",
        fail_on=fail_on.value,
        heartbeat_s=heartbeat,
        tls=Tls(
            certificate=whole(tls_certificate),
            client_ca=whole(client_ca),
            client_allow=whole(client_allow),
            upstream_ca=whole(upstream_ca),
            upstream_certificates=whole(upstream_certificates),
            accept_insecure_upstream=accept_insecure,
            plain_stations=plain_stations,
        ),
        store=Store(
            segment_bytes=segment_mib << 20,
            segment_s=segment_minutes * 60,
            quota_bytes=quota_mib << 20,
            on_quota=on_quota.value,
            compress=compress,
            seal_key="" if no_seal else whole(seal_key) or verb.default_seal_key(key_file),
        ),
        view="quiet" if quiet else "plain" if plain else "auto",
        metrics=metrics or "",
        proxy_options=tuple(set_ or ()),
    )
    if preflight:
        from twin.cli import preflight as before

        code = before.preflight(settings, stations=stations, bypass=bypass, as_json=json)
        raise typer.Exit(code)
    if passive is None:
        verb.record(settings)
    beside.starter(passive, once=once)(settings)


@app.command()
def show(
    capture: Annotated[
        Path | None, typer.Argument(help="A capture of any format.", metavar="CAPTURE")
    ] = None,
    certificate: Annotated[bool, typer.Option("--certificate", help="Print the certified profile.")] = False,
    frames: Annotated[bool, typer.Option("--frames", help="Also every frame, a line each.")] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Also what is inferred: plugs, tags, unplugs, power, link loss.")
    ] = False,
    tag: Annotated[
        str | None, typer.Option(help="The transactions of this idTag, found by its pseudonym too.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="With --tag: the pseudonym key of the recording.")
    ] = None,
    format: Format = None,  # noqa: A002  # the option's own name
    log_timezone: Timezone = None,
    logged_by: LoggedBy = None,
    json: Json = False,
) -> None:
    """What is in a capture: messages, links, stations, time span, lines that gave nothing.

    Examples: twin show site-a.capture; twin show evcc.log --json; twin show --certificate;
    twin show site-a.capture --events; twin show site-a.capture --tag 04A2B3C4D5E680
    """
    from twin.cli import show as verb

    if certificate:
        verb.show_certificate(as_json=json)
    elif capture is None:
        raise typer.BadParameter("name a capture, or ask for --certificate")
    elif tag is not None:
        from twin.cli import customer

        side = logged_by.value if logged_by else None
        customer.show_tag(
            capture, tag, key_file, as_json=json, format=format, log_timezone=log_timezone, logged_by=side
        )
    else:
        verb.show(
            capture,
            frames=frames,
            events=events,
            format=format,
            log_timezone=log_timezone,
            logged_by=logged_by.value if logged_by else None,
            as_json=json,
        )


@app.command()
def check(
    captures: Annotated[
        list[Path] | None, typer.Argument(help="Captures of any format.", metavar="CAPTURE")
    ] = None,
    profile: Profile = None,
    tolerances: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML whose table [tolerances] replaces limits' slack."),
    ] = None,
    context: Annotated[
        Context, typer.Option(help="lab: a test tool writes its own configuration, which is no drift.")
    ] = Context.FIELD,
    fail_on: Fail = FailOn.ERROR,
    select: Annotated[
        list[str] | None, typer.Option(metavar="RULES", help="Only these rules: ids or prefixes, T,M001.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="RULES", help="Not these rules: ids or prefixes.")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The --json of an earlier run: only new findings count."),
    ] = None,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Print the certificate beside the traffic, row by row.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the certificate sheet as one page, to print and sign."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write JUnit XML, a test case a rule.")
    ] = None,
    explain: Annotated[
        str | None, typer.Option(metavar="RULE", help="Say what a rule holds, where it stands, and end.")
    ] = None,
    list_rules: Annotated[bool, typer.Option("--list-rules", help="List every rule and end.")] = False,
    cases: Annotated[
        bool, typer.Option("--cases", help="Which OCTT Core cases are in the traffic: our reading of each.")
    ] = False,
    explain_silence: Annotated[
        bool,
        typer.Option("--explain-silence", help="Why the other rules said nothing: asked, unknown, content."),
    ] = False,
    integrity: Annotated[
        bool,
        typer.Option("--integrity", help="Is it what was written? Chain, seals, manifest; exit 3 if not."),
    ] = False,
    seal_public_key: Annotated[
        list[str] | None, typer.Option(help="With --integrity: whose seals count, 64 hex digits or a file.")
    ] = None,
    format: Format = None,  # noqa: A002  # the option's own name
    log_timezone: Timezone = None,
    logged_by: LoggedBy = None,
    json: Json = False,
) -> None:
    """Check a capture against the schemas, the specification and the certified configuration.

    Examples: twin check site-a.capture; twin check evcc.log --profile spec --fail-on warning --json;
    twin check monday.capture tuesday.capture --html sheet.html --junit check.xml;
    twin check site-a.capture --select T,M --ignore M007; twin check new.capture --baseline old.json;
    twin check site-a.capture --cases; twin check site-a.capture --explain-silence; twin check --explain T015;
    twin check --integrity site-a.capture
    """
    from twin.cli import check as verb

    if list_rules:
        verb.list_rules(as_json=json)
        return
    if explain is not None:
        verb.explain(explain, as_json=json)
        return
    if not captures:
        raise typer.BadParameter("name a capture, or ask for --list-rules or --explain RULE")
    if integrity:
        if len(captures) > 1:
            raise typer.BadParameter("--integrity takes one capture at a time")
        from twin.cli import integrity as verb_integrity

        raise typer.Exit(verb_integrity.check(captures[0], public_keys=seal_public_key or [], as_json=json))
    options = verb.Options(
        profile=profile,
        tolerances=tolerances,
        lab=context is Context.LAB,
        fail_on=fail_on.value,
        select=tuple(select or ()),
        ignore=tuple(ignore or ()),
        baseline=baseline,
        html=html,
        junit=junit,
        sheet=sheet,
        cases=cases,
        explain_silence=explain_silence,
        as_json=json,
        format=format,
        log_timezone=log_timezone,
        logged_by=logged_by.value if logged_by else None,
    )
    raise typer.Exit(verb.check(captures, options))


@app.command()
def convert(
    capture: Capture,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="New directory, or a .jsonl, .csv or .parquet file.")
    ],
    to: Annotated[
        str | None,
        typer.Option(help="capture, open-ocpp-trace, csv or parquet. Default: by the output's name."),
    ] = None,
    table: Annotated[
        str, typer.Option(help="As csv or parquet: frames, or a table of the analysis (docs/formats.md).")
    ] = "frames",
    proof: Annotated[
        str | None,
        typer.Option(metavar="FROM-TO", help="Only these seq, each proven by the seal, as one file."),
    ] = None,
    format: Format = None,  # noqa: A002  # the option's own name
    log_timezone: Timezone = None,
    logged_by: LoggedBy = None,
    json: Json = False,
) -> None:
    """Convert any format to our capture (a directory), open-ocpp-trace v1.1, CSV or Parquet.

    Every line that could not be used is reported; a damaged frame is kept and marked. Exit 1: something that
    looked like a frame could not be read.

    Examples: twin convert steve.log -o steve.capture; twin convert site-a.capture -o site-a.jsonl;
    twin convert site-a.capture -o meter.parquet --table meter; xclip -o | twin convert - -o pasted.capture
    """
    from twin.cli import convert as verb

    if proof is not None:
        verb.prove(capture, output, proof)
        return
    raise typer.Exit(
        verb.convert(
            capture,
            output,
            to=to,
            table=table,
            format=format,
            log_timezone=log_timezone,
            logged_by=logged_by.value if logged_by else None,
            as_json=json,
        )
    )


app.command()(replay)
app.command()(diff)


@app.command()
def run(
    csms: Annotated[
        str | None,
        typer.Option(
            help="ws://HOST:PORT/PATH; the id is added, or stands where {id} does. Default: one of ours."
        ),
    ] = None,
    id: Annotated[str, typer.Option("--id", help="The station's id.")] = "OTMK-0001",  # noqa: A002  # the option's own name
    connectors: Annotated[int, typer.Option(min=1, max=20, help="How many connectors it has.")] = 20,
    scenario: Annotated[
        str | None, typer.Option(help="What happens to it: TOML, Python, or evening, commuters.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random in it.")] = 1,
    quirks: Annotated[
        str | None, typer.Option(help="What it does wrong: names with commas, or a file. See --list-quirks.")
    ] = None,
    variant: Annotated[str, typer.Option(help="certified, cache-offline or ups.")] = "certified",
    behaviour: Annotated[
        Path | None, typer.Option(help="TOML: answers to the ambiguities, and timing (docs/station.md).")
    ] = None,
    speed: Annotated[float, typer.Option(min=0.1, max=1000, help="How fast its clock runs.")] = 1.0,
    fleet: Annotated[int, typer.Option(min=1, max=10_000, help="So many stations, ID-0001 and on.")] = 1,
    picows: Annotated[
        bool, typer.Option("--picows", help="Connect by picows, which is faster (extra scale).")
    ] = False,
    spread: Annotated[float | None, typer.Option(help="Seconds over which a fleet is switched on.")] = None,
    for_: Annotated[float | None, typer.Option("--for", help="End after so many seconds.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder for what survives a power cut, one file a station.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Keep a capture.")] = None,
    page: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve the station's page, loopback only.")
    ] = None,
    list_quirks: Annotated[bool, typer.Option("--list-quirks", help="What a station can do wrong.")] = False,
    json: Json = False,
) -> None:
    """The certified station, live, against any CSMS. TWIN_STATION_PASSWORD holds a Basic password.

    Examples: twin run --csms ws://127.0.0.1:9000/ocpp --id OTMK-0001 --scenario evening;
    twin run --page 127.0.0.1:8600; twin run --csms ws://127.0.0.1:9000 --fleet 200 --for 60
    """
    from twin.cli import run as verb

    if list_quirks:
        verb.list_quirks(as_json=json)
        return
    options = verb.Options(
        csms=csms,
        station_id=id,
        connectors=connectors,
        scenario=scenario,
        seed=seed,
        quirks=quirks,
        variant=variant,
        behaviour=behaviour,
        speed=speed,
        fleet=fleet,
        picows=picows,
        spread_s=spread,
        for_s=for_,
        state=state,
        output=output,
        page=page,
        as_json=json,
    )
    raise typer.Exit(verb.run(options))


@app.command()
def certify(
    virtual: Annotated[
        bool, typer.Option("--virtual", help="Against the model on a virtual clock; the default.")
    ] = False,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Live: be the CSMS of a station that connects.")
    ] = None,
    model: Annotated[
        bool, typer.Option("--model", help="Live: our model connects over a loopback socket.")
    ] = False,
    hands: Annotated[
        str | None,
        typer.Option(metavar="COMMAND", help="Live: run it for each physical step instead of asking."),
    ] = None,
    case: Annotated[
        list[str] | None, typer.Option(help="Only this case, such as TC_012; repeatable.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="certified, cache-offline or ups. Default: the first that fits a case.")
    ] = None,
    interval: Annotated[
        list[str] | None, typer.Option(metavar="KEY=SECONDS", help="Written before each case; repeatable.")
    ] = None,
    quirk: Annotated[
        list[str] | None, typer.Option(help="What the model does wrong; see twin run --list-quirks.")
    ] = None,
    connectors: Annotated[int, typer.Option(min=1, max=20, help="Connectors of the model.")] = 20,
    seed: Annotated[int, typer.Option(help="Of everything random in the model.")] = 1,
    speed: Annotated[float, typer.Option(min=0.1, max=1000, help="With --model: how fast time runs.")] = 1.0,
    html: Annotated[Path | None, typer.Option(help="Write the filled-in certificate as one page.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML, a test case each.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Keep the traffic.")] = None,
    json: Json = False,
) -> None:
    """Drive our reading of the OCTT Core cases. It is no OCTT, and nothing here passes one.

    Examples: twin certify --virtual; twin certify --case TC_036 --interval MeterValueSampleInterval=7;
    twin certify --quirk unlocks; twin certify --listen 127.0.0.1:9000 --html sheet.html
    """
    from twin.cli import certify as verb

    if virtual and (listen or model):
        raise typer.BadParameter("--virtual needs no socket: leave --listen and --model out")
    options = verb.Options(
        listen=listen,
        model=model,
        hands=hands,
        cases=tuple(case or ()),
        variant=variant,
        intervals=tuple(interval or ()),
        quirks=tuple(quirk or ()),
        connectors=connectors,
        seed=seed,
        speed=speed,
        html=html,
        junit=junit,
        output=output,
        as_json=json,
    )
    raise typer.Exit(verb.certify(options))
