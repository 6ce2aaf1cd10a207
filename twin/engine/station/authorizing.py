"""One reader for all connectors, RemoteStartTransaction, and who waits for a plug (4.1, 5.11, 9.1.6)."""

from typing import Any

from twin.engine.station.points import Authorization, Point
from twin.engine.station.records import Outgoing, Tx
from twin.engine.station.transacting import Transacting, until_us
from twin.protocol.timestamps import SECOND_US


class Authorizing(Transacting):
    """The layer that decides whether an idTag may charge, and where."""

    def _tag(self, tag: str, now_us: int) -> None:
        """One reader for all connectors: the same tag stops, another one is asked about first."""
        own = next((tx for tx in self._running() if tx.id_tag.casefold() == tag.casefold()), None)
        if own is not None:
            if self.online and (self.behaviour.stop_authorize or "authorizes-stop" in self.quirks):
                self._authorize(tag, ("stop", own.local_id), now_us)
            else:
                self._finish(own, "Local", now_us, id_tag=tag)
            return
        waiting = next((p for p in self.points.values() if _waits_for(p, tag)), None)
        if waiting is not None:  # a second swipe takes it back
            self._give_back(waiting, now_us)
            return
        if not self.online:
            if self._may_start_offline(tag, now_us):
                self._accept_tag(tag, "", None, now_us, remote=False)
            return
        if self.configuration.flag("LocalPreAuthorize") and self._cached(tag, now_us):
            self._accept_tag(tag, "", None, now_us, remote=False)
            return
        if not self._asked_about(tag):
            self._authorize(tag, ("tag", 0), now_us)

    def _may_start_offline(self, tag: str, now_us: int) -> bool:
        if not self.configuration.flag("LocalAuthorizeOffline"):
            return False
        if self.configuration.flag("AuthorizationCacheEnabled") and tag.casefold() in self.cache:
            return self._cached(tag, now_us)
        return self.configuration.flag("AllowOfflineTxForUnknownId")  # 9.1.1

    def _cached(self, tag: str, now_us: int) -> bool:
        enabled = self.configuration.flag("AuthorizationCacheEnabled")
        status, until_us = self.cache.get(tag.casefold(), ("", 0))
        return enabled and status == "Accepted" and now_us < until_us

    def _asked_about(self, tag: str) -> bool:
        """An Authorize for it waits or is on its way: a second swipe changes nothing."""
        waiting = [*self.uplink.urgent, *(flight.call for flight in self.uplink.in_flight.values())]
        return any(
            isinstance(call, Outgoing) and call.action == "Authorize" and call.payload["idTag"] == tag
            for call in waiting
        )

    def _authorize(self, tag: str, note: tuple[str, int], now_us: int) -> None:
        self.uplink.urgent.append(Outgoing("Authorize", {"idTag": tag}, (*note, tag)))

    def ask_remote(self, tag: str, point: Point, now_us: int) -> None:
        """After an accepted RemoteStartTransaction: Authorize first, as AuthorizeRemoteTxRequests says."""
        if self.configuration.flag("AuthorizeRemoteTxRequests") and not (
            self.configuration.flag("LocalPreAuthorize") and self._cached(tag, now_us)
        ):
            point.asking = True
            self._authorize(tag, ("remote", point.connector_id), now_us)
        else:
            self._accept_tag(tag, "", point, now_us, remote=True)

    def _authorized(self, call: Outgoing, payload: dict[str, Any] | None, now_us: int) -> None:
        what, number, tag = call.note
        info = payload.get("idTagInfo") if payload else None
        info = info if isinstance(info, dict) else {}
        status, parent = str(info.get("status", "")), str(info.get("parentIdTag", ""))
        self._learn(tag, status, until_us(info, self._offset_us))
        if status != "Accepted":
            self._authorize_failed(call.note, now_us)
            return
        if what == "stop":
            tx = self.transactions.get(number)
            if tx is not None and not tx.ended:
                self._finish(tx, "Local", now_us, id_tag=tag)
            return
        point = self.points.get(number) if what == "remote" else None
        if point is not None:
            point.asking = False
        elif (other := self._stopped_by(parent)) is not None:
            self._finish(other, "Local", now_us, id_tag=tag)
            return
        self._accept_tag(tag, parent, point, now_us, remote=what == "remote")

    def _stopped_by(self, parent: str) -> Tx | None:
        """A tag of the same group stops, unless a plugged car waits for one (one reader, many connectors)."""
        if not parent or any(p.free and p.outlet.plugged and not p.post_tx for p in self.points.values()):
            return None
        return next((tx for tx in self._running() if tx.parent_tag == parent), None)

    def _authorize_failed(self, note: tuple[str, int, str], now_us: int) -> None:
        point = self.points.get(note[1]) if note[0] == "remote" else None
        if point is not None:
            point.asking = False

    def _accept_tag(self, tag: str, parent: str, point: Point | None, now_us: int, *, remote: bool) -> None:
        """The oldest plugged car gets it; without one a free connector waits for a plug (9.1.6)."""
        point = point or self.connector_for_tag()
        if point is None or self._resetting or not (point.free or point.asking):
            return
        if point.outlet.plugged:
            if point.post_tx or point.timed_out:
                point.post_tx = point.timed_out = False
                self.notify(point, now_us)
            self._begin(point, tag, parent, now_us)
            return
        timeout_us = self.configuration.count("ConnectionTimeOut") * SECOND_US
        point.authorization = Authorization(tag, parent, now_us + timeout_us, remote)
        self.notify(point, now_us)
        if timeout_us > 0:
            self._set(("time-out", point.connector_id), now_us + timeout_us)

    def connector_for_tag(self) -> Point | None:
        """A plugged car that waits, else one that has finished, else the first that is free."""
        free = [point for point in self.points.values() if point.free]
        waiting = [point for point in free if point.outlet.plugged and not point.post_tx]
        empty = [point for point in free if not point.outlet.plugged]
        return next(iter((*waiting, *empty, *free)), None)

    def _give_back(self, point: Point, now_us: int) -> None:
        point.authorization = None
        self._cancel(("time-out", point.connector_id))
        self._take_scheduled(point)
        self.notify(point, now_us)

    def _timed_out(self, number: int, now_us: int) -> None:
        if self.points[number].authorization is not None:
            self._give_back(self.points[number], now_us)

    def _id_timed_out(self, number: int, now_us: int) -> None:
        point = self.points[number]
        if point.outlet.plugged and point.transaction is None:
            point.timed_out = True
            self.notify(point, now_us)


def _waits_for(point: Point, tag: str) -> bool:
    held = point.authorization
    return held is not None and not held.remote and held.id_tag.casefold() == tag.casefold()
