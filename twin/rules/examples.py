"""A short conversation for each rule in which it speaks: made from the tests, shipped as data."""

import json
from functools import cache
from importlib import resources
from typing import Any


@cache
def examples() -> dict[str, dict[str, Any]]:
    """By rule id: ``frames`` (the telling lines), ``severity`` and ``detail`` of the finding."""
    text = (resources.files("twin.rules") / "examples.jsonl").read_text(encoding="utf-8")
    return {row["rule"]: row for row in map(json.loads, text.splitlines())}
