"""What mitmproxy loads by path: ``mitmdump -s``, ``mitmweb -s``."""

from mitmproxy import contentviews

from octoflex_addons.contentview import OCPPContentview
from octoflex_addons.interactive import Interactive
from octoflex_addons.record import Record
from octoflex_addons.station_tls import StationTlsScript

_interactive = Interactive()
contentviews.add(OCPPContentview(_interactive))

addons = [StationTlsScript(), Record(), _interactive]
