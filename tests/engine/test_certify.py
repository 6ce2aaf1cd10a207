"""Our reading of the Core cases, driven against the model: all pass, and broken stations fail some."""

import itertools
import json
import random
from collections.abc import Callable

import msgspec
import pytest

from twin.certificate.case_words import Applies, Case
from twin.certificate.cases import CASES, case_named
from twin.engine.case_hands import ModelHands, lacks, variant_for
from twin.engine.certify import (
    SAYS_THE_SAME,
    CaseVerdict,
    Driven,
    certify_virtually,
    drive,
    joined,
    judge,
)
from twin.engine.checked import check_frames
from twin.engine.examiner import Examiner
from twin.engine.station import PROFILES, QUIRKS, Behaviour
from twin.model import Fault, Severity
from twin.rules import RULES

TIMERS = (
    "ClockAlignedDataInterval",
    "ConnectionTimeOut",
    "MeterValueSampleInterval",
    "MessageTimeout",
    "TransactionMessageRetryInterval",
)
PRIMES = (7, 11, 13, 17, 19)
# Five different primes for the five 60 s timers: each takes each place once.
ROUNDS = [dict(zip(TIMERS, PRIMES[turn:] + PRIMES[:turn], strict=True)) for turn in range(len(PRIMES))]
VERDICTS = {Applies.ALWAYS: 34, Applies.IF: 9, Applies.NOT: 5}

# Twenty broken stations, and a case that must fail each of them.
BROKEN = {
    "no-stop-after-reset": "TC_015",
    "unlocks": "TC_017_2",
    "extra-measurand": "TC_040_2",
    "boot-on-reconnect": "TC_036",
    "accepts-invalid": "TC_040_2",
    "accepts-unknown": "TC_040_1",
    "stores-nothing": "TC_021",
    "missing-measurand": "TC_070",
    "comma-decimal": "TC_070",
    "wrong-unit": "TC_071",
    "no-heartbeat": "TC_001",
    "no-status-after-boot": "TC_013",
    "keeps-charging": "TC_005_2",
    "starts-unauthorized": "TC_003",
    "loses-stop": "TC_038",
    "transaction-zero": "TC_012",
    "authorizes-stop": "TC_068",
    "available-before-stop": "TC_068",
    "stop-stamped-early": "TC_068",
    "acts-before-answering": "TC_014",
    "boot-loop": "TC_001",
    "four-elements": "TC_019",
    "slow-answers": "TC_002",
}
# No broken station above misbehaves in what these ask for; they must go on passing.
CONTROLS = ("TC_027", "TC_062")


def seeded() -> Callable[[], float]:
    return random.Random(1).random  # noqa: S311  # a seeded station, no secret


def certified(**more: object) -> list[Driven]:
    return list(certify_virtually(random=seeded(), **more))  # type: ignore[arg-type]  # keywords of certify_virtually


def quirky(quirk: str) -> dict[str, Behaviour]:
    """Every variant of the station with this quirk."""
    return {
        name: msgspec.structs.replace(behaviour, quirks=frozenset({quirk}))
        for name, behaviour in PROFILES.items()
    }


def named(case_id: str) -> Case:
    case = case_named(case_id)
    assert case is not None
    return case


@pytest.mark.parametrize("intervals", [{}, *ROUNDS], ids=["certified", *map(str, range(len(ROUNDS)))])
def test_every_case_passes(intervals: dict[str, int]) -> None:
    driven = certified(intervals=intervals)
    verdicts = {one.examined.case_id: one.examined.verdict for one in driven}
    why = {one.examined.case_id: one.examined.why for one in driven}
    assert len(verdicts) == sum(VERDICTS.values())
    for case in CASES:
        wanted = CaseVerdict.NOT_APPLICABLE if case.applies is Applies.NOT else CaseVerdict.PASSED
        assert verdicts[case.id] is wanted, (case.id, why[case.id])


def test_unconditional_cases_run_against_the_certified_station() -> None:
    for case in CASES:
        variant = variant_for(case, PROFILES)
        if case.applies is Applies.ALWAYS:
            assert variant == "certified"
        elif case.applies is Applies.NOT:
            assert variant == ""
    assert lacks(named("TC_007"), PROFILES["certified"])


