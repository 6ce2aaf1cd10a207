"""Both sides of a capture played against each other: what the tests of the replay share."""

import itertools
from typing import Any

from twin.engine.replay.diff import Comparison, Diff, diff
from twin.engine.replay.links import Ends
from twin.engine.replay.player import Manner, Player
from twin.engine.replay.timing import CAUSAL, Timing
from twin.engine.virtual import HOP_US, converse
from twin.model import Frame, Side

PEER_SESSIONS = (  # that hold whole messages of one station: what can be replayed
    "microocpp--ocpp-csms",
    "microocpp-part1--ocpp-csms",
    "openocpp-cp--openocpp-cs",
    "otmk-shaped-sap--ocpp-csms",
    "sap2--ocpp-broker",
    "sap20--ocpp-csms",
    "sap20atg-outage--ocpp-csms",
    "shiv3--ocpp-csms",
    "vcp--ocpp-csms",
)


def players(frames: list[Frame], timing: Timing = CAUSAL, **manner: Any) -> tuple[Player, Player]:
    """The station's side and the CSMS's, with ids unlike the recorded ones."""
    ours, theirs, transactions = itertools.count(1), itertools.count(1), itertools.count(900_001)
    station = Player(
        frames,
        new_message_id=lambda: f"p{next(ours)}",
        manner=Manner(timing=timing, expect_calls=True, expect_strays=True, **manner),
    )
    csms = Player(
        frames,
        side=Side.CSMS,
        new_message_id=lambda: f"s{next(theirs)}",
        new_transaction_id=lambda: next(transactions),
        manner=Manner(timing=timing, expect_strays=True, **manner),
    )
    return station, csms


def replayed(frames: list[Frame], timing: Timing = CAUSAL, **manner: Any) -> tuple[Player, list[Frame]]:
    """The station's Player and what a proxy between the two would have seen."""
    station, csms = players(frames, timing, **manner)
    again = converse(
        station,
        csms,
        station_id="CP1",
        start_us=frames[0].at_us,
        hop_us=HOP_US,
        refusal=csms.doors.refuse,
    )
    return station, again


def compared(frames: list[Frame], again: list[Frame], *, timed: bool = False) -> Diff:
    """As the verdict of a replay compares: whoever plays leaves when all is said."""
    return diff(frames, again, comparison=Comparison(timed=timed, ends=Ends.BUT_LAST))
