"""Reader of mitmproxy's flow files, WebSocket and TCP flows, through ``mitmdump -nr``.

mitmproxy reads its own format, of any version, in a process of its own; we never import it. A file that was
cut loses what mitmproxy cannot read of it and nothing before that.
"""

import base64
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twin.io.formats.flow_script import MARK
from twin.io.formats.jsonlines import shown
from twin.io.formats.recorded import frames_of
from twin.io.handover import Item
from twin.io.reading import CaptureError, Format, ImportReport, Reading, ReadOptions
from twin.model import Frame

_FLOW = re.compile(rb"\d{1,10}:(?:\d{1,5}:[a-z_]{2,20};|.{0,80}?\d{1,5}:(?:version|type|id);)", re.DOTALL)
_SCRIPT = Path(__file__).with_name("flow_script.py")
_FAREWELL_S = 60  # from the last flow to the end of the process
_SAID = 300  # characters of what mitmdump says


def sniff(path: Path, head: bytes) -> float:
    """Certain where the file begins as a tnetstring dictionary with one of mitmproxy's own words in it."""
    if not _FLOW.match(head):
        return 0.0
    return 0.95 if b"client_conn" in head or path.suffix in (".mitm", ".mitmproxy", ".flow") else 0.3


def read(path: Path, options: ReadOptions) -> Reading:
    """Frames by the stamps that mitmproxy gave them; a line of the report is a message, a read or a flow."""
    mitmdump = shutil.which("mitmdump") or shutil.which("mitmdump", path=str(Path(sys.executable).parent))
    if mitmdump is None:
        raise CaptureError(
            f"{path} is read with mitmdump, which is not there: pip install 'octoflex-twin[proxy]'"
        )
    report = ImportReport()
    return Reading(format="mitmflow", frames=_frames(path, mitmdump, report), report=report)


def _frames(path: Path, mitmdump: str, report: ImportReport) -> Iterator[Frame]:
    yield from frames_of(_items(path, mitmdump, report))
    report.settle()


def _items(path: Path, mitmdump: str, report: ImportReport) -> Iterator[Item]:
    known: dict[str, str] = {}
    last_ns = 0
    with tempfile.TemporaryDirectory(prefix="twin-flows-") as confdir:
        for number, line in enumerate(_told(path, mitmdump, confdir, report), 1):
            report.lines += 1
            conn = known.setdefault(line["flow"], f"c{len(known) + 1}")
            at_s = line["at_s"]
            if not isinstance(at_s, int | float) or isinstance(at_s, bool):
                at_s = last_ns / 1e9
            last_ns = max(last_ns, round(at_s * 1e6) * 1000)
            item = _item(line, conn, last_ns)
            if isinstance(item, str):
                report.unused_line(number, shown(json.dumps(line).encode()), item)
                continue
            report.used += 1
            yield from item


def _item(line: dict[str, Any], conn: str, at_ns: int) -> list[Item] | str:
    clocks = (at_ns, at_ns)
    facts = line.get("facts") or {}
    match line["what"]:
        case "open":
            return [("open", conn, facts, *clocks)]
        case "message":
            data = base64.b64decode(line["data"])
            return [("message", conn, line["sender"], line["kind"], data, facts, *clocks)]
        case "data":
            return [("data", conn, line["sender"], base64.b64decode(line["data"]), *clocks)]
        case "end":
            return [("end", conn, facts, *clocks)]
    return "nothing that we know of"


def _told(path: Path, mitmdump: str, confdir: str, report: ImportReport) -> Iterator[dict[str, Any]]:
    command = [mitmdump, "-n", "-q", "-r", str(path), "-s", str(_SCRIPT), "--set", f"confdir={confdir}"]
    command += ["--set", "flow_detail=0", "--set", "termlog_verbosity=error"]
    said = Path(confdir, "said")  # a file takes any amount while we read the other pipe
    with (
        said.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None
        last = ""
        any_flow = False
        try:
            for raw in process.stdout:
                line = raw.decode("utf-8", "replace")
                if line.startswith(MARK):
                    any_flow = True
                    yield json.loads(line.removeprefix(MARK))
                elif line.strip():
                    last = line.strip()
            process.wait(_FAREWELL_S)
        finally:
            process.kill()
    last = _last_line(said) or last
    if last:
        report.notes.append(f"mitmdump says: {last[:_SAID]}")
    if not any_flow:
        why = last[:_SAID] or "no WebSocket and no TCP flow in it"
        raise CaptureError(f"{path}: {why}")


def _last_line(said: Path) -> str:
    with said.open("rb") as file:
        file.seek(max(0, said.stat().st_size - 16 * _SAID))
        lines = file.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


FORMAT = Format(name="mitmflow", title="mitmproxy flow file", sniff=sniff, read=read)
