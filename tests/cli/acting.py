"""Does the physical steps of a case through a station's page: acting.py FILE-WITH-URL STEP CONNECTOR TAG."""

import asyncio
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from websockets.asyncio.client import connect

ACTS = {
    "plug": [{"do": "plug"}],
    "unplug": [{"do": "unplug"}],
    "unplug_station": [{"do": "unplug"}],
    "tag": [{"do": "tag"}],
    "power_cycle": [{"do": "power off"}, {"do": "power on"}],
    "tidy": [{"do": "unplug", "connector_id": 1}, {"do": "unplug", "connector_id": 2}],
}


async def main(page: str, step: str, connector_id: str, tag: str) -> None:
    parts = urlsplit(page)
    origin = f"http://{parts.netloc}"
    async with connect(f"ws://{parts.netloc}/live?{parts.query}", origin=origin) as socket:  # type: ignore[arg-type]  # a NewType of str
        await socket.recv()
        for act in ACTS[step]:
            named = {"connector_id": int(connector_id)} if act["do"] in ("plug", "unplug") else {}
            named |= {"tag": tag} if act["do"] == "tag" else {}
            await socket.send(json.dumps(named | act))
            await socket.recv()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).read_text(), *sys.argv[2:]))
