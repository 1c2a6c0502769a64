"""Browsers open two connections where they will need one, and HAProxy says "408" to the other before it closes it.

A browser connects ahead of time. On one connection it asks as soon as somebody clicks; the other one stays silent, and
HAProxy gives it up after two seconds (http-request). That word and the close lie unread until the browser throws the
connection away, which its kernel does by a reset. Nothing was asked there; whatever was asked was answered.
"""

from __future__ import annotations

import socket
import time
from http.client import HTTPConnection, HTTPException
from threading import Thread

from lab.actor import rest
from lab.case import Expected
from lab.connects import counter
from lab.keepalive import ENOUGH, KeepaliveCase
from lab.look import Sight
from lab.pools import ask, say
from lab.servers import HAPROXY, configured_haproxy, nginx
from lab.stage import Player, Pod

PORT, USERS = 8080, 20
CLICK_SECONDS, READ_SECONDS = 0.3, 3.0
PATIENT, HASTY = "timeout connect 5s", "timeout connect 5s\n    timeout http-request 2s"


def browse(address: str) -> None:
    for number in range(USERS):
        Thread(target=browse_in_turn, args=(address, READ_SECONDS * number / USERS)).start()
    rest()


def browse_in_turn(address: str, begin_after: float) -> None:
    time.sleep(begin_after)
    while True:
        used, spare = HTTPConnection(address, PORT, timeout=10), socket.create_connection((address, PORT))
        used.connect()
        time.sleep(CLICK_SECONDS)
        try:
            ask(used)
            say("answered", CLICK_SECONDS)
        except (HTTPException, OSError) as error:
            say("failed", CLICK_SECONDS, f"{type(error).__name__}: {error}")
        used.close()
        time.sleep(READ_SECONDS)
        spare.close()


class ResetOfUnusedPreconnects(KeepaliveCase):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 8

    def start(self) -> None:
        self.client_pod, proxy_pod, server_pod = self.stage.pods("users", "proxy", "server")
        self.server = nginx(self.stage, server_pod)
        self.proxy = self.serve(proxy_pod, f"{server_pod.address}:80")
        self.client = self.stage.play(self.client_pod, "browser", browse, proxy_pod.address)

    def serve(self, pod: Pod, upstream: str) -> Player:
        text = HAPROXY.format(port=PORT, upstream=upstream, mode="http", keep_alive="1h")
        assert PATIENT in text
        return configured_haproxy(self.stage, pod, PORT, text.replace(PATIENT, HASTY))

    def look(self) -> Sight:
        """The kernel counts whatever is closed with unread data, and resets it."""
        sight, unread = self.answered(self.client), counter(self.client_pod.netns, "TCPAbortOnClose")
        return Sight(sight.there and unread >= 2 * ENOUGH, f"{sight.seen}; {unread} closed with unread data")

    def expected(self) -> Expected:
        parts = (self.server.who(), self.proxy.who(), self.client.who())
        return Expected(rule=None, cleared=("keepalive-mismatch",), innocent=parts, bystanders=parts)
