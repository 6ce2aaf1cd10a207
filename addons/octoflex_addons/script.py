"""What mitmproxy loads by path: ``mitmdump -s``, ``mitmweb -s``."""

from octoflex_addons.record import Record

addons = [Record()]
