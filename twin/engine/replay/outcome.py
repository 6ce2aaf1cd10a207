"""What a comparison finds: divergences, first one first, and what they have in common."""

from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from twin.model import Side


class Change(msgspec.Struct, frozen=True):
    """One field that differs: where, both values as text, how it was compared and which line said so.

    ``general`` is the path as a rule would name it, list steps as ``*``. ``apart`` is how far two numbers or
    times are apart, to the next power of ten, in the field's own unit or seconds.
    """

    path: str
    recorded: str
    replayed: str
    how: str = "exact"
    source: str = "built in"
    general: str = ""
    apart: str = ""


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange, connection or text that differs.

    ``kind``: ``missing`` (recorded only), ``extra`` (replayed only), ``changed`` at some fields, ``order``
    (both, at another place of their stream), ``late`` or ``early``. ``…_seq`` is the frame to look at,
    ``call_seq`` the recorded CALL of its exchange. ``sender`` is who sent what differs. ``synthetic``: a
    model spoke, not the recording. ``stimulus_seq`` is the recorded CALL that nobody made the CSMS send, and
    on which this depends: that is no divergence of anybody. ``content`` tells what is missing or extra from
    others of its kind.
    """

    kind: str
    stream: str
    action: str
    sender: Side | None = None
    recorded_seq: int | None = None
    replayed_seq: int | None = None
    call_seq: int | None = None
    changes: tuple[Change, ...] = ()
    synthetic: bool = False
    stimulus_seq: int | None = None
    content: str = ""

    @property
    def known_as(self) -> str:
        """What a baseline knows it by: what like divergences have in common, where it was, and what it said.

        Of what has a tolerance it is how far off it was, to the next power of ten.
        """
        apart = [f"{change.path} up to {change.apart}" for change in self.changes if change.apart]
        return " | ".join(filter(None, (self.signature, self.stream, self.content, *apart)))

    @property
    def of_connections(self) -> bool:
        return self.stream.startswith("connections")

    @property
    def signature(self) -> str:
        """What like divergences have in common: kind, who, what, where, and the values of exact fields."""
        held = [
            f"{change.path} {change.recorded} -> {change.replayed}" if change.how == "exact" else change.path
            for change in self.changes
        ]
        return " | ".join((self.kind, self.action, self.sender or "", *held))

    @property
    def group(self) -> tuple[str, ...]:
        """Divergences that stand together on a page: the values may differ."""
        return (self.kind, self.action, self.sender or "", *(change.path for change in self.changes))


class Diff(msgspec.Struct, frozen=True):
    """``matched`` counts equal exchanges; divergences stand in order of their place in the recording.

    Three kinds are set aside and make nothing differ: ``known`` to a baseline, ``unstimulated`` (they depend
    on a CALL that nobody made the CSMS send), and ``answered`` by a model under a policy that allows it.
    ``timed``: times were compared.
    """

    matched: int
    divergences: tuple[Divergence, ...]
    timed: bool = False
    known: tuple[Divergence, ...] = ()
    unstimulated: tuple[Divergence, ...] = ()
    answered: tuple[Divergence, ...] = ()

    @property
    def equal(self) -> bool:
        return not self.divergences

    def set_aside(self, unstimulated: Mapping[int, int]) -> "Diff":
        """Without what depends on CALLs that did not come (seq of it: seq of that), and models' answers."""
        left: list[Divergence] = []
        dependent: list[Divergence] = []
        answered: list[Divergence] = []
        for one in self.divergences:
            stimulus_seq = unstimulated.get(one.call_seq or 0)
            if stimulus_seq is not None and one.kind == "missing":
                dependent.append(replace(one, stimulus_seq=stimulus_seq))
            elif one.kind == "extra" and one.synthetic:
                answered.append(one)
            else:
                left.append(one)
        return replace(
            self,
            divergences=tuple(left),
            unstimulated=(*self.unstimulated, *dependent),
            answered=(*self.answered, *answered),
        )


def groups_of(divergences: Iterable[Divergence]) -> list[list[Divergence]]:
    """Like divergences together, in the order of their first ones."""
    groups: dict[tuple[str, ...], list[Divergence]] = {}
    for divergence in divergences:
        groups.setdefault(divergence.group, []).append(divergence)
    return list(groups.values())
