"""For mitmdump -s: our addon with hooks that fail as the option ``fault`` names, before they do anything."""

import asyncio

from mitmproxy import ctx, exceptions

from octoflex_addons.record import Record, guarded

FAULTS = {
    "RuntimeError": RuntimeError("a bug"),
    "OptionsError": exceptions.OptionsError("a bug"),
    "CancelledError": asyncio.CancelledError(),
    "SystemExit": SystemExit(1),
    "MemoryError": MemoryError(),
    "RecursionError": RecursionError(),
    "AddonHalt": exceptions.AddonHalt(),
}
# every hook of ours but ``load`` and ``running``, which fail at the start (closed), and ``tcp_message``
HOOKS = ("response", "error", "server_connect_error", "client_disconnected", "done")


class Faulty(Record):
    def load(self, loader):  # type: ignore[no-untyped-def]  # a script of the tests
        super().load(loader)
        loader.add_option("fault", str, "", "What to raise.")
        loader.add_option("unguarded", bool, False, "Let it out of the hook.")
        loader.add_option("fault_in", str, "tcp_message", "Where; comma-separated.")

    def tcp_message(self, flow):  # type: ignore[no-untyped-def]  # a script of the tests
        if ctx.options.unguarded:
            raise FAULTS[ctx.options.fault]
        super().tcp_message(flow)

    def _hand_over(self, handover, flow, message, now):  # type: ignore[no-untyped-def]  # a script of the tests
        if not self.broken and "tcp_message" in ctx.options.fault_in:
            raise FAULTS[ctx.options.fault]
        super()._hand_over(handover, flow, message, now)


def failing(name):  # type: ignore[no-untyped-def]  # a script of the tests
    real = getattr(Record, name)

    def hook(self, *args):  # type: ignore[no-untyped-def]  # a script of the tests
        if name in ctx.options.fault_in:
            raise FAULTS[ctx.options.fault]
        real(self, *args)

    hook.__name__ = name
    return guarded(hook)


for name in HOOKS:
    setattr(Faulty, name, failing(name))

addons = [Faulty()]