def test_the_rules_have_nothing_against_the_model_in_it() -> None:
    """Drift is what the cases write themselves; nothing louder may be the station's fault."""
    for one in certified():
        found = check_frames(one.examined.case_id, one.frames).findings
        loud = [f for f in found if f.severity in (Severity.ERROR, Severity.WARNING)]
        assert [f.detail for f in loud if f.fault is Fault.STATION] == []


@pytest.mark.parametrize(("quirk", "case_id"), BROKEN.items())
def test_a_broken_station_fails_the_right_case(quirk: str, case_id: str) -> None:
    assert quirk in QUIRKS
    wanted = [named(case_id), *map(named, CONTROLS)]
    verdicts = {
        one.examined.case_id: one.examined
        for one in certify_virtually(wanted, variants=quirky(quirk), random=seeded())
    }
    assert verdicts[case_id].verdict is CaseVerdict.FAILED, verdicts[case_id].why
    assert verdicts[case_id].why
    if quirk != "four-elements":  # which breaks every answer
        assert {verdicts[control].verdict for control in CONTROLS} == {CaseVerdict.PASSED}


def test_a_station_that_does_not_tell_its_configuration_is_not_failed_for_other_cases() -> None:
    driven = certify_virtually([named("TC_012"), named("TC_019")], variants=quirky("deaf"))
    reset, retrieve = (one.examined for one in driven)
    assert reset.verdict is CaseVerdict.INCONCLUSIVE
    assert "GetConfiguration was not answered" in reset.why
    assert retrieve.verdict is CaseVerdict.FAILED


def test_traffic_that_stops_half_way_passes_nothing() -> None:
    """The verdict comes from the traffic: without its second half no case is passed."""
    for case_id in ("TC_012", "TC_016", "TC_070"):
        frames, examiner = drive(named(case_id), PROFILES["certified"])
        whole = judge(named(case_id), examiner, frames)
        half = judge(named(case_id), examiner, frames[: len(frames) // 2])
        assert whole.verdict is CaseVerdict.PASSED
        assert half.verdict is not CaseVerdict.PASSED


def test_a_case_whose_configuration_was_never_told_is_not_passed() -> None:
    """Never passed for a capture in which what it rests on was not observed."""
    case = named("TC_026")
    frames, examiner = drive(case, PROFILES["certified"])
    silent = [
        msgspec.structs.replace(frame, text=(frame.text or "").replace("LocalPreAuthorize", "VendorKey"))
        if frame.text and "configurationKey" in frame.text
        else frame
        for frame in frames
    ]
    judged = judge(case, examiner, silent)
    assert judged.verdict is CaseVerdict.INCONCLUSIVE
    assert "LocalPreAuthorize was not observed" in judged.why


@pytest.mark.parametrize("told", [None, 5, "x", [None, {"key": 7}, {}]])
def test_a_configuration_of_any_shape_ends_in_a_verdict(told: object) -> None:
    ids = itertools.count(1)
    examiner = Examiner(
        named("TC_027"),
        ModelHands(lambda act, now_us: None, lambda act, at_us: None, 1),
        new_message_id=lambda: f"c{next(ids)}",
        new_transaction_id=lambda: 1,
    )
    now_us = 0
    examiner.connected(now_us)
    examiner.receive('[2,"s1","BootNotification",{"chargePointVendor":"v","chargePointModel":"m"}]', now_us)
    for _ in range(500):
        for command in examiner.take():
            message = json.loads(getattr(command, "text", "[0]"))
            if message[0] == 2:
                examiner.receive(json.dumps([3, message[1], {"configurationKey": told}]), now_us)
        if examiner.done or (due_us := examiner.next_timer()) is None:
            break
        now_us = due_us
        examiner.handle_timer(now_us)
    assert examiner.done


def test_all_cases_make_one_capture() -> None:
    driven = certified()
    frames = joined(driven)
    assert [frame.seq for frame in frames] == list(range(1, len(frames) + 1))
    assert all(a.at_us <= b.at_us for a, b in itertools.pairwise(frames))
    assert sum(len(one.frames) for one in driven) == len([f for f in frames if f.kind.value != "gap"])


def test_rules_that_say_the_same_exist() -> None:
    known = {rule.id for rule in RULES}
    assert {rule for rules in SAYS_THE_SAME.values() for rule in rules} <= known
    assert set(SAYS_THE_SAME) <= {case.id for case in CASES}
