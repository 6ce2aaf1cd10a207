"""Whatever people, cars, networks and the CSMS do, the station keeps its word: a stateful property.

Every happening is a step, and every step is checked: see ``ledger`` for what must hold.
"""

import json
from collections.abc import Callable, Mapping
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.engine.hostile import bent
from tests.engine.rough_csms import MOODS, REFUSALS, TAGS
from tests.engine.rough_world import World
from twin.engine.station import QUIRKS, Act, Behaviour, Car

CONNECTORS = 3


def _any_connector(rng: Random) -> int:
    return rng.randint(1, CONNECTORS)


def _car(rng: Random) -> Car:
    starts = sorted(rng.sample(range(30, 3_000), 4))
    return Car(
        power_w=rng.choice((1_400.0, 3_520.0, 7_040.0)),
        taper_from_wh=rng.choice((None, 200.0, 2_000.0)),
        taper_s=rng.choice((60.0, 1_200.0)),
        full_wh=rng.choice((None, 100.0, 1_500.0)),
        delay_s=rng.choice((0.0, 0.0, 5.0)),
        pauses_s=rng.choice(((), ((starts[0], starts[1]), (starts[2], starts[3])))),
    )


def _plug(world: World, rng: Random) -> None:
    world.act(Act(do="plug", connector_id=_any_connector(rng), car=_car(rng)))


def _unplug(world: World, rng: Random) -> None:
    world.act(Act(do="unplug", connector_id=_any_connector(rng)))


def _tag(world: World, rng: Random) -> None:
    world.act(Act(do="tag", tag=rng.choice(TAGS)))


def _fault(world: World, rng: Random) -> None:
    number, code = _any_connector(rng), rng.choice(("InternalError", "GroundFailure", "OverVoltage"))
    world.act(Act(do="fault", connector_id=number, error_code=code))
    world.run(rng.choice((0.0, 1.0, 100.0)))
    world.act(Act(do="clear", connector_id=number))


def _power(world: World, rng: Random) -> None:
    world.act(Act(do="power off"))
    world.run(rng.choice((0.0, 1.0, 30.0, 600.0)))
    world.act(Act(do="power on"))


def _link(world: World, rng: Random) -> None:
    world.act(Act(do="link down"))
    world.run(rng.choice((0.0, 0.5, 20.0, 300.0)))
    world.act(Act(do="link up"))


def _unreachable(world: World, rng: Random) -> None:
    world.reachable = not world.reachable


def _hang_up(world: World, rng: Random) -> None:
    world.hang_up(abrupt=rng.random() < 0.5)


def _mood(world: World, rng: Random) -> None:
    world.csms.mood = rng.choice(list(MOODS))


def _boots(world: World, rng: Random) -> None:
    world.csms.boots = rng.choices(("Pending", "Rejected", "Accepted"), k=rng.randint(1, 3))
    world.csms.interval_s = rng.choice((0, 5, 30, 300))


def _cards(world: World, rng: Random) -> None:
    world.csms.refused = {tag: rng.choice(REFUSALS) for tag in rng.sample(TAGS, rng.randint(0, 2))}
    world.csms.groups = dict.fromkeys(rng.sample(TAGS, rng.randint(0, 3)), "GROUP")


def _call(world: World, rng: Random) -> None:
    action, payload = world.csms.own_call(CONNECTORS)
    _ask(world, rng, action, payload)


def _odd_call(world: World, rng: Random) -> None:
    action, payload = world.csms.own_call(CONNECTORS)
    _ask(world, rng, rng.choice((action, action, action, "Bogus")), bent(payload, rng))


def _reset(world: World, rng: Random) -> None:
    _ask(world, rng, "Reset", {"type": rng.choice(("Soft", "Hard"))})


def _ask(world: World, rng: Random, action: str, payload: object) -> None:
    world.say(json.dumps([2, f"c{rng.getrandbits(64):x}", action, payload]))


def _wait(world: World, rng: Random) -> None:
    world.run(rng.choice((5.0, 60.0, 61.0, 400.0, 1_800.0)))


# Every move with its weight; each is followed by a short wait.
MOVES: dict[str, tuple[int, Callable[[World, Random], None]]] = {
    "plug": (5, _plug),
    "unplug": (3, _unplug),
    "tag": (6, _tag),
    "fault": (1, _fault),
    "power": (1, _power),
    "link": (2, _link),
    "unreachable": (1, _unreachable),
    "hang up": (1, _hang_up),
    "mood": (2, _mood),
    "boots": (1, _boots),
    "cards": (1, _cards),
    "call": (4, _call),
    "odd call": (2, _odd_call),
    "reset": (1, _reset),
    "wait": (4, _wait),
}
WEIGHTED = [name for name, (weight, _) in MOVES.items() for _ in range(weight)]


def make(world: World, name: str, seed: int) -> None:
    rng = Random(seed)  # noqa: S311  # a seeded world, no secret
    MOVES[name][1](world, rng)
    world.run(rng.choice((0.0, 0.01, 0.3, 2.0, 20.0)))


