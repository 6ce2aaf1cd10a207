"""Turns of phrase that many test cases share: the usual exchanges, and the way to the usual states."""

from typing import Any

from twin.certificate.case_words import (
    CONNECTOR,
    INTERVAL,
    TAG,
    TRANSACTION,
    Act,
    AnyOrder,
    Doing,
    Each,
    Exchange,
    Must,
    Setting,
    Step,
    Unless,
    Where,
)
from twin.model import Side

IN_USE = ("Charging", "SuspendedEV", "SuspendedEVSE")
ACCEPTED = Must("status", ("Accepted",))
# Scheduled is the answer where somebody is at the connector (OCPP 1.6 §5.2).
SWITCHED = Must("status", ("Accepted",), wrong=("Rejected",))
CSMS_ACCEPTS = (Where("idTagInfo/status", ("Accepted",)),)
LOCAL = ("Local", None)  # OCPP 1.6 §4.10: an omitted reason means Local
ON_CONNECTOR = Where("connectorId", name=CONNECTOR)
OF_TRANSACTION = Where("transactionId", name=TRANSACTION)
WITH_TAG = Where("idTag", name=TAG)


def station(action: str, *where: Where, **more: Any) -> Exchange:
    """A CALL of the station, picked by ``where``."""
    return Exchange(by=Side.STATION, action=action, where=where, **more)


def csms(action: str, *where: Where, **more: Any) -> Exchange:
    """A CALL of the CSMS, picked by ``where``."""
    return Exchange(by=Side.CSMS, action=action, where=where, **more)


def status(*allowed: str, over: tuple[str, ...] = (), wrong: tuple[str, ...] = (), **more: Any) -> Exchange:
    """The connector is in one of these; ``over`` are statuses that it may pass on the way."""
    return station("StatusNotification", ON_CONNECTOR, must=(Must("status", allowed, over, wrong),), **more)


def turns(name: str, *where: Where, **more: Any) -> Exchange:
    """The status by which the step is known: any other one is not this step."""
    return station("StatusNotification", ON_CONNECTOR, Where("status", (name,)), *where, **more)


def every_status(name: str, *, each: Each = Each.CONNECTOR, wrong: tuple[str, ...] = ()) -> Exchange:
    """A StatusNotification for connector 0 and each of the others."""
    return station("StatusNotification", must=(Must("status", (name,), (), wrong),), each=each)


def authorize(**more: Any) -> Exchange:
    """The station asks and the CSMS accepts."""
    return station("Authorize", WITH_TAG, answer_where=CSMS_ACCEPTS, **more)


def boot(status_told: str = "Accepted", *where: Where, **more: Any) -> Exchange:
    """The station boots and the CSMS answers with ``status_told``."""
    told = (Where("status", (status_told,)), *where)
    return station("BootNotification", answer_where=told, **more)


def start(**more: Any) -> Exchange:
    """The station begins the transaction on the connector for the idTag, and the CSMS accepts."""
    answer = more.pop("answer_where", CSMS_ACCEPTS)
    return station("StartTransaction", ON_CONNECTOR, WITH_TAG, answer_where=(*answer, OF_TRANSACTION), **more)


def stop(*reasons: str | None, wrong: tuple[str | None, ...] = (), **more: Any) -> Exchange:
    """The station ends the transaction with one of ``reasons``; without any, with whichever."""
    must = (Must("reason", reasons, (), wrong),) if reasons else ()
    return station("StopTransaction", OF_TRANSACTION, must=must, **more)


def finishing(**more: Any) -> Exchange:
    """The connector is Finishing after its transaction; Available means that somebody unplugged."""
    return status("Finishing", over=IN_USE, wrong=("Preparing", "Reserved"), **more)


def charging(**more: Any) -> Exchange:
    """The connector is Charging after a start; a vehicle that does not draw is no contradiction."""
    return status("Charging", over=("Preparing",), wrong=("Reserved",), **more)


START_AND_CHARGING = AnyOrder((start(owed=False), charging()))
RETRY_AFTER = Where("interval", name=INTERVAL)
REMOTE_AUTHORIZE = Setting("AuthorizeRemoteTxRequests", "true")
# OCPP 1.6 §9.1.13: with true a cached idTag needs no Authorize.
ASKED_FOR = (REMOTE_AUTHORIZE, Setting("LocalPreAuthorize", "false"))

# How a driver brings a station to the states that cases begin in.
PLUG_IN: tuple[Step, ...] = (Act(Doing.PLUG), turns("Preparing"))
AUTHORIZE: tuple[Step, ...] = (Act(Doing.TAG), authorize(), turns("Preparing"))
CHARGE: tuple[Step, ...] = (*AUTHORIZE, Act(Doing.PLUG), AnyOrder((start(), charging())))

ANOTHER_START = Unless(station("StartTransaction", ON_CONNECTOR), "a transaction began")
USED_ELSEWHERE = (
    Unless(station("StartTransaction", WITH_TAG), "the idTag began a transaction"),
    Unless(station("StopTransaction", WITH_TAG), "the idTag ended a transaction"),
)
BOOTED_ANEW = Unless(station("BootNotification"), "the station booted")
NOT_A_RESET = Unless(csms("Reset"), "a reset was asked for")
SAMPLES_ANEW = Unless(
    csms("ChangeConfiguration", Where("key", ("MeterValueSampleInterval", "ClockAlignedDataInterval"))),
    "an interval was written",
)
