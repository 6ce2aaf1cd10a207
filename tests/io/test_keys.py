"""A site's keys: made once, for their owner alone, and never taken from what is none."""

import stat
from pathlib import Path

import pytest

from twin.io.keys import load_or_create


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "site.key"
    key = load_or_create(path, "pseudonym key")
    assert load_or_create(path, "pseudonym key") == key
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "00", "no key", "é" * 64])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "site.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ValueError, match="no pseudonym key"):
        load_or_create(path, "pseudonym key")


def test_a_key_that_others_can_read_is_refused_with_the_command_to_run(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    load_or_create(path, "pseudonym key")
    path.chmod(0o640)
    with pytest.raises(ValueError, match=f"chmod 600 {path}"):
        load_or_create(path, "pseudonym key")
