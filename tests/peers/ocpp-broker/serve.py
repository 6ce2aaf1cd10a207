"""Runs the server of the ocpp-broker package on loopback until SIGTERM: `python serve.py TAG [TAG ...]`.

Its own command takes no free port and says nowhere when it listens. The tags are those that it accepts.
"""

import asyncio
import json
import os
import socket
import sys
import tempfile

import uvicorn
from ocpp.charge_point import camel_to_snake_case
from ocpp.v16 import call
from ocpp_broker import server

ORGANISATION = "org1"


async def serve(tags: list[str]) -> None:
    """Let any station in under the path ``/org1/ID``. Says ``listening PORT`` on stdout when it does.

    ``ID ACTION JSON``, a line on stdin, sends a station a CALL.
    """
    loop, tasks = asyncio.get_running_loop(), []

    def order() -> None:
        told = os.read(0, 65_536).decode()
        for station, action, payload in (line.split(maxsplit=2) for line in told.splitlines()):
            request = getattr(call, action)(**camel_to_snake_case(json.loads(payload)))
            tasks.append(loop.create_task(server.broker.sessions[station].charge_point.call(request)))
        if not told:
            loop.remove_reader(0)

    accepted = [{"id_tag": tag, "status": "Accepted", "tag_type": "RFID"} for tag in tags]
    organisation = {
        "name": ORGANISATION,
        "connect_to_backend": False,
        "tag_management": {"enabled": True},
        "tags": accepted,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({"organizations": [organisation]}, file)  # JSON is YAML
        file.flush()
        server.broker._cfg_path = file.name
        await server.broker.load_config()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = uvicorn.Server(uvicorn.Config(server.app, log_level="warning", loop="asyncio"))
        loop.add_reader(0, order)
        sys.stdout.write(f"listening {listener.getsockname()[1]}\n")
        sys.stdout.flush()
        await running.serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
