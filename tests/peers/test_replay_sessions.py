"""Every replayable peer session as a station against three CSMSs that nobody here wrote: what differs, why.

What is found is written down in replay_sessions.tsv with a reader's verdict for each kind of difference; a
new kind, or one that has gone, fails. Recorded CALLs of the CSMS are sent by each one's own means; what it
has no means for is not stimulated.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.replay.replays import PEER_SESSIONS
from tests.peers import Served, serve_arthexis, serve_broker, serve_csms
from tests.peers.test_station_sessions import PASSWORD
from twin.engine.replay.evidence import Result
from twin.engine.replay.identities import Needs, add_needs
from twin.engine.replay.outcome import Divergence
from twin.io.replay_jobs import Job, play, sessions_of
from twin.io.targets import target_of
from twin.protocol.actions import ACTIONS
from twin.protocol.schema import conforms

pytestmark = [pytest.mark.peer, pytest.mark.corpus, pytest.mark.slow]

READ = Path(__file__).parent / "replay_sessions.tsv"
GATE_US = 1_000_000
LONG = 40
NO_MEANS = {("arthexis", "ClearCache")}  # its own interface knows no such operation
CSMSS = ("ocpp-csms", "ocpp-broker", "arthexis")


@pytest.fixture(scope="module")
def needs(corpora: Path) -> Needs:
    """What the sessions ask of a CSMS: who connects, with which tags."""
    wanted = Needs()
    for name in PEER_SESSIONS:
        for _, frames in sessions_of(corpora / "peer-sessions" / f"{name}.jsonl"):
            add_needs(wanted, frames)
    return wanted


@pytest.fixture(scope="module", params=CSMSS)
def csms(
    request: pytest.FixtureRequest, needs: Needs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Served]]:
    folder = tmp_path_factory.mktemp("csms")
    match request.param:
        case "ocpp-csms":
            started = serve_csms(folder / "book")
        case "ocpp-broker":
            started = serve_broker(*(tag for tag, status in needs.tags.items() if status == "Accepted"))
        case _:
            started = serve_arthexis(folder / "arthexis", dict.fromkeys(needs.stations, PASSWORD))
    with started as served:
        yield request.param, served


def told(result: Result) -> set[str]:
    """What differs, each kind once; what was not stimulated by its action. Times and ids are left out."""
    found = {_kind(one) for one in result.diff.divergences}
    return found | {f"not stimulated {one.action}" for one in result.diff.unstimulated}


def _kind(one: Divergence) -> str:
    changes = [
        f"{change.path} {change.recorded} -> {change.replayed}"
        if change.how == "exact" and max(len(change.recorded), len(change.replayed)) < LONG
        else change.path
        for change in one.changes
    ]
    return f"{one.kind} {one.action} ({one.sender or 'connection'}): {', '.join(changes)}".removesuffix(": ")


def read() -> dict[tuple[str, str], dict[str, str]]:
    """Kinds of difference by (session, CSMS), each with the reader's verdict."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    with READ.open(encoding="utf-8", newline="") as file:
        for session, csms, what, verdict in csv.reader(file, delimiter="\t"):
            rows.setdefault((session, csms), {})[what] = verdict
    return rows


@pytest.mark.parametrize("session", PEER_SESSIONS)
def test_what_differs_is_what_a_reader_has_explained(
    csms: tuple[str, Served], session: str, corpora: Path, pytestconfig: pytest.Config
) -> None:
    name, served = csms
    path = corpora / "peer-sessions" / f"{session}.jsonl"

    def order(action: str, payload: Any, station_id: str) -> None:
        if (name, action) in NO_MEANS or action not in ACTIONS or not conforms(action, payload, answer=False):
            raise NotImplementedError(f"{name} cannot send {action} {payload}")
        served.order(station_id, action, payload)

    found: set[str] = set()
    for station, _ in sessions_of(path):
        slash = "/{id}/" if name == "arthexis" else ""
        job = Job(
            path=str(path),
            station=station,
            name=session,
            target=target_of(f"{served.url}{slash}"),
            password=PASSWORD if name == "arthexis" else "",
            gate_us=GATE_US,
        )
        result = play(job, order)
        assert not result.error
        assert result.facts["played_to_the_end"]
        assert result.facts["sent_with_unknown_ids"] == []
        found |= told(result)
    if pytestconfig.getoption("--update-golden"):
        with READ.open("a", encoding="utf-8", newline="") as file:
            known = read().get((session, name), {})
            csv.writer(file, delimiter="\t").writerows(
                (session, name, what, "") for what in sorted(found - set(known))
            )
    explained = read().get((session, name), {})
    assert found == set(explained)
    assert all(explained.values())
