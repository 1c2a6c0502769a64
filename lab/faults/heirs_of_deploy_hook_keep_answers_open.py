"""A deploy hook answers and closes, and yet no answer ends: what it starts for each has inherited the connection.

The hook makes what it accepts without close-on-exec, starts a watcher (sleep) in the background, says "started" and
closes its descriptor. The kernel sends no FIN while the watcher has another, and the answer has no length, so whoever
called reads on until an end that does not come. By numbers the caller is the one to suspect: it has ever more
connections, silent and connected, and the hook has none. What holds them are programs that never heard of a socket,
with one each. The caller does what HTTP/1.0 asks of it.
"""

from __future__ import annotations

import socket
import subprocess
from threading import Thread

from lab.actor import every, rest
from lab.case import Case, Expected, Named
from lab.look import Sight, connections, descriptors
from lab.servers import up
from lab.stage import session
from lab.who import Who

PORT, AT_LEAST, DEPLOYS = 9000, 25, 200
ASK = b"POST /deploy HTTP/1.0\r\nHost: lab\r\n\r\n"
STARTED = b"HTTP/1.0 200 OK\r\n\r\nstarted\n"
WATCHER = "sleep"


def hook() -> None:
    watchers = []
    with socket.create_server(("", PORT), backlog=100) as listener:
        while True:
            with listener.accept()[0] as connection:
                connection.recv(4096)
                connection.set_inheritable(True)
                watchers.append(subprocess.Popen([WATCHER, "3600"], close_fds=False))
                connection.sendall(STARTED)


def deploy(address: str) -> None:
    def call() -> None:
        with socket.create_connection((address, PORT)) as connection:
            connection.sendall(ASK)
            while piece := connection.recv(4096):
                print("told", piece[-8:], flush=True)
        print("ended", flush=True)

    for _ in every(0.6, times=DEPLOYS):
        Thread(target=call).start()
    rest()


class HeirsOfDeployHookKeepAnswersOpen(Case):
    kind = "fault"
    rules_unread = True
    window_seconds = 30

    def start(self) -> None:
        client, self.pod = self.stage.pods("pipeline", "hook")
        self.hook = self.stage.play(self.pod, "deploy-hook", hook)
        up(self.stage, self.pod, self.hook, PORT)
        self.client = self.stage.play(client, "pipeline", deploy, self.pod.address)

    @property
    def watchers(self) -> frozenset[int]:
        return frozenset(session(self.hook.pid)) - {self.hook.pid}

    def look(self) -> Sight:
        """All were told, none ended; the hook has its listener, and each watcher one socket."""
        held, log = connections(self.pod.netns).where("ESTAB", local_port=PORT), self.client.log.read_text()
        own, left = descriptors(frozenset({self.hook.pid}), "socket:"), descriptors(self.watchers, "socket:")
        told, ended = log.count("told"), log.count("ended")
        there = len(held) >= AT_LEAST and left >= AT_LEAST and own <= 2 and told >= AT_LEAST and not ended
        seen = f"{held} established; sockets of the hook: {own}, of {len(self.watchers)} watchers: {left}"
        return Sight(there, f"{seen}; {told} told, {ended} ended")

    def expected(self) -> Expected:
        """Who ends the watchers has mended it for now, and from them one comes to the hook, their parent."""
        watchers, hooked = Who(WATCHER, self.watchers), Who(self.hook.comm, frozenset({self.hook.pid}))
        return Expected(
            rule="socket-leak",
            severities=("info", "warning"),  # of a minute
            tolerated=(watchers, hooked),
            innocent=(self.client.who(),),
            others=(Named(watchers, ("culprit", "holder", "peer", "reader")),),
        )
