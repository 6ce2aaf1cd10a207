"""The house rules that a machine can hold: what the documents say is there, is there, and nothing else is."""

import ast
import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import twin
from tests.conftest import REPOSITORY, absent
from twin.rules import RULES, Rule

PACKAGES = {"twin": REPOSITORY / "twin", "octoflex_addons": REPOSITORY / "addons" / "octoflex_addons"}
PURE = ("model", "protocol", "certificate", "rules", "engine", "fidelity")
LOCKS = [REPOSITORY / "requirements.lock", *sorted(REPOSITORY.glob("tests/peers/*/requirements.lock"))]


def modules() -> list[str]:
    """Every module of ours that can be imported; from the files, so that a broken one is one red test."""
    names = [
        ".".join((package, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
        for package, folder in PACKAGES.items()
        for path in sorted(folder.rglob("*.py"))
    ]
    return [name for name in names if not name.endswith(".__main__")]


@cache
def committed() -> list[Path]:
    """Every file that is in the repository, or would be after `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listing.returncode:
        absent("a git checkout")
    paths = [REPOSITORY / name for name in sorted(set(listing.stdout.split("\0"))) if name]
    return [path for path in paths if path.is_file()]


def sources() -> list[Path]:
    return [path for path in committed() if path.suffix == ".py"]


def texts() -> Iterator[tuple[str, str]]:
    """Name and text of every committed file that is text."""
    for path in committed():
        try:
            yield path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def lines_that(pattern: re.Pattern[str]) -> list[str]:
    """``file:line: match`` wherever the pattern stands in a committed text."""
    return [
        f"{name}:{text.count('\n', 0, match.start()) + 1}: {match.group()}"
        for name, text in texts()
        for match in pattern.finditer(text)
    ]


# ── the documents and the tree ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("package", PACKAGES)
def test_the_checkout_tests_itself(package: str) -> None:
    found = Path(importlib.import_module(package).__path__[0])
    assert found.is_relative_to(REPOSITORY), "another checkout is installed in this environment"


def test_architecture_table_equals_the_tree() -> None:
    text = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- modules -->(.*)<!-- /modules -->", text, re.DOTALL)
    assert table, "ARCHITECTURE.md lists the rooms between <!-- modules --> and <!-- /modules -->"
    rows = re.findall(r"^\| `(twin/[^`]+)` +\| *(\S.*?) *\|$", table.group(1), re.MULTILINE)
    said = [room for room, _ in rows]
    rooms = {
        f"twin/{path.name}"
        for path in (REPOSITORY / "twin").iterdir()
        if (path / "__init__.py").exists() or (path.suffix == ".py" and path.name != "__init__.py")
    }
    assert sorted(said) == sorted(rooms)


def test_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == twin.__version__ == importlib.metadata.version(project["name"])


def test_make_lists_every_target() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets
    explained = re.findall(r"^([a-z]+):.*## \S", makefile, re.MULTILINE)
    assert sorted(explained) == sorted(targets.group(1).split())


# ── what a module is ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", modules())
def test_public_names_are_there(name: str) -> None:
    module = importlib.import_module(name)
    public = getattr(module, "__all__", [])
    assert [word for word in public if not hasattr(module, word)] == []
    assert len(set(public)) == len(public)


def test_every_file_opens_by_saying_why_it_exists() -> None:
    silent = []
    for path in sources():
        opening = (ast.get_docstring(ast.parse(path.read_bytes())) or "").split("\n\n")[0]
        if not re.match(r"\S+ .*\S+.*[.?]$", opening, re.DOTALL):
            silent.append(path.relative_to(REPOSITORY).as_posix())
    assert silent == []


def test_exceptions_to_the_linters_say_why() -> None:
    marks = re.compile(r"# (?:noqa|type: ignore)(?:: *[A-Z0-9, ]+|\[[^]]*\])?[ \t]*$", re.MULTILINE)
    unexplained = [
        f"{path.relative_to(REPOSITORY)}: {match.group()}"
        for path in sources()
        for match in marks.finditer(path.read_text(encoding="utf-8"))
    ]
    assert unexplained == [], "put the reason beside it: `# noqa: S104 # the station is on another machine`"


# ── what a rule is ──────────────────────────────────────────────────────────────────────────────

# What a reader can look up, or what we saw: never a document that only we have.
SOURCES = re.compile(r"OCPP(-J)? 1\.6 (§|errata |schemas)|ER \d|RFC \d|certificate\b|seen in the field\b")


def test_rule_ids_are_given_once() -> None:
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)
    assert [word for word in ids if not re.fullmatch(r"[A-Z]\d{3}", word)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_rules_say_what_they_hold_and_where_it_stands(rule: Rule) -> None:
    statement, _, pitfalls = (rule.judge.__doc__ or "").partition("\n\n")
    assert re.fullmatch(r"\S.*\.", statement), "the first line of the docstring states the rule"
    assert pitfalls.strip(), "then its source, and what looks like a violation and is none"
    assert SOURCES.match(rule.reference), rule.reference


# ── purity ──────────────────────────────────────────────────────────────────────────────────────


def test_twin_never_loads_mitmproxy() -> None:
    names = [name for name in modules() if name.startswith("twin")]
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split())
    assert "twin" in loaded
    assert loaded & {"mitmproxy", "octoflex_addons"} == set()


def test_the_core_opens_nothing() -> None:
    """Import contracts (.importlinter) hold the rest; a built-in needs no import."""
    worldly = {"open", "input", "print", "eval", "exec", "compile", "__import__", "breakpoint"}
    calls = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}: {node.func.id}()"
        for path in sources()
        if path.is_relative_to(REPOSITORY / "twin") and path.relative_to(REPOSITORY / "twin").parts[0] in PURE
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in worldly
    ]
    assert calls == []


# ── what is committed ───────────────────────────────────────────────────────────────────────────

# Spelt in pieces, so that this file does not hold what it looks for.
HOSTS = ["pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "npm" + "js.com", "deb." + "debian.org"]
HERE = ["wo" + "rk", "ro" + "ot", "t" + "mp"]
FORBIDDEN = {
    "registry host": re.compile("|".join(map(re.escape, HOSTS))),
    "path of one machine": re.compile(rf"(?<![\w.~$\-/<}}])/(?:{'|'.join(HERE)})/\w[\w./-]*"),
    "document of one workplace": re.compile(
        r"\b0\d-(?:house|capt" + r"ure|rul" + r"es|stati" + r"on|repl" + r"ay)\b"
    ),
    "tool of one workplace": re.compile(r"\." + r"library/|\bissues " + r"show\b|\bproject " + r"machine\b"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_committed_names_a(what: str) -> None:
    assert lines_that(FORBIDDEN[what]) == []


def test_the_patterns_find_what_they_forbid() -> None:
    assert FORBIDDEN["registry host"].search(f"https://{HOSTS[0]}/simple")
    assert FORBIDDEN["path of one machine"].search(f'"/{HERE[0]}/main/twin"')
    assert not FORBIDDEN["path of one machine"].search(f"docs/{HERE[0]}/x ~/{HERE[2]}/x </{HERE[1]}>")
    assert FORBIDDEN["tool of one workplace"].search("see ." + "library/env")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.relative_to(REPOSITORY).as_posix())
def test_locks_have_hashes_and_no_addresses(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    pins = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert len(pins) > 1
    assert [pin.split()[0] for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []
    assert re.findall(r"^.*(?:://|--(?:extra-)?index|--find-links| @ ).*$", text, re.MULTILINE) == []


@pytest.mark.parametrize(
    "lock", sorted(REPOSITORY.glob("tests/peers/*/package-lock.json")), ids=lambda lock: lock.parent.name
)
def test_npm_locks_have_hashes_and_no_addresses(lock: Path) -> None:
    packages = json.loads(lock.read_text(encoding="utf-8"))["packages"]
    others = {name: package for name, package in packages.items() if name}
    assert others
    assert [name for name, package in others.items() if not package.get("integrity")] == []
    assert [name for name, package in others.items() if "resolved" in package] == []


def test_the_lock_holds_what_the_project_asks_for() -> None:
    """`make lock` was run after the last change to pyproject.toml: every named requirement is pinned."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    names = {normal(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in asked} - {project["name"]}
    pinned = re.findall(r"^([\w.-]+)==", LOCKS[0].read_text(encoding="utf-8"), re.MULTILINE)
    assert names - {normal(name) for name in pinned} == set()


def normal(name: str) -> str:
    """The one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_notebooks_are_committed_without_outputs() -> None:
    kept = [
        path.name
        for path in committed()
        if path.suffix == ".ipynb"
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell.get("outputs") or cell.get("execution_count")
    ]
    assert kept == []
