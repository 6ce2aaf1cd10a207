"""The documents are true: what is drawn from code equals the code."""

import importlib.util

import msgspec

from tests.conftest import REPOSITORY
from twin.engine.station import QUIRKS, Behaviour
from twin.io.formats import FORMATS


def test_the_rule_reference_is_drawn_from_the_rule_book() -> None:
    spec = importlib.util.spec_from_file_location("make_rules", REPOSITORY / "docs" / "make_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = (REPOSITORY / "docs" / "rules.md").read_text(encoding="utf-8")
    assert drawn == module.text(), "run: python docs/make_rules.py"


def test_every_behaviour_and_quirk_of_the_station_is_documented() -> None:
    text = (REPOSITORY / "docs" / "station.md").read_text(encoding="utf-8")
    for quirk in QUIRKS.values():
        assert f"| `{quirk.name}` | {quirk.does} | {quirk.seen} | {quirk.rule} |" in text
    for field in msgspec.structs.fields(Behaviour):
        assert field.name == "quirks" or f"`{field.name}`" in text


def test_every_format_is_documented_with_how_it_is_read_and_written() -> None:
    text = (REPOSITORY / "docs" / "formats.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    assert set(rows) == {row.name for row in FORMATS} | {"--format"}
    for row in FORMATS:
        written = rows[row.name].split("|")[3].strip()
        assert written.startswith("yes") == (row.write is not None)
        assert all(f"`{suffix}`" in written for suffix in row.suffixes)
