"""What the rule book defines without judging it, and what no traffic can show."""

import msgspec


class Remark(msgspec.Struct, frozen=True):
    """Something that is said once and never found: ``subject``, and why."""

    subject: str
    why: str


# Ids of the rule book that name something other rules use.
DEFINITIONS: tuple[Remark, ...] = (
    Remark(
        "P010", "the heartbeat interval in force: the last of Boot.interval and ChangeConfiguration (§4.2)"
    ),
    Remark("R008", "a StopTransaction inside an offline gap with the starting idTag is right (TC_038)"),
)

# Declared as such on every sheet, never passed: a proxy sees frames and handshakes, and nothing behind them.
NOT_OBSERVABLE: tuple[Remark, ...] = (
    Remark("plug, unplug, tag", "acts at the station; inferred from patterns, never known"),
    Remark("power and faults", "seen only by what the station reports or by its reboot"),
    Remark("lock and cable", "a fixed cable has no lock; its state is not on the wire"),
    Remark("pauses of the EV", "SuspendedEV says that the EV paused, not why"),
    Remark("ResetRetries", "retries inside the station send nothing"),
    Remark("changes at the station", "a local display or a service tool writes keys without a message"),
    Remark("discarded messages", "what a station gave up is seen only by its absence"),
    Remark("delay to the peers", "times are the recorder's; the network beyond it is part of each latency"),
    Remark("inside pinned TLS", "a station that pins another authority cannot be read at all"),
    Remark("pings and closes", "control frames, close codes and abrupt ends in WebSocket mode and in logs"),
)
