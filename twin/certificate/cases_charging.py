"""Test cases of booting, authorizing, charging and metering, restated in our own words."""

from twin.certificate.case_phrases import (
    ANOTHER_START,
    ASKED_FOR,
    AUTHORIZE,
    BOOTED_ANEW,
    CHARGE,
    IN_USE,
    LOCAL,
    OF_TRANSACTION,
    ON_CONNECTOR,
    PLUG_IN,
    REMOTE_AUTHORIZE,
    RETRY_AFTER,
    SAMPLES_ANEW,
    START_AND_CHARGING,
    USED_ELSEWHERE,
    WITH_TAG,
    authorize,
    boot,
    charging,
    csms,
    every_status,
    finishing,
    start,
    station,
    status,
    stop,
    turns,
)
from twin.certificate.case_words import (
    HEARTBEAT,
    INTERVAL,
    OTHER_TAG,
    Act,
    AnyOrder,
    Applies,
    Bound,
    Case,
    Check,
    Doing,
    Exchange,
    Key,
    Must,
    Needs,
    Never,
    OneOf,
    Passive,
    Series,
    Setting,
    State,
    Step,
    Unless,
    Wait,
    Where,
)
from twin.model import Side

_SAMPLED, _ALIGNED, _TIME_OUT = "MeterValueSampleInterval", "ClockAlignedDataInterval", "ConnectionTimeOut"
_STOP_UNPLUGGED = "StopTransactionOnEVSideDisconnect"
_UNLOCK_UNPLUGGED = "UnlockConnectorOnEVSideDisconnect"
_CACHING = (Setting("AuthorizationCacheEnabled", "true"), Setting("LocalPreAuthorize", "true"))
_REFUSED = ("Blocked", "Expired", "Invalid")

# OCPP 1.6 §4.2: after Accepted every connector reports, then the station shows that it lives.
_ACCEPTED_AND_ALIVE: tuple[Step, ...] = (
    boot("Accepted", Where("interval", name=HEARTBEAT), not_before=Bound(INTERVAL)),
    every_status("Available"),
    station("Heartbeat", times=3, every=Bound(HEARTBEAT)),
)

BOOTING = (
    Case(
        id="TC_001",
        name="Cold boot",
        passive=Passive.FULLY,
        prelude=(Act(Doing.POWER_CYCLE),),
        steps=(boot("Rejected", RETRY_AFTER), *_ACCEPTED_AND_ALIVE),
    ),
    Case(
        id="TC_002",
        name="Cold boot while Pending",
        passive=Passive.FULLY,
        prelude=(Act(Doing.POWER_CYCLE),),
        steps=(
            boot("Pending", RETRY_AFTER),
            Never(
                exchange=Exchange(by=Side.STATION, action=""),
                but=("BootNotification",),
                until="BootNotification",
                why="the station sent a CALL of its own while Pending",
            ),
            csms("GetConfiguration", owed=False),
            csms("ChangeConfiguration", owed=False, answer_must=(Must("status", ("Accepted",)),)),
            *_ACCEPTED_AND_ALIVE,
        ),
    ),
)

