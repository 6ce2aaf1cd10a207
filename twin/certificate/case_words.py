"""The vocabulary of test cases: steps that a recogniser looks for in a capture and that a driver can act out.

A case is an ordered list of steps. Whoever reads them in a capture skips what the wire does not show (a tag,
a plug) and follows the messages; whoever drives a station sends what the CSMS says, does what the acts ask
for and expects what the station says. Names (``connector``, ``tag``, ``transaction``) are bound by the first
message that carries them and are the same thing ever after.
"""

from enum import StrEnum
from typing import Any

import msgspec

from twin.model import Side

CONNECTOR, TAG, OTHER_TAG, TRANSACTION = "connector", "tag", "other tag", "transaction"
KEY, VALUE, INTERVAL, HEARTBEAT = "key", "value", "interval", "heartbeat"


class Key(msgspec.Struct, frozen=True):
    """The value in force of a configuration key; as a span of time, in seconds."""

    name: str


class Bound(msgspec.Struct, frozen=True):
    """What an earlier message of the case bound to ``name``; as a span of time, in seconds."""

    name: str


type Span = int | Key | Bound


class Setting(msgspec.Struct, frozen=True):
    """A configuration value: ``value`` as the wire spells it, ``None`` for any value that was observed.

    ``if_implemented``: a station without the key loses nothing by it. ``differs_from`` names a bound value
    that this one must not have.
    """

    key: str
    value: str | None = None
    if_implemented: bool = False
    differs_from: str = ""


class State(StrEnum):
    """What must be so when a case begins; the names are those bound by its first message."""

    IDLE = "the connector is available, without a transaction"
    PLUGGED = "the connector is preparing, without a transaction"
    CHARGING = "the transaction is running"
    NO_TRANSACTION = "no transaction is running on the connector"
    NO_TRANSACTIONS = "no transaction is running"
    SOME_TRANSACTION = "a transaction is running"
    OTHER_TRANSACTION = "a transaction is running, and not the one that is named"
    NO_SUCH_CONNECTOR = "the station has no such connector"
    NO_SUCH_KEY = "the station has no such configuration key"
    LEGAL_VALUE = "the value is legal for the key"
    ILLEGAL_VALUE = "the value is illegal for the key"
    TAG_ACCEPTED = "the CSMS accepts the idTag"
    NOBODY_WAITS = "nobody was authorized since shortly before the cable was plugged in"
    NO_RESET = "no reset was asked for"

    @property
    def of_transaction(self) -> bool:
        """Whether the case is about a transaction that is running, whichever it is."""
        return self in (State.CHARGING, State.SOME_TRANSACTION)


class Needs(StrEnum):
    """What a case asks of the product itself, whatever is configured."""

    FIXED_CABLE = "a cable fixed to the station"
    SOCKET = "no cable fixed to the station"
    LOCK_FAILURE = "a lock that can be made to fail"
    CACHE = "an authorization cache"
    WRITABLE_STOP = "StopTransactionOnEVSideDisconnect implemented and writable"
    BACKUP_POWER = "power enough to stop transactions after the mains is gone"
    NO_BACKUP_POWER = "nothing left to run on when the mains is gone"
    OFFLINE_START = "transactions that can begin without a connection"
    LOCAL_STOP = "transactions that the user can stop at the station"
    ONE_READER = "one reader for several connectors"


class Check(StrEnum):
    """What a message must hold beyond single fields."""

    CORE_PROFILE = "SupportedFeatureProfiles is told and holds Core, and no key is unknown"
    REQUIRED_KEYS = "every required Core key is told, with the access that the specification gives it"
    ANSWERS_KEYS = "every requested key is told or named as unknown"
    READ_BACK = "the value read back is the value written"
    FROM_CACHE = "the idTag had been accepted before, and the CSMS was not asked again"
    WHILE_OFFLINE = "the time stamp lies in the time without a connection"
    OWN_TAG = "the idTag is the one that started the transaction"
    SAME_PARENT = "the idTag has the parentIdTag of the one that started the transaction"


class Where(msgspec.Struct, frozen=True):
    """Picks the message: one whose field is otherwise is not this step, and nothing is held against it.

    ``path`` is slash-separated. The field must be one of ``values`` (``None``: absent), or, with ``name``, be
    what the name is bound to, binding it at first. ``differs`` turns either round; alone it asks for
    presence.
    """

    path: str
    values: tuple[Any, ...] = ()
    name: str = ""
    differs: bool = False


class Must(msgspec.Struct, frozen=True):
    """Judges the message: the field is one of ``allowed``, or the case is failed or left undecided.

    ``passing`` values are waited over. ``wrong`` values contradict the case, ``None`` meaning every other
    one; what is neither allowed nor wrong may have a cause that no wire shows. ``sure``: only while all of
    this is known to hold does a wrong value contradict the case.
    """

    path: str
    allowed: tuple[Any, ...]
    passing: tuple[Any, ...] = ()
    wrong: tuple[Any, ...] | None = None
    sure: tuple[State, ...] = ()


