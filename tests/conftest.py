"""Fixtures that every test may use, and the switch that turns a skipped gap into a failure."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent

settings.register_profile("untimed", deadline=None)  # tests assert counts and equality, never speed
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="Rewrite tests/golden; read the difference."
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Several workers take the files with slow tests first, so that none is alone with one at the end."""
    if config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
        items.sort(key=lambda item: item.path not in slow)


def absent(what: str) -> None:
    """Skip because ``what`` is not there; where TWIN_REQUIRE_ALL is set (CI), fail instead."""
    if os.environ.get("TWIN_REQUIRE_ALL"):
        pytest.fail(f"{what} is required here (TWIN_REQUIRE_ALL is set)")
    pytest.skip(f"{what} is not there")


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The traffic that nobody here wrote; it lies beside the checkout, never in it."""
    path = REPOSITORY.parent / "shared" / "corpora"
    if not path.is_dir():
        absent("../shared/corpora")
    return path


@pytest.fixture(scope="session")
def certificate_text() -> str:
    """The certificate OCA.0016.0045.CS as text."""
    path = REPOSITORY.parent / "shared" / "certificate" / "000_fb1941d1e49befab.txt"
    if not path.is_file():
        absent("../shared/certificate")
    return path.read_text(encoding="utf-8")
