"""Test cases of booting, authorizing and starting to charge, restated in our own words."""

from twin.certificate.case_phrases import (
    ANOTHER_START,
    ASKED_FOR,
    AUTHORIZE,
    ON_CONNECTOR,
    PLUG_IN,
    REMOTE_AUTHORIZE,
    RETRY_AFTER,
    START_AND_CHARGING,
    USED_ELSEWHERE,
    WITH_TAG,
    authorize,
    boot,
    charging,
    csms,
    every_status,
    start,
    station,
    status,
    turns,
)
from twin.certificate.case_words import (
    HEARTBEAT,
    INTERVAL,
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
    Setting,
    State,
    Step,
    Unless,
    Wait,
    Where,
)
from twin.model import Side

_SAMPLED, _TIME_OUT = "MeterValueSampleInterval", "ConnectionTimeOut"
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
        prelude=(*AUTHORIZE, status("Available")),
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
