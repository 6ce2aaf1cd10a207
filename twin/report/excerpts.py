"""What a frame says, shortened, for whoever reads a finding; secrets are masked, whatever the source."""

from collections.abc import Iterable

from twin.engine.checked import Checked
from twin.io.masking import without_secrets
from twin.model import Finding, Frame

_MOST_FRAMES = 3  # of one finding: its first ones
_MOST_EXCERPTS = 2_000  # of one capture
_LONGEST = 700


def excerpts(frames: Iterable[Frame], checked: Checked) -> dict[int, str]:
    """By frame number the text that findings rest on; a frame without text says what it is."""
    wanted = dict.fromkeys(seq for found in checked.findings for seq in evidence_shown(found, checked))
    chosen = set(list(wanted)[:_MOST_EXCERPTS])
    return {frame.seq: excerpt(frame) for frame in frames if frame.seq in chosen}


def evidence_shown(finding: Finding, checked: Checked) -> tuple[int, ...]:
    """The frame that gave rise to the finding, after the CALL it answers, then the first others."""
    seq = finding.seq
    own = () if seq is None else (checked.asked.get(seq, seq), seq)
    return tuple(dict.fromkeys((*own, *finding.evidence)))[:_MOST_FRAMES]


def excerpt(frame: Frame) -> str:
    """Sender and text on one line, at most 700 characters of it."""
    arrow = {"station": "station → CSMS", "csms": "CSMS → station"}.get(frame.sender or "", "")
    if frame.text is None:
        text = f"{frame.kind}, {len(frame.data)} bytes" if frame.data else str(frame.kind)
    else:
        text = frame.text[: 4 * _LONGEST]  # a value that the cut tears is still masked from its start
        text = without_secrets(text, text.casefold(), {})
    if len(text) > _LONGEST or len(frame.text or "") > 4 * _LONGEST:
        text = f"{text[:_LONGEST]}…"
    return f"{arrow}  {text}".strip()
