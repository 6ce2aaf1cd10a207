"""What must survive a power cut, and what travels: transactions, queued messages, commands to the store."""

from typing import Any, Literal

import msgspec


class Persist(msgspec.Struct, frozen=True):
    """Store ``value`` under ``key`` before anything that follows goes out; ``None`` removes it."""

    key: str
    value: bytes | None


class Tx(msgspec.Struct):
    """A transaction of the station, by its own number; ``server_id`` is the CSMS's, once it is known."""

    local_id: int
    connector_id: int
    id_tag: str
    parent_tag: str
    meter_start_wh: int
    started_us: int
    server_id: int | None = None
    ended: bool = False
    resume_reason: str = ""  # Stop with it after the next boot
    meter_wh: int = 0  # newest register, for a Stop after a power cut
    meter_us: int = 0
    entries: int = 0  # of transactionData kept beside Begin and End


class Queued(msgspec.Struct):
    """A transaction message waiting for its answer. ``payload`` lacks the transactionId until it is sent."""

    seq: int
    local_id: int  # 0: no transaction (clock-aligned values of an idle connector)
    kind: Literal["start", "meter", "stop"]
    payload: dict[str, Any]
    attempts: int = 0
    next_us: int = 0
    bound: bool = False


class Outgoing(msgspec.Struct):
    """A CALL of the urgent lane, or of a boot: ``note`` says what its answer is for."""

    action: str
    payload: dict[str, Any]
    note: Any = None
    tries: int = 1


class InFlight(msgspec.Struct):
    """The CALL that waits for its answer until ``due_us``."""

    message_id: str
    due_us: int
    call: Outgoing | Queued


ACTION_OF = {"start": "StartTransaction", "meter": "MeterValues", "stop": "StopTransaction"}
