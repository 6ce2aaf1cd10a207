"""Test cases of what must survive: the power, an availability, and transactions without a connection."""

from twin.certificate.case_phrases import (
    BOOTED_ANEW,
    CHARGE,
    CSMS_ACCEPTS,
    IN_USE,
    LOCAL,
    NOT_A_RESET,
    OF_TRANSACTION,
    SAMPLES_ANEW,
    SWITCHED,
    boot,
    charging,
    csms,
    every_status,
    finishing,
    start,
    station,
    status,
    stop,
)
from twin.certificate.case_words import (
    Act,
    AnyOrder,
    Applies,
    Case,
    Check,
    Doing,
    Each,
    Key,
    Must,
    Needs,
    Never,
    Passive,
    Series,
    Setting,
    State,
    Step,
    Unless,
    Where,
)

_SAMPLED = "MeterValueSampleInterval"
_REFUSED = (Where("idTagInfo/status", ("Blocked", "ConcurrentTx", "Expired", "Invalid")),)
_STARTS_OFFLINE = (Setting("LocalAuthorizeOffline", "true"),)
_UNKNOWN_STARTS = (*_STARTS_OFFLINE, Setting("AllowOfflineTxForUnknownId", "true"))


def _offline(*doings: Doing) -> tuple[Step, ...]:
    """The link is cut, people do this meanwhile, the link is back."""
    return (Act(Doing.LINK_CUT), *map(Act, doings), Act(Doing.LINK_RESTORED))


_NO_BOOT = Never(
    exchange=station("BootNotification"), why="the station booted after a mere loss of connection"
)
_AFTER_POWER: tuple[Step, ...] = (
    AnyOrder(
        (
            status("Finishing", "Preparing"),
            every_status("Available", each=Each.OTHER_CONNECTOR),
        )
    ),
)

POWER = (
    Case(
        id="TC_032_1",
        name="Power failure, stopped before going down",
        passive=Passive.ACT_UNSEEN,
        needs=(Needs.BACKUP_POWER,),
        applies=Applies.IF,
        why="the station has backup power (TC_032_2 otherwise)",
        prelude=CHARGE,
        state=(State.CHARGING,),
        steps=(
            Act(Doing.POWER_OFF),
            station("StopTransaction", OF_TRANSACTION, Where("reason", ("PowerLoss",))),
            status("Finishing", over=IN_USE, optional=True),
            Act(Doing.POWER_CYCLE),
            boot(),
            *_AFTER_POWER,
        ),
    ),
    Case(
        id="TC_032_2",
        name="Power failure, stopped afterwards",
        passive=Passive.FULLY,
        needs=(Needs.NO_BACKUP_POWER,),
        applies=Applies.IF,
        why="the station has no backup power (TC_032_1 otherwise)",
        prelude=CHARGE,
        state=(State.SOME_TRANSACTION, State.NO_RESET),
        steps=(
            Act(Doing.POWER_CYCLE),
            boot(),
            stop("PowerLoss", *LOCAL, wrong=(), floating=True, owed=False),
            *_AFTER_POWER,
        ),
    ),
    Case(
        id="TC_034",
        name="Power failure while unavailable",
        passive=Passive.FULLY,
        state=(State.NO_TRANSACTIONS,),
        steps=(
            csms(
                "ChangeAvailability",
                Where("connectorId", (0,)),
                Where("type", ("Inoperative",)),
                answer_must=(SWITCHED,),
            ),
            Unless(csms("ChangeAvailability"), "the availability was changed again"),
            NOT_A_RESET,
            every_status("Unavailable"),
            Act(Doing.POWER_CYCLE),
            boot(owed=False),
            every_status("Unavailable", wrong=("Available",)),
        ),
    ),
)

