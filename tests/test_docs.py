"""The documents are true: what is drawn from code equals the code."""

import importlib.util

from tests.conftest import REPOSITORY


def test_the_rule_reference_is_drawn_from_the_rule_book() -> None:
    spec = importlib.util.spec_from_file_location("make_rules", REPOSITORY / "docs" / "make_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = (REPOSITORY / "docs" / "rules.md").read_text(encoding="utf-8")
    assert drawn == module.text(), "run: python docs/make_rules.py"
