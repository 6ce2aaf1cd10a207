"""The command line of twin: one module a verb, wired in ``app``."""


def main() -> None:
    """Entry point of ``twin`` and ``python -m twin``."""
    from twin.cli.app import app

    app()
