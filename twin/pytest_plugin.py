"""pytest plugin: captures as tests, and replays for tests of a project's own (docs/ci.md).

pytest loads this module in every project that has us installed: nothing of ours is imported, and nothing is
read or opened, before an option or a fixture asks for it.
"""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from twin.io.replaying import Hook
    from twin.pytest_replay import Comparing, Replaying, Replays, Session

_MARKER = (
    "ocpp(timing=…, policy=…, …): how this test's replays are played; the names are those of ocpp_replay"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ocpp", "OCPP captures as tests (octoflex-twin)")
    add = group.addoption
    add(
        "--ocpp-capture",
        action="append",
        default=[],
        metavar="PATH",
        help="Capture, or folder of captures: a test for each of its transactions, and for the rest.",
    )
    add(
        "--csms",
        dest="ocpp_csms",
        metavar="URL",
        help="Live CSMS, ws://HOST:PORT[/path]. Default: the recorded one, in process.",
    )
    add(
        "--ocpp-allow",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="What --csms may name besides this machine; for good: [tool.ocpp] allow in pyproject.toml.",
    )
    add(
        "--ocpp-timing",
        default="causal",
        metavar="MODE",
        help="causal (default), original, xN (N times as fast) or max-gap=SECONDS.",
    )
    add(
        "--ocpp-policy",
        default="strict",
        choices=("strict", "lenient"),
        help="A CALL of the CSMS that nothing covers: an error, or a model's answer.",
    )
    add(
        "--ocpp-gate-timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="Silence after which nothing is waited for any longer (default 30).",
    )
    add("--ocpp-matchers", type=Path, metavar="FILE", help="TOML with [[match]] rules.")
    add(
        "--ocpp-map",
        type=Path,
        metavar="FILE",
        help="TOML: [stations] [tags] [passwords], recorded = live; workers = [ids], one an xdist worker.",
    )
    add("--ocpp-baseline", type=Path, metavar="FILE", help="Known divergences: only new ones fail.")
    add(
        "--ocpp-stimulus",
        metavar="COMMAND",
        help="Makes the CSMS send a recorded CALL; gets it as JSON on stdin. Or override ocpp_stimulus.",
    )


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """With ``-n`` and no ``--dist`` the tests of one capture stay on one worker: it is replayed there."""
    option = config.option
    if option.ocpp_capture and getattr(option, "numprocesses", None) and option.dist == "no":
        option.dist = "loadscope"
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    if config.option.ocpp_capture or config.option.ocpp_csms:
        from twin.pytest_collect import Captures

        config.pluginmanager.register(Captures(config), "ocpp-captures")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that uses ``ocpp_capture`` runs once for each session of ``--ocpp-capture``."""
    if "ocpp_capture" not in metafunc.fixturenames:
        return
    captures = metafunc.config.pluginmanager.get_plugin("ocpp-captures")
    sessions = captures.sessions() if captures is not None else []
    if sessions:
        metafunc.parametrize("ocpp_capture", sessions, ids=[session.name for session in sessions])
    else:
        none = pytest.param(None, marks=pytest.mark.skip(reason="--ocpp-capture names no capture"))
        metafunc.parametrize("ocpp_capture", [none], ids=["none"])


# --- fixtures ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ocpp_replays(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> "Replays":
    """What the options say about replays, and the sessions that were replayed already."""
    from twin.pytest_replay import Replays

    captures = pytestconfig.pluginmanager.get_plugin("ocpp-captures")
    replays: Replays = captures.replays if captures is not None else Replays(pytestconfig)
    if replays.worker is not None:
        replays.shared = tmp_path_factory.getbasetemp().parent
    return replays


@pytest.fixture
def ocpp_stimulus(pytestconfig: pytest.Config) -> "Hook | None":
    """``(action, payload, station_id)``, sync or async: makes the live CSMS send that CALL.

    Override it in your conftest.py. Here it is the command of ``--ocpp-stimulus``, or nobody.
    """
    command = pytestconfig.option.ocpp_stimulus
    if not command:
        return None
    from twin.io.replaying import command_hook

    return command_hook(command)


@pytest.fixture
def ocpp_replay(
    request: pytest.FixtureRequest, ocpp_replays: "Replays", ocpp_stimulus: "Hook | None"
) -> "Replaying":
    """``ocpp_replay(path, **overrides)`` replays a capture against ``--csms`` and gives its ``Result``.

    Without ``--csms`` the recorded CSMS plays in process. ``ocpp_replay.report(result)`` is the text.
    """
    from twin.pytest_replay import Replaying

    return Replaying(ocpp_replays, ocpp_stimulus, _marked(request))


@pytest.fixture
def ocpp_capture() -> "Session | None":
    """One session of ``--ocpp-capture``: its ``path``, ``station``, ``name`` and ``frames``."""
    return None  # pytest_generate_tests gives the sessions


@pytest.fixture
def ocpp_transactions(
    request: pytest.FixtureRequest,
    ocpp_replays: "Replays",
    ocpp_capture: "Session",
    ocpp_stimulus: "Hook | None",
) -> tuple[dict[str, Any], ...]:
    """The transactions of ``ocpp_capture`` as the live CSMS knows them: ``live_id``, ``energy_wh`` and more.

    The session is replayed once, however many tests look at it.
    """
    return ocpp_replays.played(ocpp_capture, ocpp_stimulus, _marked(request)).whole.transactions


@pytest.fixture
def ocpp_diff(ocpp_replays: "Replays") -> "Comparing":
    """``ocpp_diff(recorded, replayed, timed=None)`` compares captures; ``.report(result)`` is the text."""
    from twin.pytest_replay import Comparing

    return Comparing(ocpp_replays.told.rules)


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    marker = request.node.get_closest_marker("ocpp")
    return dict(marker.kwargs) if marker is not None else {}
