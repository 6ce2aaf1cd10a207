"""How a rule is tested: it fires, it is asked and finds nothing, and it says what it lacks."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.playbook import Play


@dataclass(frozen=True)
class ThreeWays:
    """Three minimal conversations for one rule; ``why`` is part of the reason it gives when it cannot know.

    ``severity`` and ``says`` are what the first finding must be and say, where it matters.
    """

    rule: str
    fires: Callable[[], Play]
    silent: Callable[[], Play]
    unknown: Callable[[], Play]
    why: str
    severity: str = ""
    says: str = ""
