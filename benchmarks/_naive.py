"""The peer of relay.py: the mitmdump addon one would write first. Decode, validate with ocpp, dump, flush."""

import json
from pathlib import Path

from mitmproxy import ctx
from ocpp.messages import Call, CallResult, _validate_payload, unpack


class Naive:
    def load(self, loader):
        loader.add_option("naive_log", str, "", "Where to write.")
        self.actions = {}
        self.file = None

    def websocket_message(self, flow):
        self.file = self.file or Path(ctx.options.naive_log).open("w", encoding="utf-8")  # noqa: SIM115  # open for the life of the proxy
        message = flow.websocket.messages[-1]
        text = message.content.decode()
        said = unpack(text)
        key = (flow.id, said.unique_id)
        if isinstance(said, Call):
            self.actions[key] = said.action
        elif isinstance(said, CallResult):
            said.action = self.actions.pop(key)
        _validate_payload(said, "1.6")
        line = {"at": message.timestamp, "from_client": message.from_client, "message": json.loads(text)}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()


addons = [Naive()]
