"""Test cases of what the CSMS asks for: stop, reset, unlock, configuration, data transfer."""

from twin.certificate.case_phrases import (
    ACCEPTED,
    CHARGE,
    OF_TRANSACTION,
    ON_CONNECTOR,
    SWITCHED,
    WITH_TAG,
    boot,
    csms,
    every_status,
    finishing,
    station,
    status,
    stop,
    turns,
)
from twin.certificate.case_words import (
    KEY,
    VALUE,
    Act,
    AnyOrder,
    Applies,
    Case,
    Check,
    Doing,
    Each,
    Exchange,
    Must,
    Needs,
    Never,
    Passive,
    Setting,
    State,
    Step,
    Unless,
    Wait,
    Where,
)

_BOOT_TAKES_S = 600  # or what a station needs to get ready for it
_SAMPLED = "MeterValueSampleInterval"
_REAL_CONNECTOR = Where("connectorId", (0,), differs=True)


def _reset_without_transaction(kind: str) -> tuple[Step, ...]:
    """An inoperative connector stays so over a reset (OCPP 1.6 §5.2)."""
    return (
        csms(
            "ChangeAvailability",
            ON_CONNECTOR,
            _REAL_CONNECTOR,
            Where("type", ("Inoperative",)),
            answer_must=(SWITCHED,),
        ),
        Unless(csms("ChangeAvailability", ON_CONNECTOR), "the availability was changed again"),
        status("Unavailable", over=("Available",)),
        csms("Reset", Where("type", (kind,)), owed=False, answer_must=(ACCEPTED,)),
        Act(Doing.RESTART),
        boot(within=_BOOT_TAKES_S),
        AnyOrder(
            (
                status("Unavailable", wrong=("Available",)),
                every_status("Available", each=Each.OTHER_CONNECTOR),
            )
        ),
        csms(
            "ChangeAvailability",
            ON_CONNECTOR,
            Where("type", ("Operative",)),
            answer_must=(Must("status", ("Accepted",)),),
        ),
        status("Available", over=("Unavailable",)),
    )


def _restarts(*more: Step) -> tuple[Step, ...]:
    """Down and up again; the connector of the transaction and the others say how they are."""
    return (
        Act(Doing.RESTART),
        boot(within=_BOOT_TAKES_S),
        AnyOrder(
            (
                status("Finishing", "Preparing"),
                every_status("Available", each=Each.OTHER_CONNECTOR),
            )
        ),
        *more,
    )


def _unlock(id_: str, name: str, told: str, needs: Needs) -> Case:
    return Case(
        id=id_,
        name=name,
        passive=Passive.FULLY,
        needs=(needs,),
        applies=Applies.NOT if needs is Needs.SOCKET else Applies.ALWAYS,
        why="the cable is fixed" if needs is Needs.SOCKET else "",
        state=(State.NO_TRANSACTION,),
        steps=(
            csms("UnlockConnector", ON_CONNECTOR, _REAL_CONNECTOR, answer_must=(Must("status", (told,)),)),
        ),
    )


REMOTE = (
    Case(
        id="TC_012",
        name="Remote stop",
        passive=Passive.FULLY,
        prelude=CHARGE,
        state=(State.CHARGING,),
        steps=(
            csms("RemoteStopTransaction", OF_TRANSACTION, answer_must=(ACCEPTED,)),
            AnyOrder((stop("Remote", wrong=("Local", "Other", "UnlockCommand", None)), finishing())),
        ),
    ),
    Case(
        id="TC_026",
        name="Remote start on a connector in use",
        passive=Passive.FULLY,
        before=(Setting("LocalPreAuthorize", "false"),),
        prelude=CHARGE,
        state=(State.CHARGING,),
        steps=(
            csms(
                "RemoteStartTransaction", ON_CONNECTOR, WITH_TAG, answer_must=(Must("status", ("Rejected",)),)
            ),
        ),
    ),
    Case(
        id="TC_027",
        name="Remote start on connector 0",
        passive=Passive.FULLY,
        steps=(
            csms(
                "RemoteStartTransaction",
                Where("connectorId", (0,)),
                WITH_TAG,
                answer_must=(Must("status", ("Rejected",)),),
                errors=("*",),
            ),
        ),
    ),
    Case(
        id="TC_028",
        name="Remote stop of an unknown transaction",
        passive=Passive.FULLY,
        prelude=CHARGE,
        state=(State.OTHER_TRANSACTION,),
        steps=(
            csms(
                "RemoteStopTransaction",
                Where("transactionId", name="named"),
                answer_must=(Must("status", ("Rejected",)),),
            ),
        ),
    ),
    Case(
        id="TC_062",
        name="Data transfer to the station",
        passive=Passive.FULLY,
        steps=(
            csms(
                "DataTransfer",
                Where("vendorId", differs=True),
                answer_must=(
                    # Accepted deserves a look, no more: the station may know the vendor.
                    Must("status", ("Rejected", "UnknownMessageId", "UnknownVendorId"), wrong=()),
                ),
            ),
        ),
    ),
)

