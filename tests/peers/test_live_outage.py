"""The CSMS is gone for 25 seconds, really; afterwards it has been told everything, once and in order."""

import itertools
import json
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fault_relay import fault_relay
from tests.peers import serve_csms
from tests.peers.stations import Handled
from twin.engine.station import Act, Behaviour
from twin.model import Fault, Severity

pytestmark = [pytest.mark.peer, pytest.mark.slow]

STATION = "OTMK-0001"
GONE_S = 25
INTERVAL = timedelta(seconds=2)


async def test_nothing_is_lost_while_the_csms_is_gone(tmp_path: Path) -> None:
    with serve_csms(tmp_path / "book") as csms:
        async with fault_relay(urlsplit(csms.url).port or 0) as relay:
            url = f"ws://127.0.0.1:{relay.port}/{STATION}"
            station = Handled(url, tmp_path, behaviour=Behaviour(connectors=3, boot_ms=0, backoff_s=(1, 4)))
            station.start()
            await station.until(station.is_idle)
            csms.order(STATION, "ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "2"})
            await station.until(lambda: station.answered["ChangeConfiguration"] == 1)
            for connector in (1, 2):
                await station.act(Act(do="plug", connector_id=connector))
                await station.act(Act(do="tag", tag=f"TAG000{connector}"))
            await station.until(lambda: station.answered["MeterValues"] >= 4 and station.is_idle())

            told, gone_us = station.answered.copy(), station.now_us()
            await relay.close()
            station.act_in(GONE_S / 2, Act(do="unplug", connector_id=2))
            await station.until(lambda: station.now_us() - gone_us >= GONE_S * 1_000_000)
            assert station.troubles
            assert station.answered == told
            assert [queued.kind for queued in station.station.uplink.queue].count("stop") == 1
            await relay.start()
            await station.until(station.is_idle)

            more = station.answered["MeterValues"] + 2
            await station.until(lambda: station.answered["MeterValues"] >= more and station.is_idle())
            await station.act(Act(do="tag", tag="TAG0001"))
            await station.act(Act(do="unplug", connector_id=1))
            await station.leave()

    assert station.answered["BootNotification"] == 1
    ours = [f for f in station.findings if f.fault is Fault.STATION]
    assert [f for f in ours if f.severity.rank <= Severity.WARNING.rank] == []
    everything = told_of_transactions(tmp_path / "book")
    stamps = [stamp for stamp, _, _ in everything]
    assert stamps == sorted(stamps)
    numbers = {number for _, number, _ in everything}
    assert len(numbers) == 2
    for number in numbers:
        (first, start), *between, (last, stop) = [(at, what) for at, of, what in everything if of == number]
        assert (start, stop) == ("TransactionStartedEvent", "TransactionStoppedEvent")
        assert {what for _, what in between} <= {"Sample.Periodic", "Sample.Clock"}  # at a quarter of an hour
        samples = [at for at, what in between if what == "Sample.Periodic"]
        assert samples == [first + INTERVAL * (n + 1) for n in range(len(samples))]
        assert last - samples[-1] <= INTERVAL
    assert len(everything) > 2 * 2 + (GONE_S + GONE_S // 2) // 2


def told_of_transactions(book: Path) -> list[tuple[datetime, int, str]]:
    """What the CSMS was told of transactions, in that order: the station's stamp, whose, event or context.

    A message whose answer the outage took is told twice in a row, and stands here once.
    """
    told = []
    for event in map(json.loads, book.read_text(encoding="utf-8").splitlines()):
        match event:
            case {"event": "TransactionStartedEvent" as what, "transaction": transaction}:
                told.append((transaction["started_at"], transaction["transaction_id"], what))
            case {"event": "TransactionStoppedEvent" as what, "transaction": transaction}:
                told.append((transaction["stopped_at"], transaction["transaction_id"], what))
            case {"event": "MeterValuesEvent", "transaction_id": number, "readings": readings}:
                samples = {(reading["timestamp"], reading["context"]) for reading in readings}
                if len(samples) == 1:  # several are the transactionData of StopTransaction
                    told += [(stamp, number, context) for stamp, context in samples]
    return [(datetime.fromisoformat(at), number, what) for (at, number, what), _ in itertools.groupby(told)]
