"""What a frame says, shortened, for whoever reads a finding; secrets are masked, whatever the source."""

from collections.abc import Iterable, Sequence

from twin.io.masking import without_secrets
from twin.model import Finding, Frame

_MOST_FRAMES = 3  # of one finding: its first ones
_MOST_EXCERPTS = 2_000  # of one capture
_LONGEST = 320


def excerpts(frames: Iterable[Frame], findings: Sequence[Finding]) -> dict[int, str]:
    """By frame number the text that findings rest on; a frame without text says what it is."""
    wanted = dict.fromkeys(seq for finding in findings for seq in evidence_shown(finding))
    chosen = set(list(wanted)[:_MOST_EXCERPTS])
    return {frame.seq: excerpt(frame) for frame in frames if frame.seq in chosen}


def evidence_shown(finding: Finding) -> tuple[int, ...]:
    """The frame that gave rise to the finding, then the first others it rests on."""
    own = (finding.seq,) if finding.seq is not None else ()
    return tuple(dict.fromkeys((*own, *finding.evidence)))[:_MOST_FRAMES]


def excerpt(frame: Frame) -> str:
    """Sender and text on one line, at most 320 characters of it."""
    arrow = {"station": "station → CSMS", "csms": "CSMS → station"}.get(frame.sender or "", "")
    if frame.text is None:
        text = f"{frame.kind}, {len(frame.data)} bytes" if frame.data else str(frame.kind)
    else:
        text = frame.text[: 4 * _LONGEST]  # a value that the cut tears is still masked from its start
        text = without_secrets(text, text.casefold(), {})
    if len(text) > _LONGEST or len(frame.text or "") > 4 * _LONGEST:
        text = f"{text[:_LONGEST]}…"
    return f"{arrow}  {text}".strip()
