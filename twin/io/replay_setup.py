"""What a replay is told in files and by its project: matchers, identities, known divergences, permissions."""

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from twin.engine.replay.baseline import Baseline, baseline_of
from twin.engine.replay.fields import Matcher, rules_of
from twin.engine.replay.identities import Identities, identities_of
from twin.engine.replay.timing import Timing
from twin.io.targets import NotAllowedError, Target, project_settings, target_of


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """``allow`` is whom a replay may talk to besides this machine; no ``baseline``: nothing is known."""

    rules: tuple[Matcher, ...] = ()
    identities: Identities = Identities()
    baseline: Baseline | None = None
    allow: tuple[str, ...] = ()


def told(
    project: Path,
    *,
    matchers: Path | None = None,
    ids: Path | None = None,
    baseline: Path | None = None,
    allow: Iterable[str] = (),
) -> Told:
    """The files that are named, else those of ``[tool.ocpp]`` at or above ``project``.

    Raises ``ValueError`` that names the file and what is wrong with it.
    """
    settings, folder = project_settings(project)

    def chosen(named: Path | None, key: str) -> Path | None:
        return named or (folder / settings[key] if folder is not None and key in settings else None)

    rules, who, known = chosen(matchers, "matchers"), chosen(ids, "map"), chosen(baseline, "baseline")
    return Told(
        rules=rules_of(_toml(rules), rules.name) if rules is not None else (),
        identities=identities_of(_toml(who), who.name) if who is not None else Identities(),
        baseline=_known(known) if known is not None else None,
        allow=(*allow, *settings.get("allow", ())),
    )


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _known(path: Path) -> Baseline:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return baseline_of(document, path.name)


def checked_target(url: str, allow: Iterable[str], timing: Timing) -> Target:
    """The live CSMS, if it may be spoken to at this pace. Raises as ``target_of`` does."""
    target = target_of(url, tuple(allow))
    if timing.virtual:
        raise ValueError("timing virtual jumps over time: a live CSMS does not; take original")
    if timing.speed > 1 and not target.loopback:
        raise NotAllowedError(f"x{timing.speed:g} is for this machine only: timers elsewhere do not scale")
    return target
