"""One message of a text log, as its line gave it."""

import msgspec

from twin.io.formats.textlog_shapes import Shape
from twin.io.formats.textlog_times import LogTime


class Item(msgspec.Struct):
    """One message of the log: its text word for word, and all that its line said about it."""

    number: int
    shape: Shape
    text: str
    verb: str = ""
    station: str = ""
    time: LogTime | None = None
    marks: set[str] = msgspec.field(default_factory=set)
    bytes_said: int | None = None
    lines: int = 1  # of the source that this message accounts for
    heard: set[str] = msgspec.field(default_factory=set)  # names of the shapes that said it
    head: str = ""  # the words before a bare frame
    column: str = ""  # what stands there in the column that a header calls the station's
