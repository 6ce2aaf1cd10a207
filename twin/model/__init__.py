"""The words of the project as frozen records: what was seen, what it means, what we think of it.

Those that come by the hundred thousand are no business of the garbage collector (``gc=False``): trees all.
"""

from twin.model.events import Awaited, Event, EventKind, PendingCall
from twin.model.findings import Fault, Finding, Severity
from twin.model.frames import Frame, Kind, Side
from twin.model.messages import Call, CallError, CallResult, Defect, Flaw, Message, Parsed

__all__ = [
    "Awaited",
    "Call",
    "CallError",
    "CallResult",
    "Defect",
    "Event",
    "EventKind",
    "Fault",
    "Finding",
    "Flaw",
    "Frame",
    "Kind",
    "Message",
    "Parsed",
    "PendingCall",
    "Severity",
    "Side",
]
