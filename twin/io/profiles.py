"""A profile by its name or by its file."""

from pathlib import Path

from twin.certificate import NAMES
from twin.certificate.profile import SPEC, Profile, Tolerances, certified, profile_in, tolerances_in


def profile_named(name: str) -> Profile:
    """``octoflex-otm-k``, ``spec``, or the profile in a certificate's TOML file.

    Raises ``ValueError``, saying what is known, for anything else.
    """
    if name == SPEC.name:
        return SPEC
    if name in NAMES:
        return certified(name)
    path = Path(name)
    try:
        return profile_in(path.stem, path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join((*NAMES, SPEC.name))
        raise ValueError(f"no profile {name!r}: expected {known}, or a certificate's TOML file") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"profile {name}: {error}") from error


def tolerances_of(path: Path) -> Tolerances:
    """The ``[tolerances]`` of a TOML file. Raises ``ValueError`` that names the file and what is wrong."""
    try:
        return tolerances_in(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
