"""Two sequences aligned: equal ends first, and in between the cheapest pairing.

Not time warping: each item has one partner or none, so a duplicate cannot hide.
"""

from collections.abc import Callable, Sequence
from math import inf

type Pair = tuple[int | None, int | None]

_MOST_CELLS = 40_000  # of the table of costs; a longer middle goes window by window
_WINDOW = 200
_SAME = 0.1
_ALONE = 1.0  # what an item without a partner costs


def aligned[T](left: Sequence[T], right: Sequence[T], cost: Callable[[T, T], float]) -> list[Pair]:
    """Pairs of places, in order; ``None`` beside an item that has no partner.

    ``cost`` is 0 for items that are the same (nearly: up to a tenth), less than 2 for items that may be
    paired at all.
    """
    start = 0
    while start < min(len(left), len(right)) and cost(left[start], right[start]) <= _SAME:
        start += 1
    end = 0
    while end < min(len(left), len(right)) - start and cost(left[-1 - end], right[-1 - end]) <= _SAME:
        end += 1
    pairs: list[Pair] = [(place, place) for place in range(start)]
    i, j, i_end, j_end = start, start, len(left) - end, len(right) - end
    while i < i_end or j < j_end:
        # a middle too long for one table goes window by window; half of each is final
        wide = (i_end - i) * (j_end - j) > _MOST_CELLS
        i_stop, j_stop = (min(i_end, i + _WINDOW), min(j_end, j + _WINDOW)) if wide else (i_end, j_end)
        found = _cheapest(left[i:i_stop], right[j:j_stop], cost)
        for a, b in found[: len(found) // 2] if wide else found:
            pairs.append((None if a is None else i + a, None if b is None else j + b))
        i = 1 + max((a for a, _ in pairs if a is not None), default=i - 1)
        j = 1 + max((b for _, b in pairs if b is not None), default=j - 1)
    pairs += [(i_end + place, j_end + place) for place in range(end)]
    return pairs


def _cheapest[T](left: Sequence[T], right: Sequence[T], cost: Callable[[T, T], float]) -> list[Pair]:
    """The pairing of least cost (Needleman and Wunsch, 1970); of equals the one that pairs earliest."""
    width = len(right) + 1
    best = [[_ALONE * (i + j) if not i or not j else 0.0 for j in range(width)] for i in range(len(left) + 1)]
    took: list[list[int]] = [[0] * width for _ in range(len(left) + 1)]
    for i, one in enumerate(left, 1):
        row, above = best[i], best[i - 1]
        for j, other in enumerate(right, 1):
            apart = cost(one, other)
            paired = above[j - 1] + apart if apart < 2 * _ALONE else inf
            gone, new = above[j] + _ALONE, row[j - 1] + _ALONE
            least = min(paired, gone, new)
            row[j] = least
            took[i][j] = 0 if least == paired else 1 if least == gone else 2
    pairs: list[Pair] = []
    i, j = len(left), len(right)
    while i or j:
        step = 1 if not j else 2 if not i else took[i][j]
        i -= step != 2
        j -= step != 1
        pairs.append((i if step != 2 else None, j if step != 1 else None))
    return pairs[::-1]