def behaviour_of(seed: int, quirks: frozenset[str] = frozenset()) -> Behaviour:
    """Any variant of the product, drawn."""
    rng = Random(seed)  # noqa: S311  # as above
    return Behaviour(
        connectors=CONNECTORS,
        cache=rng.choice(("absent", "disabled", "on")),
        allow_offline=rng.random() < 0.3,
        ups=rng.random() < 0.3,
        evse_stop_key=rng.choice(("RW", "R", "absent")),
        ev_disconnect_status=rng.choice(("Finishing", "Available")),
        first_sample=rng.choice(("after interval", "at start")),
        aligned_idle=rng.random() < 0.2,
        heartbeat_mode=rng.choice(("period", "inactivity")),
        id_timeout_s=rng.choice((0, 0, 45)),
        reconnect_order=rng.choice(("queue", "status")),
        max_keys_policy=rng.choice(("full", "truncate", "error")),
        hard_reset_stop=rng.choice(("before", "after")),
        non_core_error=rng.choice(("NotSupported", "NotImplemented")),
        pending_remote=rng.choice(("Rejected", "CALLERROR")),
        fault_ends_transaction=rng.random() < 0.7,
        transaction_data_limit=rng.choice((0, 0, 3)),
        quirks=quirks,
    )


# What rules hold against the station though it is not to blame: rule, words of its detail. Here the CSMS was
# silent, slow, refused what it should not, or answered what can hardly be read; of a healthy one nothing is.
HARDSHIPS: dict[str, str] = {
    "H014": "after CALLERROR number",  # the CSMS refuses all, and the network goes within seconds
    "M001": "no sample for",  # what follows waits for answers
    "P012": "behind the time",  # the clock is estimated from messages that were held up
    "R003": "from the queue comes after live",  # as for P012
    "R012": "the queue begins",
    "S013": "Preparing for",
    "T001": "without an accepted Authorize",
}
UNFAIR = frozenset({"mood", "odd call", "boots", "unreachable", "hang up"})
FAIR = [name for name in WEIGHTED if name not in UNFAIR]
STEPS = {"rough": 0, "fair": 0}


class Life(RuleBasedStateMachine):
    """The moves of a life, each with its seed; it ends in quiet, and then everything must have been kept."""

    kind = "rough"
    moves: st.SearchStrategy[str] = st.sampled_from(WEIGHTED)
    excused: Mapping[str, str] = HARDSHIPS

    @initialize(seed=st.integers(0, 2**32 - 1), plain=st.booleans())
    def begin(self, seed: int, plain: bool) -> None:
        behaviour = Behaviour(connectors=CONNECTORS) if plain else behaviour_of(seed)
        self.world = World(behaviour, seed, excused=self.excused)

    @rule(data=st.data(), seed=st.integers(0, 2**32 - 1))
    def move(self, data: st.DataObject, seed: int) -> None:
        make(self.world, data.draw(self.moves), seed)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.quieten()
            STEPS[self.kind] += self.world.steps


class FairLife(Life):
    """The CSMS does what it should."""

    kind = "fair"
    moves = st.sampled_from(FAIR)
    excused: Mapping[str, str] = {}


@pytest.mark.parametrize("life", [Life, FairLife])
def test_the_station_keeps_its_word(life: type[Life]) -> None:
    run_state_machine_as_test(
        life,
        settings=settings(
            max_examples=50,
            stateful_step_count=50,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert STEPS[life.kind] >= 10_000


# What each quirk breaks: the check that must notice it, without the rules' help.
BREAKS = {
    "calls-in-flight": "in flight",
    "meter-overtakes": "overtaken",
    "retry-restamped": "restamped",
    "stop-stamped-early": "restamped",
    "register-falls": "register",
    "loses-stop": "lost",
    "no-stop-after-reset": "lost",
    "transaction-zero": "lost",
}


FOUND_BY_RULES = ["reused-ids", "four-elements", "zoneless-clock", "comma-decimal", "empty-vendor"]


def live(seed: int, quirk: str, *, judged: bool) -> World:
    """A seeded life of 80 moves and its quiet end."""
    rng = Random(seed)  # noqa: S311  # as above
    quirks = frozenset({quirk} if quirk else ())
    world = World(Behaviour(connectors=CONNECTORS, quirks=quirks), seed, judged=judged, excused=Life.excused)
    for _ in range(80):
        make(world, rng.choice(WEIGHTED), rng.getrandbits(32))
    world.quieten()
    return world


def many(quirk: str, *, judged: bool) -> None:
    for seed in range(40):
        live(seed, quirk, judged=judged)


@pytest.mark.parametrize(("quirk", "broken"), BREAKS.items())
def test_each_check_can_fail(quirk: str, broken: str) -> None:
    with pytest.raises(AssertionError, match=f"^{broken}:"):
        many(quirk, judged=False)


@pytest.mark.parametrize("quirk", FOUND_BY_RULES)
def test_the_rules_can_fail_it(quirk: str) -> None:
    with pytest.raises(AssertionError, match=f"^blamed: {QUIRKS[quirk].rule}"):
        many(quirk, judged=True)


def test_the_same_seed_is_the_same_life() -> None:
    said = [[frame.text for frame in live(3, "", judged=False).frames] for _ in range(2)]
    assert said[0] == said[1]