STARTING = (
    Case(
        id="TC_003",
        name="Charging begins with the plug",
        passive=Passive.IF_TRIGGER_SEEN,
        state=(State.IDLE,),
        steps=(
            Act(Doing.PLUG),
            turns("Preparing"),
            Act(Doing.TAG),
            authorize(owed=False),
            START_AND_CHARGING,
        ),
    ),
    Case(
        id="TC_004_1",
        name="Charging begins with the identification",
        passive=Passive.IF_TRIGGER_SEEN,
        before=(Setting(_SAMPLED),),
        steps=(
            Act(Doing.TAG),
            authorize(),
            turns("Preparing", owed=False),
            Act(Doing.PLUG),
            START_AND_CHARGING,
        ),
    ),
    Case(
        id="TC_004_2",
        name="Identification without a plug until the time-out",
        passive=Passive.FULLY,
        before=(Setting(_TIME_OUT),),
        steps=(
            Act(Doing.TAG),
            authorize(),
            *USED_ELSEWHERE,
            turns("Preparing", owed=False, within=5),
            ANOTHER_START,
            status("Available", not_before=Key(_TIME_OUT), within=Key(_TIME_OUT)),
        ),
    ),
    Case(
        id="TC_007",
        name="Start with a cached idTag",
        aliases=("TC_007_1", "TC_007_2"),
        passive=Passive.IF_TRIGGER_SEEN,
        before=_CACHING,
        needs=(Needs.CACHE,),
        applies=Applies.IF,
        why="an authorization cache is implemented",
        state=(State.IDLE,),
        steps=(
            Act(Doing.TAG),
            turns("Preparing"),
            Act(Doing.PLUG),
            AnyOrder((start(owed=False, checks=(Check.FROM_CACHE,)), charging())),
        ),
    ),
    Case(
        id="TC_010",
        name="Remote start with the cable plugged in first",
        passive=Passive.FULLY,
        before=(Setting("AuthorizeRemoteTxRequests"),),
        prelude=(csms("GetConfiguration"), *PLUG_IN),
        state=(State.PLUGGED,),
        steps=(
            csms(
                "RemoteStartTransaction",
                ON_CONNECTOR,
                WITH_TAG,
                answer_must=(Must("status", ("Accepted",), sure=(State.TAG_ACCEPTED, State.NOBODY_WAITS)),),
            ),
            Never(
                exchange=station("StartTransaction", ON_CONNECTOR, WITH_TAG),
                until="Authorize",
                given=ASKED_FOR,
                tells=True,
                why="the transaction began before the idTag was authorized",
            ),
            authorize(when=ASKED_FOR),
            START_AND_CHARGING,
        ),
    ),
    Case(
        id="TC_011_1",
        name="Remote start first",
        passive=Passive.FULLY,
        before=(Setting("AuthorizeRemoteTxRequests"),),
        prelude=(csms("GetConfiguration"),),
        state=(State.IDLE,),
        steps=(
            csms(
                "RemoteStartTransaction",
                ON_CONNECTOR,
                WITH_TAG,
                answer_must=(Must("status", ("Accepted",), sure=(State.TAG_ACCEPTED,)),),
            ),
            Never(
                exchange=turns("Preparing"),
                until="Authorize",
                given=(REMOTE_AUTHORIZE,),
                doubtful=True,
                why="Preparing came before Authorize: the cable may have been plugged in",
            ),
            authorize(when=ASKED_FOR),
            turns("Preparing"),
            Act(Doing.PLUG),
            START_AND_CHARGING,
        ),
    ),
    Case(
        id="TC_011_2",
        name="Remote start without a plug until the time-out",
        passive=Passive.FULLY,
        before=(Setting("AuthorizeRemoteTxRequests"), Setting(_TIME_OUT)),
        prelude=(csms("GetConfiguration"),),
        state=(State.IDLE,),
        steps=(
            csms(
                "RemoteStartTransaction",
                ON_CONNECTOR,
                WITH_TAG,
                answer_must=(Must("status", ("Accepted",), sure=(State.TAG_ACCEPTED,)),),
            ),
            *USED_ELSEWHERE,
            ANOTHER_START,
            authorize(when=ASKED_FOR),
            turns("Preparing", owed=False),
            status("Available", not_before=Key(_TIME_OUT), within=Key(_TIME_OUT)),
        ),
    ),
    Case(
        id="TC_023",
        name="Start with an idTag that is refused",
        aliases=("TC_023_1", "TC_023_2", "TC_023_3", "TC_023_4", "TC_023_5"),
        passive=Passive.FULLY,
        before=(
            Setting("MinimumStatusDuration", "10", if_implemented=True),
            Setting("LocalPreAuthorize", "true", if_implemented=True),
        ),
        steps=(
            Act(Doing.TAG),
            station("Authorize", WITH_TAG, answer_where=(Where("idTagInfo/status", _REFUSED),)),
            Unless(station("Authorize", WITH_TAG), "the idTag was presented again"),
            Unless(csms("RemoteStartTransaction", WITH_TAG), "the CSMS started the idTag"),
            Act(Doing.PLUG),
            turns("Preparing", owed=False),
            Never(
                exchange=station("StartTransaction", WITH_TAG),
                why="a transaction began with an idTag that was refused",
                tells=True,
            ),
            Wait(30),
        ),
    ),
    Case(
        id="TC_041",
        name="No start on a faulted connector",
        passive=Passive.IF_TRIGGER_SEEN,
        state=(State.NO_TRANSACTION,),
        steps=(
            Act(Doing.FAULT),
            turns("Faulted", Where("connectorId", (0,), differs=True)),
            Unless(
                station("StatusNotification", ON_CONNECTOR, Where("status", ("Faulted",), differs=True)),
                "the fault passed",
            ),
            OneOf(
                (
                    csms("RemoteStartTransaction", ON_CONNECTOR, WITH_TAG, owed=False),
                    station("Authorize", WITH_TAG, owed=False),
                )
            ),
            Never(
                exchange=station("StartTransaction", ON_CONNECTOR),
                why="a transaction began on a faulted connector",
            ),
            Unless(station("StartTransaction", WITH_TAG), "the idTag began a transaction elsewhere"),
            Unless(station("StopTransaction", WITH_TAG), "the idTag ended a transaction"),
            Wait(30),
        ),
    ),
    Case(
        id="TC_061",
        name="Clear cache",
        aliases=("TC_061_1", "TC_061_2"),
        passive=Passive.FULLY,
        before=_CACHING,
        needs=(Needs.CACHE,),
        applies=Applies.IF,
        why="an authorization cache is implemented",
        prelude=(*AUTHORIZE, status("Available")),
        steps=(
            csms("ClearCache", answer_must=(Must("status", ("Accepted",)),)),
            Unless(csms("RemoteStartTransaction"), "the CSMS started a transaction"),
            Act(Doing.TAG),
            Never(
                exchange=station("StartTransaction"),
                until="Authorize",
                why="a transaction began, and the CSMS was not asked about its idTag",
            ),
            station("Authorize", WITH_TAG, owed=False),
        ),
    ),
)

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
            Act(Doing.TAG),
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
