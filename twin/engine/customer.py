"""Whose transactions: everything a capture holds of one idTag, or of the pseudonym that stands for it."""

from collections.abc import Callable, Iterable

import msgspec

from twin.engine.analyzer import Analyzer
from twin.model import EventKind, Frame
from twin.protocol.fold import integer
from twin.protocol.state import Transaction
from twin.protocol.timestamps import parse_stamp


class TagUse(msgspec.Struct, kw_only=True):
    """One transaction of the idTag. Energies in Wh, times in UTC µs; ``None`` where the capture does not say.

    ``frames``: its StartTransaction, its StopTransaction (0 if none was seen).
    """

    station: str
    connector_id: int
    transaction_id: int | None
    started_us: int | None
    stopped_us: int | None = None
    meter_start_wh: int | None = None
    meter_stop_wh: int | None = None
    reason: str = ""
    frames: tuple[int, int] = (0, 0)

    @property
    def energy_wh(self) -> int | None:
        if self.meter_start_wh is None or self.meter_stop_wh is None:
            return None
        return self.meter_stop_wh - self.meter_start_wh


def transactions_of(frames: Iterable[Frame], is_theirs: Callable[[str], bool]) -> list[TagUse]:
    """Every transaction whose idTag ``is_theirs``, in the order of their starts."""
    analyzer = Analyzer()
    found: dict[tuple[str, int], TagUse] = {}
    by_id: dict[tuple[str, int], TagUse] = {}
    for frame in frames:
        for step in analyzer.steps(frame):
            event, after = step.event, step.after
            if event.kind is EventKind.CALLED and event.action == "StartTransaction":
                for held in after.starting.values():
                    _note(found, event.station or event.link, held, is_theirs)
            elif event.action == "StartTransaction":
                for number, held in after.transactions.items():
                    use = _note(found, event.station or event.link, held, is_theirs)
                    if use is not None:
                        use.transaction_id = number
                        by_id[event.station or event.link, number] = use
            elif event.kind is EventKind.CALLED and event.action == "StopTransaction":
                asked = integer(step.payload.get("transactionId"))
                stopped = by_id.get((event.station or event.link, -1 if asked is None else asked))
                if stopped is not None:
                    _stop(stopped, step.payload, frame.seq)
    return list(found.values())


def _note(
    found: dict[tuple[str, int], TagUse], station: str, held: Transaction, is_theirs: Callable[[str], bool]
) -> TagUse | None:
    place = (station, held.start_seq)
    if place not in found and is_theirs(held.id_tag):
        found[place] = TagUse(
            station=station,
            connector_id=held.connector_id,
            transaction_id=held.transaction_id,
            started_us=held.started_us,
            meter_start_wh=held.meter_start_wh,
            frames=(held.start_seq, 0),
        )
    return found.get(place)


def _stop(use: TagUse, payload: dict[str, object], seq: int) -> None:
    stamp = parse_stamp(payload["timestamp"]) if isinstance(payload.get("timestamp"), str) else None
    use.stopped_us = stamp.at_us if stamp else None
    use.meter_stop_wh = integer(payload.get("meterStop"))
    use.reason = str(payload.get("reason") or "Local")  # OCPP 1.6 §6.49: absent means Local
    use.frames = (use.frames[0], seq)
