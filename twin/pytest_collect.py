"""The captures that pytest is given, as collectors, and the parts of their sessions as items."""

import contextlib
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from twin.engine.replay.session_parts import CALLS, parts_of
from twin.engine.replay.warm import prologue_of
from twin.io.formats import CaptureError
from twin.io.manifest import MANIFEST
from twin.io.replaying import Hook
from twin.pytest_replay import Replays, Session, sessions_in
from twin.report.replayed import as_text, headline


class DivergedError(Exception):
    """A part of a session differs from its recording; the text is the report."""


class Captures:
    """The captures of ``--ocpp-capture``, found where they lie and collected as any other test."""

    def __init__(self, config: pytest.Config) -> None:
        self.replays = Replays(config)
        named = [Path(config.invocation_params.dir / path) for path in config.option.ocpp_capture]
        self._captures = {one: None for path in named for one in _captures_at(path.resolve())}
        self._above = {above for one in self._captures for above in one.parents}
        args = {(config.invocation_params.dir / arg).resolve() for arg in config.args}
        self._hidden = {above for above in self._above if _is_hidden(above, config, args)}
        config.args += [str(path) for path in named if str(path) not in config.args]

    def sessions(self) -> list[Session]:
        """Every session; a capture that cannot be read has none here, and an error where it is collected."""
        found: list[Session] = []
        for path in self._captures:
            with contextlib.suppress(CaptureError):
                found += [session for session, _ in sessions_in(path)]
        return found

    @pytest.hookimpl(tryfirst=True)
    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """A capture below a folder that is not searched (build, …) is found; nothing else there is."""
        if collection_path in self._captures or collection_path in self._above:
            return False
        return True if collection_path.parent in self._hidden else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> "Capture | None":
        return self._collector(path, parent)

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> "Capture | None":
        return self._collector(file_path, parent)

    def _collector(self, path: Path, parent: pytest.Collector) -> "Capture | None":
        if path not in self._captures:
            return None
        capture: Capture = Capture.from_parent(parent, path=path)
        capture.live = self.replays.live
        return capture


def _captures_at(path: Path) -> Iterable[Path]:
    """The path itself, or what lies in it, where it is a folder and no capture."""
    if not path.exists():
        raise pytest.UsageError(f"ocpp: --ocpp-capture {path}: there is no such file or folder")
    if path.is_file() or _is_capture(path):
        return [path]
    found = [one for one in sorted(path.iterdir()) if _is_capture(one) or _is_log(one)]
    if not found:
        raise pytest.UsageError(f"ocpp: --ocpp-capture {path} holds no capture")
    return found


def _is_hidden(folder: Path, config: pytest.Config, named: set[Path]) -> bool:
    """Whether pytest would not search this folder: it or one above it is such, and none was named."""
    below = [one for one in (folder, *folder.parents) if config.rootpath in one.parents]
    patterns = config.getini("norecursedirs")
    searched = any(one in named for one in below)
    return not searched and any(fnmatch(one.name, pattern) for one in below for pattern in patterns)


def _is_capture(path: Path) -> bool:
    return (path / MANIFEST).exists()


def _is_log(path: Path) -> bool:
    return path.is_file() and path.suffix in (".jsonl", ".json", ".log", ".txt", ".ndjson")


class Capture(pytest.Module):
    """A capture as a module of tests. A Module, so that fixtures of that scope work with it."""

    obj = None
    live = False

    def collect(self) -> Iterable[pytest.Item]:
        try:
            sessions = sessions_in(self.path)
        except CaptureError as error:
            raise self.CollectError(str(error)) from error
        for session, frames in sessions:
            prefix = "" if len(sessions) == 1 else f"{session.station}/"
            for part in parts_of((prologue_of(frames) if self.live else []) + frames):
                item: Part = Part.from_parent(self, name=f"{prefix}{part}", callobj=_check(session, part))
                if self.config.pluginmanager.hasplugin("xdist"):
                    item.add_marker(pytest.mark.xdist_group(str(self.path)))
                yield item


def _check(session: Session, part: str) -> Any:
    """The test of one part: it passes, is skipped, or raises what the report says."""

    def check(ocpp_replays: Replays, ocpp_stimulus: Hook | None) -> None:
        result = ocpp_replays.played(session, ocpp_stimulus).part(part)
        if not result.passed:
            raise DivergedError(as_text(result))
        waiting = result.diff.unstimulated
        if waiting and (part == CALLS or part.startswith("transaction-")):
            why = (
                f"{len(waiting)} exchanges not stimulated, first {headline(waiting[0])}; see --ocpp-stimulus"
            )
            # the item's place, as for pytest's own skip marks: ours says nothing
            raise pytest.skip.Exception(why, _use_item_location=True)

    return check


class Part(pytest.Function):
    """One part of a session. A Function, so that it gets fixtures: the stimulus of the project."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The report alone: nobody wants our traceback."""
        if isinstance(excinfo.value, DivergedError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name