RESETTING = (
    Case(
        id="TC_013",
        name="Hard reset without a transaction",
        passive=Passive.FULLY,
        state=(State.NO_TRANSACTIONS, State.IDLE),
        steps=_reset_without_transaction("Hard"),
    ),
    Case(
        id="TC_014",
        name="Soft reset without a transaction",
        passive=Passive.FULLY,
        state=(State.NO_TRANSACTIONS, State.IDLE),
        steps=_reset_without_transaction("Soft"),
    ),
    Case(
        id="TC_015",
        name="Hard reset during a transaction",
        passive=Passive.FULLY,
        prelude=CHARGE,
        state=(State.SOME_TRANSACTION,),
        steps=(
            csms("Reset", Where("type", ("Hard",)), answer_must=(ACCEPTED,)),
            # OCPP 1.6 §5.14: it may be told before the restart or after it.
            stop("HardReset", wrong=("Local", "Other", "Remote", "SoftReset", None), floating=True),
            *_restarts(),
        ),
    ),
    Case(
        id="TC_016",
        name="Soft reset during a transaction",
        passive=Passive.FULLY,
        prelude=CHARGE,
        state=(State.SOME_TRANSACTION,),
        steps=(
            csms("Reset", Where("type", ("Soft",)), answer_must=(ACCEPTED,)),
            Never(
                exchange=station("BootNotification"),
                until="StopTransaction",
                why="the station restarted before it ended the transaction",
            ),
            AnyOrder((stop("SoftReset", wrong=("HardReset", "Local", "Other", "Remote", None)), finishing())),
            *_restarts(),
        ),
    ),
)

