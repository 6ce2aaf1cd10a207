"""The files of a replay: what is wrong with one is said with its name, and nothing else is."""

from pathlib import Path

import pytest

from twin.engine.replay.timing import timing_of
from twin.io.replay_setup import checked_target, told
from twin.io.targets import NotAllowedError

SETTINGS = """
[tool.ocpp]
allow = ["192.0.2.1:8180"]
matchers = "rules/matchers.toml"
map = "ids.toml"
"""


def project(folder: Path) -> Path:
    (folder / "pyproject.toml").write_text(SETTINGS)
    (folder / "rules").mkdir()
    (folder / "rules" / "matchers.toml").write_text('[[match]]\npath = "answer/interval"\nhow = "type"\n')
    (folder / "ids.toml").write_text('workers = ["RC-1"]\n')
    below = folder / "below"
    below.mkdir()
    return below


def test_the_files_of_the_project_lie_beside_its_settings(tmp_path: Path) -> None:
    held = told(project(tmp_path))
    assert [rule.path for rule in held.rules] == ["answer/interval"]
    assert held.identities.workers == ("RC-1",)
    assert held.allow == ("192.0.2.1:8180",)
    assert held.baseline is None


def test_what_is_named_goes_before_and_permissions_add_up(tmp_path: Path) -> None:
    below = project(tmp_path)
    mine = below / "mine.toml"
    mine.write_text('workers = ["OTHER"]\n')
    held = told(below, ids=mine, allow=["192.0.2.2:1"])
    assert held.identities.workers == ("OTHER",)
    assert set(held.allow) == {"192.0.2.1:8180", "192.0.2.2:1"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("matchers", "[[match", "bad: "),
        ("matchers", '[[match]]\npath = "answer/x"\nhow = "ignore"\n', "bad: rule 1: ignore needs a reason"),
        ("ids", "workers = 3\n", "bad: workers: expected a list"),
        ("baseline", "{}", "bad: no baseline of version 1"),
        ("baseline", "{", "bad: "),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / "bad"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        told(tmp_path, **{name: path})
    path.unlink()
    with pytest.raises(ValueError, match="bad: No such file or directory"):
        told(tmp_path, **{name: path})


def test_time_runs_faster_on_this_machine_only() -> None:
    fast = timing_of("x10")
    assert checked_target("ws://127.0.0.1:9", (), fast).loopback
    with pytest.raises(NotAllowedError, match="x10 is for this machine only"):
        checked_target("ws://192.0.2.1:9", ["192.0.2.1:9"], fast)
    with pytest.raises(ValueError, match="virtual jumps over time"):
        checked_target("ws://127.0.0.1:9", (), timing_of("virtual"))
