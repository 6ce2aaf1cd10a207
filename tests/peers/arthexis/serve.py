"""Runs arthexis on loopback until SIGTERM: `python serve.py FOLDER REDIS-SOCKET [ID=PASSWORD ...]`.

``FOLDER`` takes its SQLite file. The stations named are registered, each with its Basic password.
"""

import json
import os
import sys
from pathlib import Path

import django
from daphne.server import Server, twisted_loop  # before anything else of Twisted: it chooses the reactor


def serve(folder: Path, redis: str, stations: list[str]) -> None:
    """Make the database and serve; Django takes its settings from the environment.

    Says ``listening PORT`` on stdout once the socket is open. ``ID ACTION JSON``, a line on stdin, sends a
    station a CALL, by way of Redis.
    """
    folder.mkdir(exist_ok=True)
    os.environ |= {
        "ARTHEXIS_DATA_DIR": str(folder),
        "ARTHEXIS_CHANNEL_REDIS_URL": f"unix://{redis}",
        "ARTHEXIS_ALLOWED_HOSTS": "127.0.0.1",
        "DJANGO_SETTINGS_MODULE": "arthexis.settings",
    }
    django.setup()
    from apps.ocpp.models import Charger
    from apps.ocpp.protocol.contracts import ProtocolVersion
    from apps.ocpp.transport.operations import request_explicit_operation
    from arthexis.asgi import application
    from django.contrib.auth.hashers import make_password
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    for station in stations:
        identity, _, password = station.partition("=")
        Charger.objects.create(identity=identity, connection_token_hash=make_password(password))
    tasks = []

    async def write(station: str, action: str, payload: str) -> None:
        await request_explicit_operation(
            charger=await Charger.objects.aget(identity=station),
            version=ProtocolVersion.OCPP_16,
            action=action,
            payload=json.loads(payload),
        )

    def order() -> None:
        told = os.read(0, 65_536).decode()
        tasks.extend(twisted_loop.create_task(write(*line.split(maxsplit=2))) for line in told.splitlines())
        if not told:
            twisted_loop.remove_reader(0)

    class Told(Server):
        def listen_success(self, port: object) -> None:
            super().listen_success(port)
            twisted_loop.add_reader(0, order)
            sys.stdout.write(f"listening {self.listening_addresses[0][1]}\n")
            sys.stdout.flush()

    # A busy machine may take longer over the first handshake than the 5 s that daphne gives it.
    endpoints = ["tcp:port=0:interface=127.0.0.1"]
    Told(application, endpoints=endpoints, websocket_handshake_timeout=60).run()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
