"""What mitmdump runs to read a flow file for us: one JSON line on standard output for each thing in it.

mitmproxy is a process of its own here, and this its script (``-s``): it imports nothing of mitmproxy or of
ours and uses what the hooks are handed.
"""

import base64
import json
import sys
from typing import Any

MARK = "twin-flow "
_handshakes: dict[str, dict[str, Any]] = {}  # by client connection: what a TCP flow goes on from


def response(flow: Any) -> None:
    if flow.response.status_code == 101 and flow.websocket is None:
        _handshakes[flow.client_conn.id] = _handshake(flow)


def websocket_start(flow: Any) -> None:
    at_s = flow.response.timestamp_end if flow.response else flow.request.timestamp_start
    _say("open", flow, at_s, facts=_handshake(flow))


def _handshake(flow: Any) -> dict[str, Any]:
    headers = flow.response.headers if flow.response else {}
    facts = {
        "path": flow.request.path,
        "subprotocols_offered": _list(flow.request.headers.get("sec-websocket-protocol", "")),
        "subprotocol": headers.get("sec-websocket-protocol", ""),
    }
    if extensions := headers.get("sec-websocket-extensions", ""):
        facts["extensions"] = extensions
    return facts


def websocket_message(flow: Any) -> None:
    message = flow.websocket.messages[-1]
    kind = "text" if int(message.type) == 1 else "binary"
    dropped = {"dropped_by_proxy": True} if message.dropped else {}
    _say(
        "message",
        flow,
        message.timestamp,
        sender=_sender(message.from_client),
        kind=kind,
        data=message.content,
        facts={**dropped, **({"injected": True} if message.injected else {})},
    )


def websocket_end(flow: Any) -> None:
    held = flow.websocket
    facts: dict[str, Any] = {"abrupt": held.close_code in (None, 1006)}
    if held.close_code is not None:
        facts["code"] = held.close_code
    if held.closed_by_client is not None:
        facts["by"] = _sender(held.closed_by_client)
    _say("end", flow, held.timestamp_end, facts=facts)


def tcp_start(flow: Any) -> None:
    _say("open", flow, flow.timestamp_start, facts=_handshakes.pop(flow.client_conn.id, {"late": True}))


def tcp_message(flow: Any) -> None:
    message = flow.messages[-1]
    sender = _sender(message.from_client)
    _say("data", flow, message.timestamp, sender=sender, data=message.content)


def tcp_end(flow: Any) -> None:
    _say("end", flow, None, facts={})


def tcp_error(flow: Any) -> None:
    _say("end", flow, flow.error.timestamp, facts={"abrupt": True, "how": str(flow.error.msg)[:200]})


def _sender(from_client: bool) -> str:
    return "station" if from_client else "csms"


def _list(header: str) -> list[str]:
    return [part.strip() for part in header.split(",") if part.strip()]


def _say(what: str, flow: Any, at_s: float | None, **more: Any) -> None:
    if isinstance(more.get("data"), bytes):
        more["data"] = base64.b64encode(more["data"]).decode()
    told = {"what": what, "flow": flow.id, "at_s": at_s, **more}
    sys.stdout.write(f"{MARK}{json.dumps(told)}\n")
