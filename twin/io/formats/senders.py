"""Who sent a message, where the source does not say: by who may send that CALL, or by the CALL it answers."""

from collections import OrderedDict

from twin.model import Call, Message, Side
from twin.protocol.actions import ACTIONS
from twin.protocol.codec import parse

_REMEMBERED = 4096  # CALLs that wait for an answer


class Senders:
    """The senders of one source's messages, told in their order."""

    def __init__(self) -> None:
        self._asked: OrderedDict[tuple[str, str], Side] = OrderedDict()

    def of(self, text: str, link: str, said: Side | None = None) -> Side | None:
        """The sender: as the source said it, else as it must be; ``None`` where either may be."""
        message = parse(text).message
        if message is None:
            return said
        sender = said or (only_sender(message) if isinstance(message, Call) else None)
        key = (link, message.message_id)
        if isinstance(message, Call):
            if sender is not None:
                self._asked[key] = sender
                self._asked.move_to_end(key)
                if len(self._asked) > _REMEMBERED:
                    self._asked.popitem(last=False)
        elif sender is None and key in self._asked:
            sender = self._asked[key].other
        return sender


def only_sender(message: Message) -> Side | None:
    """The one side that may send this CALL (OCPP 1.6 §4, §5), ``None`` where both may or nobody knows it."""
    action = ACTIONS.get(message.action) if isinstance(message, Call) else None
    return next(iter(action.senders)) if action and len(action.senders) == 1 else None
