"""A profile by its name or by its file."""

from pathlib import Path

from twin.certificate import NAMES, parse
from twin.certificate.profile import SPEC, Profile, certified


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
        return Profile(path.stem, parse(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        known = ", ".join((*NAMES, SPEC.name))
        raise ValueError(f"no profile {name!r}: expected {known}, or a certificate's TOML file") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"profile {name}: {error}") from error
