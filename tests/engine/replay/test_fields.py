"""Every kind of comparison: what it lets pass, what it does not, and which line decides."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.playbook import Play, after, meter, play, stamp
from twin.engine.replay.alignment import aligned
from twin.engine.replay.diff import Comparison, diff
from twin.engine.replay.fields import How, Matchers, rules_of
from twin.protocol.places import places, replaced


def rules(text: str) -> Matchers:
    return Matchers(rules_of(tomllib.loads(text), "matchers.toml"))


def differing(
    one: dict[str, Any], other: dict[str, Any], matchers: Matchers | None = None, action: str = "DataTransfer"
) -> list[str]:
    """The paths at which two exchanges of a session differ."""
    pair = [play().booted().station(action, payload, {}).frames for payload in (one, other)]
    found = diff(*pair, matchers).divergences
    return [change.path for divergence in found for change in divergence.changes]


RULE = '[[match]]\naction = "DataTransfer"\npath = "request/data/x"\nhow = "{how}"\n{more}\n'


@pytest.mark.parametrize(
    ("how", "more", "same", "other"),
    [
        ("numeric", "tolerance = 2", (10, 12), (10, 12.5)),
        ("numeric", "tolerance = 2", ("10", "11.9"), ("10", "ten")),
        ("numeric", "relative = 0.1", (100, 110), (100, 111)),
        ("regex", 'pattern = "v\\\\d+"', ("v1", "v22"), ("v1", "w1")),
        ("type", "", ("a", "b"), ("a", 1)),
        ("type", "", (1, 2.5), (1, True)),
        ("time", "tolerance = 10", (stamp(0), stamp(9)), (stamp(0), stamp(11))),
        ("set", "", (["a", "b"], ["b", "a"]), (["a", "b"], ["a", "a"])),
        ("ignore", 'reason = "made anew"', (1, "x"), None),
    ],
)
def test_a_kind_lets_pass_what_it_says_and_nothing_else(
    how: str, more: str, same: tuple[Any, Any], other: tuple[Any, Any] | None
) -> None:
    matchers = rules(RULE.format(how=how, more=more))
    pair = [{"vendorId": "v", "data": {"x": value}} for value in same]
    assert differing(pair[0], pair[1])
    assert differing(pair[0], pair[1], matchers) == []
    if other is not None:
        pair = [{"vendorId": "v", "data": {"x": value}} for value in other]
        assert differing(pair[0], pair[1], matchers)


def test_a_monotonic_field_may_be_anything_that_does_not_fall() -> None:
    matchers = rules(
        '[[match]]\naction = "MeterValues"\npath = "request/meterValue/*/sampledValue/*/value"\n'
        'how = "monotonic"\ntolerance = 0.01'
    )

    def session(*values: str) -> Play:
        p = play().booted().started()
        for number, value in enumerate(values):
            p << after(60)
            sample = {"value": value, "measurand": "Energy.Active.Import.Register", "unit": "Wh"}
            p.station("MeterValues", meter(60 * number + 60, sample), {})
        return p

    recorded = session("10", "20", "30").frames
    assert diff(recorded, session("11", "11", "29.999").frames, matchers).equal
    assert diff(recorded, session("40.89", "40.8889", "50").frames, matchers).equal  # one reading, rounded
    (fell,) = diff(recorded, session("11", "10", "30").frames, matchers).divergences
    assert [change.how for change in fell.changes] == ["monotonic"]
    of_one_message = {"connectorId": 1, "transactionId": 7, "meterValue": []}
    for value in ("100", "50"):
        of_one_message["meterValue"].append({"timestamp": stamp(61), "sampledValue": [{"value": value}]})  # type: ignore[attr-defined]  # the list above
    frames = play().booted().started(1, 7).station("MeterValues", of_one_message, {}).frames
    assert not diff(frames, frames, matchers).equal


def test_sampled_values_are_told_apart_by_what_they_measure_not_by_their_place() -> None:
    values = meter(60)["meterValue"][0]["sampledValue"]
    one, other = meter(60, *values), meter(60, *reversed(values))
    pair = [play().booted().started().station("MeterValues", payload, {}).frames for payload in (one, other)]
    assert diff(*pair).equal
    fewer = play().booted().started().station("MeterValues", meter(60, *values[:2]), {}).frames
    (missing,) = diff(pair[0], fewer).divergences
    assert "request/meterValue/0/sampledValue/[Voltage,V]/value" in [c.path for c in missing.changes]


def test_a_time_may_move_with_its_message_or_stay_but_nothing_else() -> None:
    def status(sent_s: float, stamped_s: float) -> Play:
        said = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
        p = play().booted() << after(sent_s)
        return p.station("StatusNotification", {**said, "timestamp": stamp(stamped_s)}, {})

    how = Comparison(timed=False)
    assert diff(status(0, 0).frames, status(100, 100).frames, comparison=how).equal  # moved
    assert diff(status(0, -50).frames, status(100, 50).frames, comparison=how).equal  # as late as it was
    assert diff(status(0, 0).frames, status(100, 0).frames, comparison=how).equal  # kept
    assert not diff(status(0, 0).frames, status(100, 60).frames, comparison=how).equal
    utc = diff(status(0, 0).frames, status(0, 0).frames, comparison=how)
    assert utc.equal


def test_the_first_rule_that_fits_decides_and_says_where_it_stands() -> None:
    matchers = rules(
        '[[match]]\naction = "StopTransaction"\npath = "request/reason"\nhow = "type"\n'
        '[[match]]\npath = "request/reason"\nhow = "regex"\npattern = ".*"'
    )
    stop = matchers.of("StopTransaction", "request/reason")
    other = matchers.of("DataTransfer", "request/reason")
    assert stop is not None
    assert other is not None
    assert (stop.how, stop.source) == (How.TYPE, "matchers.toml: rule 1")
    assert (other.how, other.source) == (How.REGEX, "matchers.toml: rule 2")
    assert matchers.of("Authorize", "request/idTag") is None  # an input: exactly


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[match]]\npath = "request/x"\nhow = "ignore"', "ignore needs a reason"),
        ('[[match]]\npath = "request/x"\nhow = "sometimes"', "rule 1"),
        ('[[match]]\nhow = "type"', "missing required field `path`"),
        ('[[match]]\naction = "Stop"\npath = "request/x"\nhow = "type"', "no action"),
        ('[[match]]\npath = "reqest/x"\nhow = "type"', "begins with neither"),
        ('[[match]]\npath = "request/x/0/y"\nhow = "type"', "elements of a list"),
        ('[[match]]\npath = "request/x"\nhow = "regex"\npattern = "("', "pattern"),
        ('[[match]]\npath = "request/x"\nhow = "type"\ntolerence = 1', "tolerence"),
        ("[rules]\nx = 1", "unknown table"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        rules(text)


def test_nothing_nests_too_deep_for_a_comparison() -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = {"y": [deep]}
    assert differing({"vendorId": "v", "data": deep}, {"vendorId": "v", "data": deep}) == []
    assert differing({"vendorId": "v", "data": deep}, {"vendorId": "v", "data": "x"})


# ── alignment and places ─────────────────────────────────────────────────────────────────────────


def unlike(one: str, other: str) -> float:
    return 0.0 if one == other else 2.0


@given(st.lists(st.sampled_from("abcd"), max_size=40), st.lists(st.sampled_from("abcd"), max_size=40))
def test_every_item_has_one_partner_or_none_and_order_is_kept(left: list[str], right: list[str]) -> None:
    pairs = aligned(left, right, unlike)
    assert [a for a, _ in pairs if a is not None] == list(range(len(left)))
    assert [b for _, b in pairs if b is not None] == list(range(len(right)))
    assert all(left[a] == right[b] for a, b in pairs if a is not None and b is not None)


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40), st.data())
def test_one_item_left_out_is_one_item_without_a_partner(items: list[str], data: st.DataObject) -> None:
    gone = data.draw(st.integers(0, len(items) - 1))
    pairs = aligned(items, items[:gone] + items[gone + 1 :], unlike)
    assert sum(b is None for _, b in pairs) == 1
    assert all(a is not None for a, _ in pairs)


def test_a_long_middle_is_aligned_in_windows() -> None:
    left = [f"{number % 97}-{number % 89}" for number in range(3_000)]
    right = ["new", *left[1:1_500], *left[1_501:-1], "newer"]
    pairs = aligned(left, right, unlike)
    assert [a for a, _ in pairs if a is not None] == list(range(len(left)))
    assert [b for _, b in pairs if b is not None] == list(range(len(right)))
    assert sum(b is None for _, b in pairs) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(("a", "b", '"')), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(JSON, st.lists(st.sampled_from(("a", "b", 0, 1)), max_size=4), st.sampled_from((None, 1)))
def test_a_place_is_where_the_parser_finds_the_value(value: Any, path: list[Any], indent: int | None) -> None:
    import json

    text = json.dumps(value, indent=indent)
    try:
        wanted = value
        for step in path:
            if isinstance(wanted, str) or not isinstance(wanted, dict if isinstance(step, str) else list):
                raise KeyError(step)
            wanted = wanted[step]
    except (KeyError, IndexError):
        assert places(text, tuple(path)) == []
        return
    ((start, end, found),) = places(text, tuple(path))
    assert found == wanted
    assert json.loads(text[start:end]) == wanted
    changed = json.loads(replaced(text, [((start, end, found), '"NEW"')]))
    for step in path:
        changed = changed[step]
    assert changed == "NEW"


@pytest.mark.parametrize(
    "text", ["", "[2,", '[2,"a","X",{"a":}]', "nonsense", '{"a" 1}', "[1 2]", "[" * 5_000]
)
def test_text_that_is_no_json_has_no_places(text: str) -> None:
    assert places(text, (3, "a")) == []
