"""For mitmdump -s: our addon with a hook that fails the way the option ``fault`` names."""

import asyncio

from mitmproxy import exceptions

from octoflex_addons.record import Record

FAULTS = {
    "RuntimeError": RuntimeError("a bug"),
    "OptionsError": exceptions.OptionsError("a bug"),
    "CancelledError": asyncio.CancelledError(),
    "SystemExit": SystemExit(1),
    "MemoryError": MemoryError(),
    "RecursionError": RecursionError(),
    "AddonHalt": exceptions.AddonHalt(),
}


class Faulty(Record):
    def load(self, loader):  # type: ignore[no-untyped-def]  # a script of the tests
        super().load(loader)
        loader.add_option("fault", str, "", "What to raise in every message.")

    def _hand_over(self, handover, flow, message, now):  # type: ignore[no-untyped-def]  # a script of the tests
        from mitmproxy import ctx

        if not self.broken:
            raise FAULTS[ctx.options.fault]
        super()._hand_over(handover, flow, message, now)


addons = [Faulty()]
