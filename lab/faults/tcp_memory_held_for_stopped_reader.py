"""All signs of incident 1, and no leak: a real pod holds most TCP memory, because its reader in another was stopped.

nginx runs in a pod of containerd and serves thirty downloads, which a program in another pod read, a little at a time,
until somebody stopped it (SIGSTOP, a debugger). The queues towards it are full, and the node is above its limit (which
is lowered for this, and put back). By what it holds nginx is the culprit, and to restart its pod would even help. It is
holder and victim; the reader has to be named, with its pod, and that it is stopped.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from lab.case import Case, Expected, Named
from lab.containerd import Containerd
from lab.faults.stopped_reader import DOWNLOADS, download
from lab.host import TCP_MEM, read
from lab.look import Sight, connections, listening, never_read, sockstat, wait_until
from lab.node import Node
from lab.servers import LARGE, NGINX, SMALL
from lab.stage import status

PORT = 80


def serve() -> None:
    """Become nginx. An image would have brought the user that it works as."""
    Path("/etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    Path("/etc/group").write_text("root:x:0:\n")
    directory = Path("/tmp/nginx")
    directory.mkdir()
    for name, size in (("large", LARGE), ("small", SMALL)):
        with (directory / name).open("wb") as file:
            file.truncate(size)
    configuration = directory / "nginx.conf"
    configuration.write_text(NGINX.format(directory=directory, port=PORT, keep_alive="1h", files=1024))
    os.execvp("nginx", ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(configuration)])


class TcpMemoryHeldForStoppedReader(Case):
    kind = "fault"
    rules_unread = True
    changes_global = True

    def start(self) -> None:
        self.node = Node(self.stage)
        self.containerd = Containerd(self.stage, self.node)
        self.server = self.containerd.play("files", "nginx", serve)
        wait_until(lambda: listening(self.server.netns, PORT), 20, lambda: self.server.log.read_text()[-600:])
        self.reader = self.containerd.play("downloader", "downloader", download, self.server.address)
        wait_until(self.was_reading, 30, self.stage.logs)
        os.kill(self.reader.pid, signal.SIGSTOP)
        wait_until(lambda: self.full().there, 20, lambda: self.full().seen)
        own = sum(connections(contained.netns).pages for contained in (self.server, self.reader))
        self.maximum = own * 3 // 4
        self.stage.tcp_mem(own // 4, own // 2, self.maximum)

    def was_reading(self) -> bool:
        """Every download is further than an unread receive buffer would let it come."""
        served = connections(self.server.netns).where("ESTAB", local_port=PORT)
        return len(served) == DOWNLOADS and min(c.acked for c in served) > 300_000

    def full(self) -> Sight:
        return never_read(self.reader.netns, self.server.netns, PORT, at_least=DOWNLOADS)

    def look(self) -> Sight:
        used, state = sockstat()["mem"], status(self.reader.pid)
        ends = [connections(contained.netns).pages for contained in (self.server, self.reader)]
        seen = f"mem {used} pages, tcp_mem {read(TCP_MEM)}; server and reader: {ends} pages; reader in state {state}"
        return Sight(self.full().there and used > self.maximum and state == "T" and ends[0] > ends[1], seen)

    def expected(self) -> Expected:
        return Expected(
            rule="tcp-memory",
            also=("socket-leak",),
            tolerated=(self.reader.who(),),
            innocent=(self.server.who(),),
            others=(
                Named(self.reader.who(state="stopped"), ("reader", "culprit")),
                Named(self.server.who(), ("holder", "victim")),
            ),
        )