UNLOCKING = (
    _unlock("TC_017_1", "Unlock without a session, loose cable", "Unlocked", Needs.SOCKET),
    _unlock("TC_017_2", "Unlock without a session, fixed cable", "NotSupported", Needs.FIXED_CABLE),
    Case(
        id="TC_018_1",
        name="Unlock during a session, loose cable",
        passive=Passive.FULLY,
        needs=(Needs.SOCKET,),
        applies=Applies.NOT,
        why="the cable is fixed",
        prelude=CHARGE,
        state=(State.CHARGING,),
        steps=(
            csms("UnlockConnector", ON_CONNECTOR, answer_must=(Must("status", ("Unlocked",)),)),
            AnyOrder((stop("UnlockCommand", wrong=("Local", "Remote", None)), finishing())),
            Act(Doing.UNPLUG_STATION),
            status("Available", over=("Finishing",)),
        ),
    ),
    Case(
        id="TC_018_2",
        name="Unlock during a session, fixed cable",
        passive=Passive.FULLY,
        needs=(Needs.FIXED_CABLE,),
        prelude=CHARGE,
        state=(State.CHARGING,),
        steps=(
            csms("UnlockConnector", ON_CONNECTOR, answer_must=(Must("status", ("NotSupported",)),)),
            Never(
                exchange=station("StopTransaction", OF_TRANSACTION, Where("reason", ("UnlockCommand",))),
                why="the transaction ended although nothing can be unlocked",
            ),
            Unless(
                station("StopTransaction", OF_TRANSACTION, Where("reason", ("UnlockCommand",), differs=True)),
                "the transaction ended for another reason",
            ),
            Wait(10),
        ),
    ),
    Case(
        id="TC_024",
        name="The lock fails at the start",
        passive=Passive.ACT_UNSEEN,
        needs=(Needs.SOCKET, Needs.LOCK_FAILURE),
        applies=Applies.NOT,
        why="the cable is fixed: there is no lock",
        steps=(
            Act(Doing.TAG),
            station("Authorize", WITH_TAG),
            Act(Doing.LOCK_FAILURE),
            turns("Faulted", Where("errorCode", ("ConnectorLockFailure",)), owed=False),
        ),
    ),
    Case(
        id="TC_030",
        name="Unlock fails",
        passive=Passive.FULLY,
        needs=(Needs.LOCK_FAILURE,),
        applies=Applies.NOT,
        why="the cable is fixed: there is no lock",
        steps=(
            Act(Doing.LOCK_FAILURE, shown=False),
            csms("UnlockConnector", ON_CONNECTOR, answer_where=(Where("status", ("UnlockFailed",)),)),
        ),
    ),
    Case(
        id="TC_031",
        name="Unlock of an unknown connector",
        passive=Passive.FULLY,
        state=(State.NO_SUCH_CONNECTOR,),
        steps=(csms("UnlockConnector", ON_CONNECTOR, answer_must=(Must("status", ("NotSupported",)),)),),
    ),
)


def _read(*where: Where, **more: object) -> Exchange:
    return csms("GetConfiguration", *where, **more)


CONFIGURING = (
    Case(
        id="TC_019",
        name="Retrieve configuration",
        passive=Passive.FULLY,
        steps=(
            AnyOrder(
                (
                    _read(Where("key", (None, ())), answer_checks=(Check.REQUIRED_KEYS,), owed=False),
                    _read(
                        Where("key", (("SupportedFeatureProfiles",),)), answer_checks=(Check.CORE_PROFILE,)
                    ),
                    _read(
                        Where("key", (None, (), ("SupportedFeatureProfiles",)), differs=True),
                        answer_checks=(Check.ANSWERS_KEYS,),
                    ),
                )
            ),
        ),
    ),
    Case(
        id="TC_021",
        name="Change configuration and read it back",
        passive=Passive.FULLY,
        before=(Setting(_SAMPLED, differs_from=VALUE),),
        state=(State.LEGAL_VALUE,),
        steps=(
            csms(
                "ChangeConfiguration",
                Where("key", (_SAMPLED,)),
                Where("value", name=VALUE),
                answer_must=(Must("status", ("Accepted",), wrong=("NotSupported",)),),
            ),
            Unless(csms("ChangeConfiguration", Where("key", (_SAMPLED,))), "the key was written again"),
            _read(owed=False, answer_checks=(Check.READ_BACK,)),
        ),
    ),
    Case(
        id="TC_040_1",
        name="Change an unknown key",
        passive=Passive.FULLY,
        state=(State.NO_SUCH_KEY,),
        steps=(
            csms(
                "ChangeConfiguration",
                Where("key", name=KEY),
                Where("value", differs=True),
                answer_must=(Must("status", ("NotSupported",)),),
            ),
        ),
    ),
    Case(
        id="TC_040_2",
        name="Write a value that is illegal",
        passive=Passive.FULLY,
        state=(State.ILLEGAL_VALUE,),
        steps=(
            csms(
                "ChangeConfiguration",
                Where("key", (_SAMPLED,)),
                Where("value", name=VALUE),
                answer_must=(Must("status", ("Rejected",)),),
                errors=("PropertyConstraintViolation",),
            ),
            # A measurand that the product does not have; what the answer means depends on the product.
            csms(
                "ChangeConfiguration",
                Where("key", ("MeterValuesSampledData",)),
                Where("value", ("Energy.Active.Import.Register,Current.Import,Voltage,SoC",)),
                optional=True,
            ),
        ),
    ),
)
