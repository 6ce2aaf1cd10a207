"""Which findings count: rules chosen by prefix, and what an earlier run has known already."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from twin.model import Finding
from twin.rules import RULES

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_TIME = re.compile(r"\d{4}-?\d\d-?\d\d[Tt ]?[\d:.,Zz+-]*")
_ID = re.compile(r"\b(?=[\w-]*\d)[0-9A-Fa-f]{8}[\w-]*")
_NUMBER = re.compile(r"(?<![A-Za-z_\d.])[+-]?\d[\d,]*(?:\.\d+)?")


class Selection(msgspec.Struct, frozen=True):
    """Rule ids or prefixes of them, as ruff has it: the longer prefix wins, and ``ignore`` at a tie.

    Rules are left out of what is reported, not of what is judged: a rule that is silent because another
    speaks for it stays silent.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def takes(self, rule: str) -> bool:
        chosen = _longest(self.select, rule) if self.select else 0
        return chosen is not None and chosen > (-1 if (left := _longest(self.ignore, rule)) is None else left)

    def rules_left_out(self) -> list[str]:
        return [rule.id for rule in RULES if not self.takes(rule.id)]


EVERYTHING = Selection()


def selection(select: Iterable[str], ignore: Iterable[str]) -> Selection:
    """From comma lists such as ``"T,M001"``. Raises ``ValueError`` for a prefix that no rule has."""
    return Selection(_prefixes(select), _prefixes(ignore))


def _prefixes(lists: Iterable[str]) -> tuple[str, ...]:
    prefixes = tuple(word.strip().upper() for text in lists for word in text.split(",") if word.strip())
    for prefix in prefixes:
        if not any(rule.id.startswith(prefix) for rule in RULES):
            raise ValueError(f"no rule is or begins with {prefix!r}; twin check --list-rules names them")
    return prefixes


def _longest(prefixes: tuple[str, ...], rule: str) -> int | None:
    return max((len(prefix) for prefix in prefixes if rule.startswith(prefix)), default=None)


type Key = tuple[str, str, int | None, str]


def key_of(finding: Finding) -> Key:
    """Rule, station, connector, and of the detail what survives other frames, times and transactions."""
    return finding.rule, finding.station or finding.link, finding.connector_id, fingerprint(finding.detail)


def fingerprint(detail: str) -> str:
    """The detail with every number, message id and time masked; what stands in quotation marks stays.

    "silent for 63.2 s" is known again as "silent for 70 s"; "written to '30'" is not "written to '15'".
    """
    parts: list[str] = []
    end = 0
    for quoted in _QUOTED.finditer(detail):
        parts += (_masked(detail[end : quoted.start()]), _TIME.sub("#", quoted[0]))
        end = quoted.end()
    return "".join((*parts, _masked(detail[end:])))


def _masked(text: str) -> str:
    return _NUMBER.sub("#", _ID.sub("#", _TIME.sub("#", text)))


def known_keys(report: Any) -> frozenset[Key]:
    """The keys of the findings in the JSON report of an earlier run; ``ValueError`` for anything else."""
    findings = report.get("findings") if isinstance(report, Mapping) else None
    if not isinstance(findings, list):
        raise ValueError("expected the output of twin check --json")
    return frozenset(_key_in(finding) for finding in findings)


def _key_in(row: Any) -> Key:
    if not isinstance(row, Mapping):
        raise ValueError("a finding is no object")
    rule, detail = row.get("rule"), row.get("detail")
    station, connector_id = row.get("station") or row.get("link") or "", row.get("connector_id")
    if not (isinstance(rule, str) and isinstance(detail, str) and isinstance(station, str)):
        raise ValueError("a finding lacks rule, station or detail")
    if connector_id is not None and not isinstance(connector_id, int):
        raise ValueError("a finding's connector_id is no number")
    return rule, station, connector_id, fingerprint(detail)