# OCPP 1.6 §3.7, §4.8, §4.10
OFFLINE = (
    Case(
        id="TC_036",
        name="Connection lost during a transaction",
        passive=Passive.FULLY,
        before=(Setting(_SAMPLED),),
        prelude=CHARGE,
        state=(State.SOME_TRANSACTION,),
        steps=(
            *_offline(),
            SAMPLES_ANEW,
            BOOTED_ANEW,
            Unless(station("StopTransaction", OF_TRANSACTION), "the transaction ended"),
            Series(context="Sample.Periodic", every=Key(_SAMPLED), times=3, bridging=True),
        ),
    ),
    Case(
        id="TC_037_1",
        name="Start without a connection, accepted later",
        passive=Passive.FULLY,
        before=_STARTS_OFFLINE,
        needs=(Needs.OFFLINE_START,),
        applies=Applies.IF,
        why="transactions can begin without a connection",
        steps=(
            *_offline(Doing.TAG, Doing.PLUG),
            _NO_BOOT,
            AnyOrder((start(owed=False, checks=(Check.WHILE_OFFLINE,)), charging())),
        ),
    ),
    Case(
        id="TC_037_2",
        name="Start without a connection, refused later, not to be stopped",
        passive=Passive.FULLY,
        before=(*_UNKNOWN_STARTS, Setting("StopTransactionOnInvalidId", "false")),
        needs=(Needs.OFFLINE_START,),
        applies=Applies.IF,
        why="transactions can begin without a connection for an idTag that is unknown",
        steps=(
            *_offline(Doing.TAG, Doing.PLUG),
            _NO_BOOT,
            start(owed=False, answer_where=_REFUSED, checks=(Check.WHILE_OFFLINE,)),
            Never(
                exchange=station("StopTransaction", OF_TRANSACTION, Where("reason", ("DeAuthorized",))),
                why="the transaction was stopped, and StopTransactionOnInvalidId is false",
            ),
            status("SuspendedEVSE", over=("Preparing", *IN_USE)),
        ),
    ),
    Case(
        id="TC_037_3",
        name="Start without a connection, refused later, to be stopped",
        passive=Passive.FULLY,
        before=(*_UNKNOWN_STARTS, Setting("StopTransactionOnInvalidId", "true")),
        needs=(Needs.OFFLINE_START,),
        applies=Applies.IF,
        why="transactions can begin without a connection for an idTag that is unknown",
        steps=(
            *_offline(Doing.TAG, Doing.PLUG),
            _NO_BOOT,
            start(owed=False, answer_where=_REFUSED, checks=(Check.WHILE_OFFLINE,)),
            AnyOrder(
                (
                    stop("DeAuthorized", wrong=("Other", "Remote")),
                    status("Finishing", over=("Preparing", *IN_USE), wrong=("Reserved",)),
                )
            ),
        ),
    ),
    Case(
        id="TC_038",
        name="Stop without a connection",
        passive=Passive.FULLY,
        needs=(Needs.LOCAL_STOP,),
        prelude=CHARGE,
        state=(State.SOME_TRANSACTION,),
        steps=(
            *_offline(Doing.TAG),
            BOOTED_ANEW,
            AnyOrder(
                (
                    station(
                        "StopTransaction",
                        OF_TRANSACTION,
                        Where("reason", LOCAL),
                        checks=(Check.WHILE_OFFLINE, Check.OWN_TAG),
                        owed=False,
                    ),
                    finishing(),
                )
            ),
        ),
    ),
    Case(
        id="TC_039",
        name="Transaction without a connection",
        passive=Passive.FULLY,
        before=_STARTS_OFFLINE,
        needs=(Needs.OFFLINE_START, Needs.LOCAL_STOP),
        applies=Applies.IF,
        why="transactions can begin without a connection, and the user can stop them at the station",
        steps=(
            *_offline(Doing.TAG, Doing.PLUG, Doing.TAG, Doing.UNPLUG_STATION),
            BOOTED_ANEW,
            start(answer_where=CSMS_ACCEPTS, checks=(Check.WHILE_OFFLINE,)),
            station(
                "StopTransaction",
                OF_TRANSACTION,
                checks=(Check.WHILE_OFFLINE,),
                must=(Must("reason", LOCAL, wrong=()),),
                owed=False,
            ),
        ),
    ),
)
