"""Where a JSON array in running text ends: brackets counted outside strings, over any number of pieces."""

import re

_OUTSIDE = re.compile(r'["\[\]{}]')
_INSIDE = re.compile(r'["\\]')


class Scanner:
    """Counts brackets of one array. Each character is looked at once, however many pieces there are."""

    def __init__(self) -> None:
        self.depth = 0
        self.in_string = False
        self._escaped = False  # the piece ended in the middle of an escape

    def feed(self, text: str, start: int = 0) -> int | None:
        """Read on from ``start``; the place just behind the closing bracket, ``None`` while it is open."""
        place = start
        if self._escaped and place < len(text):
            place, self._escaped = place + 1, False
        while match := (_INSIDE if self.in_string else _OUTSIDE).search(text, place):
            place, sign = match.end(), match.group()
            if sign == "\\":
                self._escaped = place == len(text)
                place += 1
            elif sign == '"':
                self.in_string = not self.in_string
            elif sign in "[{":
                self.depth += 1
            else:
                self.depth -= 1
                if self.depth <= 0:
                    return place
        return None
