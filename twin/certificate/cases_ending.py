"""Test cases of ending a transaction at the station, and of its meter values, restated in our own words."""

from twin.certificate.case_phrases import (
    BOOTED_ANEW,
    CHARGE,
    IN_USE,
    LOCAL,
    OF_TRANSACTION,
    ON_CONNECTOR,
    SAMPLES_ANEW,
    csms,
    finishing,
    station,
    status,
    stop,
    turns,
)
from twin.certificate.case_words import (
    OTHER_TAG,
    Act,
    AnyOrder,
    Applies,
    Case,
    Check,
    Doing,
    Key,
    Must,
    Needs,
    Never,
    Passive,
    Series,
    Setting,
    State,
    Unless,
    Where,
)

_SAMPLED, _ALIGNED = "MeterValueSampleInterval", "ClockAlignedDataInterval"
_STOP_UNPLUGGED = "StopTransactionOnEVSideDisconnect"
_UNLOCK_UNPLUGGED = "UnlockConnectorOnEVSideDisconnect"

# OCPP 1.6 §4.10, §9.1.23, §9.1.33 and errata 3.79, 3.83
ENDING = (
    Case(
        id="TC_005_1",
        name="Unplugged at the vehicle: stop and unlock",
        passive=Passive.ACT_UNSEEN,
        before=(
            Setting(_STOP_UNPLUGGED, "true"),
            Setting(_UNLOCK_UNPLUGGED, "true"),
            Setting("MinimumStatusDuration", "0", if_implemented=True),
        ),
        needs=(Needs.SOCKET,),
        applies=Applies.NOT,
        why="the cable is fixed",
        prelude=CHARGE,
        state=(State.CHARGING,),
        steps=(
            Act(Doing.UNPLUG),
            AnyOrder(
                (
                    station(
                        "StopTransaction", OF_TRANSACTION, Where("reason", ("EVDisconnected",)), owed=False
                    ),
                    finishing(),
                )
            ),
            Act(Doing.UNPLUG_STATION),
            status("Available", owed=False),
        ),
    ),
    Case(
        id="TC_005_2",
        name="Unplugged at the vehicle: stop, do not unlock",
        passive=Passive.IF_TRIGGER_SEEN,
        before=(
            Setting(_STOP_UNPLUGGED, "true"),
            Setting(_UNLOCK_UNPLUGGED, "false"),
            Setting("MinimumStatusDuration", "0", if_implemented=True),
        ),
        prelude=CHARGE,
        state=(State.CHARGING,),
        steps=(
            Act(Doing.UNPLUG),
            AnyOrder(
                (
                    station(
                        "StopTransaction", OF_TRANSACTION, Where("reason", ("EVDisconnected",)), owed=False
                    ),
                    status("Finishing", "Available", over=IN_USE, wrong=("Preparing", "Reserved")),
                )
            ),
            csms("UnlockConnector", ON_CONNECTOR, optional=True),
        ),
    ),
    Case(
        id="TC_005_3",
        name="Unplugged at the vehicle: do not stop",
        passive=Passive.IF_TRIGGER_SEEN,
        before=(Setting(_STOP_UNPLUGGED, "false"), Setting(_UNLOCK_UNPLUGGED, "false")),
        needs=(Needs.WRITABLE_STOP,),
        applies=Applies.IF,
        why="StopTransactionOnEVSideDisconnect is implemented and writable",
        prelude=CHARGE,
        state=(State.CHARGING,),
        steps=(
            Act(Doing.UNPLUG, shown=False),
            turns("SuspendedEV"),
            Never(
                exchange=station("StopTransaction", OF_TRANSACTION, Where("reason", ("EVDisconnected",))),
                why="the transaction ended when the vehicle was unplugged",
            ),
            Unless(
                station("StatusNotification", ON_CONNECTOR, Where("status", ("Charging",))),
                "the vehicle draws again",
            ),
            csms(
                "RemoteStopTransaction",
                OF_TRANSACTION,
                owed=False,
                answer_must=(Must("status", ("Accepted",)),),
            ),
            AnyOrder((stop(), finishing())),
        ),
    ),
    Case(
        id="TC_068",
        name="Stop with the idTag that started",
        passive=Passive.IF_TRIGGER_SEEN,
        prelude=CHARGE,
        state=(State.CHARGING,),
        steps=(
            Act(Doing.OTHER_TAG, shown=False),
            Act(Doing.TAG),
            AnyOrder(
                (
                    station(
                        "StopTransaction",
                        OF_TRANSACTION,
                        Where("reason", LOCAL),
                        Where("idTag", differs=True),
                        checks=(Check.OWN_TAG,),
                        owed=False,
                    ),
                    finishing(),
                )
            ),
        ),
    ),
    Case(
        id="TC_069",
        name="Stop with another idTag of the same parent",
        passive=Passive.IF_TRIGGER_SEEN,
        needs=(Needs.ONE_READER,),
        prelude=CHARGE,
        steps=(
            Act(Doing.OTHER_TAG),
            station(
                "Authorize",
                Where("idTag", name=OTHER_TAG),
                answer_where=(
                    Where("idTagInfo/status", ("Accepted",)),
                    Where("idTagInfo/parentIdTag", differs=True),
                ),
            ),
            station(
                "StopTransaction",
                OF_TRANSACTION,
                Where("idTag", name=OTHER_TAG),
                checks=(Check.SAME_PARENT,),
                must=(Must("reason", LOCAL),),
                owed=False,
            ),
            finishing(),
        ),
    ),
)

METERING = (
    Case(
        id="TC_070",
        name="Sampled meter values",
        passive=Passive.FULLY,
        before=(Setting(_SAMPLED), Setting(_ALIGNED, "0")),
        prelude=CHARGE,
        state=(State.CHARGING,),
        steps=(
            Series(
                context="Sample.Periodic",
                every=Key(_SAMPLED),
                times=3,
                measurands=Key("MeterValuesSampledData"),
            ),
            SAMPLES_ANEW,
            BOOTED_ANEW,
            Unless(station("StopTransaction", OF_TRANSACTION), "the transaction ended"),
        ),
    ),
    Case(
        id="TC_071",
        name="Clock-aligned meter values",
        passive=Passive.FULLY,
        before=(Setting(_SAMPLED, "0"), Setting(_ALIGNED)),
        prelude=CHARGE,
        state=(State.CHARGING,),
        steps=(
            Series(
                context="Sample.Clock",
                every=Key(_ALIGNED),
                times=3,
                measurands=Key("MeterValuesAlignedData"),
                on_grid=True,
            ),
            SAMPLES_ANEW,
            BOOTED_ANEW,
            Unless(station("StopTransaction", OF_TRANSACTION), "the transaction ended"),
        ),
    ),
)