class Each(StrEnum):
    """For whom a step is repeated."""

    CONNECTOR = "connector 0 and every other"
    OTHER_CONNECTOR = "every connector but the one that is named"


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """A CALL and its answer.

    ``where``, ``must`` and ``checks`` read the CALL, ``answer_…`` what the other side says. ``errors`` are
    CALLERROR codes that do as well as the answer. ``optional``: may be left out. ``owed``: once the steps
    before it were seen, its absence contradicts the case; a step that is not owed tells the case from others,
    and until it came the case was not recognised at all. ``floating``: at any time from here to the end.
    ``when``: may be left out unless this is configured. ``times`` and ``every``: so often, so far apart.
    Spans count from the step before: ``not_before`` (a status may come earlier by somebody's act, which
    leaves the case undecided), and ``within``, which replaces the usual patience.
    """

    by: Side
    action: str
    where: tuple[Where, ...] = ()
    must: tuple[Must, ...] = ()
    checks: tuple[Check, ...] = ()
    answer_where: tuple[Where, ...] = ()
    answer_must: tuple[Must, ...] = ()
    answer_checks: tuple[Check, ...] = ()
    errors: tuple[str, ...] = ()
    optional: bool = False
    owed: bool = True
    floating: bool = False
    each: Each | None = None
    when: tuple[Setting, ...] = ()
    times: int = 1
    every: Span | None = None
    not_before: Span | None = None
    within: Span | None = None


class Doing(StrEnum):
    """What people, the mains and the network do; the last four show as an end or an opening of the link."""

    PLUG = "plug the cable in"
    UNPLUG = "unplug the cable at the vehicle"
    UNPLUG_STATION = "unplug the cable at the station"
    TAG = "present the idTag"
    OTHER_TAG = "present another idTag"
    FAULT = "provoke a fault"
    LOCK_FAILURE = "make the lock fail"
    POWER_OFF = "switch the power off"
    POWER_CYCLE = "switch the power off and on"
    LINK_CUT = "cut the connection"
    LINK_RESTORED = "restore the connection"
    RESTART = "the station restarts"


class Act(msgspec.Struct, frozen=True):
    """A physical act. ``shown``: the messages after it tell of it; otherwise a capture can only match."""

    doing: Doing
    shown: bool = True


class Wait(msgspec.Struct, frozen=True):
    """Nothing but the passing of time, on a link that stays up."""

    span: Span


class AnyOrder(msgspec.Struct, frozen=True):
    """All of these, in whichever order."""

    steps: tuple[Exchange, ...]


class OneOf(msgspec.Struct, frozen=True):
    """One of these is enough."""

    steps: tuple[Exchange, ...]


class Never(msgspec.Struct, frozen=True, kw_only=True):
    """From here on this message contradicts the case, until a step with the action ``until`` is through.

    ``but`` excepts actions where the exchange has none. ``given``: only while this is configured; where that
    was not observed it leaves the case undecided, as it does where it is ``doubtful``. ``tells``: with this
    message alone the case is recognised.
    """

    exchange: Exchange
    why: str
    until: str = ""
    but: tuple[str, ...] = ()
    given: tuple[Setting, ...] = ()
    doubtful: bool = False
    tells: bool = False


class Unless(msgspec.Struct, frozen=True):
    """From here on this message means that something else is going on, and not this case."""

    exchange: Exchange
    why: str


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """MeterValues whose own time stamps lie ``every`` apart, ``times`` times after the first.

    ``context`` is what every sample must say (an omitted one says Sample.Periodic), ``measurands`` the key
    that lists what each stamp must bring. ``on_grid``: the stamps are whole multiples of ``every`` after
    midnight. ``bridging``: the series continues from before the connection was lost, over at least ``times``
    samples.
    """

    context: str
    every: Key
    times: int
    measurands: Key | None = None
    on_grid: bool = False
    bridging: bool = False


type Step = Exchange | Act | Wait | AnyOrder | OneOf | Never | Unless | Series


class Applies(StrEnum):
    """Whether the case was part of what the certified product had to pass, by our reading."""

    ALWAYS = "unconditional"
    IF = "conditional"
    NOT = "not applicable"


class Passive(StrEnum):
    """What a capture alone can judge."""

    FULLY = "F"
    IF_TRIGGER_SEEN = "T"
    ACT_UNSEEN = "X"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One Core case for a charge point, restated in our own words.

    ``aliases`` are its ids in other editions. ``before`` is the configuration it runs under, ``needs`` what
    it asks of the product, ``state`` what must be so when it begins, ``prelude`` how a driver gets there (a
    recogniser takes it from the folded state). ``why`` says on what a conditional case depends, or why one
    does not apply to the certified product.
    """

    id: str
    name: str
    passive: Passive
    steps: tuple[Step, ...]
    aliases: tuple[str, ...] = ()
    before: tuple[Setting, ...] = ()
    needs: tuple[Needs, ...] = ()
    state: tuple[State, ...] = ()
    prelude: tuple[Step, ...] = ()
    applies: Applies = Applies.ALWAYS
    why: str = ""
