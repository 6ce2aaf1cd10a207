"""What mitmproxy loads by path: ``mitmdump -s``, ``mitmweb -s``."""

from octoflex_addons.record import Record
from octoflex_addons.station_tls import StationTlsScript

addons = [StationTlsScript(), Record()]
