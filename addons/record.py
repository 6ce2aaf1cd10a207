"""mitmdump -s addons/record.py --set websocket=false --set twin_capture=DIR: records what passes.

The work is in the package octoflex_addons; this file only names it (mitmproxy loads scripts by path).
"""

from octoflex_addons.script import addons

__all__ = ["addons"]
