"""Words from the wire for a terminal: everything a station says is text of a stranger."""

# C0, C1, the bidirectional controls (Unicode Standard Annex #9) and the separators of lines and paragraphs
_CONTROL = dict.fromkeys(
    (
        *range(32), *range(127, 160), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A),
    )
)  # fmt: skip


def plain(text: str) -> str:
    """Without control and bidirectional characters."""
    return text.translate(_CONTROL)


def plain_lines(text: str) -> str:
    """A text of several lines without control characters in any of them."""
    return "\n".join(plain(line) for line in text.split("\n"))
