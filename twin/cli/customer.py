"""twin show --tag: the transactions of one customer, found by the idTag itself or by its pseudonym."""

from pathlib import Path
from typing import Any

from twin.cli.common import USAGE, fail, frames_of, opened, say, say_json
from twin.engine.customer import TagUse, transactions_of
from twin.io.keys import load_or_create
from twin.io.reading import Reading
from twin.io.recorder_process import default_key_file
from twin.io.redact import Redactor
from twin.protocol.timestamps import format_us
from twin.report.words import plain


def show_tag(path: Path, tag: str, key_file: Path | None, *, as_json: bool, **read: Any) -> None:
    """Print what the capture holds of this idTag; exit 2 where its pseudonym cannot be computed."""
    reading = opened(path, **read)
    names = {tag.casefold(), *_pseudonyms(path, reading, tag, key_file)}
    uses = transactions_of(frames_of(reading), lambda held: held.casefold() in names)
    if as_json:
        say_json({"capture": path.name, "transactions": [_row(use) for use in uses]})
        return
    for use in uses:
        say(plain(_line(use)))
    whole_wh = sum(use.energy_wh or 0 for use in uses)
    say(f"{len(uses)} transactions, {whole_wh / 1000:,.3f} kWh")


def _pseudonyms(path: Path, reading: Reading, tag: str, key_file: Path | None) -> set[str]:
    """How the tag is spelt in this capture under the site's key; nothing where idTags were kept."""
    told = reading.manifest.get("redaction")
    if not isinstance(told, dict) or told.get("keep_id_tags"):
        return set()
    place = key_file or default_key_file()
    if not place.exists():
        raise fail(f"{path.name} holds pseudonyms; name the key it was recorded with: --key-file FILE", USAGE)
    try:
        redactor = Redactor(load_or_create(place, "pseudonym key"))
    except (ValueError, OSError) as error:
        raise fail(str(error), USAGE) from error
    if told.get("key") != redactor.fingerprint:
        raise fail(
            f"{path.name} was recorded with the key {told.get('key')}, {place} is {redactor.fingerprint}: "
            "name the right one with --key-file FILE",
            USAGE,
        )
    return {redactor.pseudonym("idTag", tag).casefold()}


def _row(use: TagUse) -> dict[str, Any]:
    return {
        "station": use.station,
        "connector_id": use.connector_id,
        "transaction_id": use.transaction_id,
        "started_us": use.started_us,
        "stopped_us": use.stopped_us,
        "energy_wh": use.energy_wh,
        "reason": use.reason,
        "start_seq": use.frames[0],
        "stop_seq": use.frames[1] or None,
    }


def _line(use: TagUse) -> str:
    start = format_us(use.started_us)[:19] if use.started_us is not None else "start unknown"
    stop = format_us(use.stopped_us)[:19] if use.stopped_us is not None else "not stopped"
    energy = f"{use.energy_wh:,} Wh" if use.energy_wh is not None else "energy unknown"
    number = use.transaction_id if use.transaction_id is not None else "unanswered"
    return (
        f"{use.station}  connector {use.connector_id}  transaction {number}  {start}  {stop}  {energy}  "
        f"{use.reason}  frames #{use.frames[0]}" + (f" #{use.frames[1]}" if use.frames[1] else "")
    )
