"""What the pictures of one station in one capture are drawn from: connectors over time, energy registers."""

from decimal import Decimal

import msgspec

MOST_TRANSACTIONS = 256
_MOST_CONNECTORS = 256
_MOST_BANDS = 5_000  # of one station in one capture
_MOST_POINTS = 512  # of one transaction


class Band(msgspec.Struct, frozen=True):
    """A connector in one status: from the frame that told it to the next, or to the end of what is known."""

    connector_id: int
    status: str
    start_us: int
    end_us: int
    seq: int


class Curve(msgspec.Struct):
    """An energy register: arrival in UTC µs and Wh, thinned to every ``stride``-th value."""

    points: list[tuple[int, float]] = msgspec.field(default_factory=list)
    stride: int = 1
    seen: int = 0

    def add(self, at_us: int, energy_wh: Decimal) -> None:
        self.seen += 1
        if (self.seen - 1) % self.stride:
            return
        self.points.append((at_us, float(energy_wh)))
        if len(self.points) > _MOST_POINTS:
            del self.points[1::2]
            self.stride *= 2


class Part(msgspec.Struct):
    """One station in one capture. ``dropped`` counts what the pictures have no room for."""

    first_us: int
    last_us: int
    messages: int = 0
    bands: list[Band] = msgspec.field(default_factory=list)
    standing: dict[int, tuple[str, int, int]] = msgspec.field(default_factory=dict)
    energy: dict[int, Curve] = msgspec.field(default_factory=dict)
    dropped: int = 0

    def told(self, connector_id: int, status: str, at_us: int, seq: int) -> None:
        known = self.standing.get(connector_id)
        if known is not None and known[0] == status:
            return
        if known is None and len(self.standing) >= _MOST_CONNECTORS:
            self.dropped += 1
            return
        self.close(connector_id, at_us)
        self.standing[connector_id] = (status, at_us, seq)

    def close(self, connector_id: int, at_us: int) -> None:
        known = self.standing.pop(connector_id, None)
        if known is None:
            return
        if len(self.bands) >= _MOST_BANDS:
            self.dropped += 1
            return
        status, since_us, seq = known
        self.bands.append(Band(connector_id, status, since_us, at_us, seq))

    def close_all(self, at_us: int) -> None:
        for connector_id in list(self.standing):
            self.close(connector_id, at_us)
