"""The command line of twin: one module a verb, wired in ``app``."""

import sys
import traceback


def main() -> None:
    """Entry point of ``twin`` and ``python -m twin``. A bug of ours ends with 70, not with a verdict."""
    from twin.cli.app import app

    try:
        app()
    except Exception:
        traceback.print_exc()
        sys.stderr.write("twin: internal error, exit 70; please report the lines above\n")
        sys.exit(70)
