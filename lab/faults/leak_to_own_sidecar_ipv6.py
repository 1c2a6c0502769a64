"""A program with an event loop of its own (selectors) forgets its downloads, from an nginx in the same pod, over ::1.

Once the head is there it takes the connection out of its selector, and never closes it. The sidecar cannot send on,
so it stops to read from the origin too: full send queues at the sidecar, unread data at the sidecar, and full queues
at the origin. Of three programs with bad queues only the first has a fault, and both ends of its connections are in one
pod.
"""

from __future__ import annotations

import selectors
import socket
import time

from lab.case import Case, Expected, Named
from lab.host import short_of_tcp_memory
from lab.look import Sight, connections, never_read
from lab.servers import NGINX, documents, nginx, up
from lab.stage import Player, Pod, Stage

PORT = 8081
AT_LEAST, MOST = 30, 60
REQUEST = b"GET /large HTTP/1.1\r\nHost: lab\r\n\r\n"


def nginx_before(stage: Stage, pod: Pod, port: int, directives: str) -> Player:
    """One that passes requests on, as is said."""
    directory = documents(stage, f"nginx-before-{pod.namespace}-{port}")
    plain = NGINX.format(directory=directory, port=port, keep_alive="1h", files=16_000)
    passing = plain.replace(f"root {directory};", f"location / {{ {directives} proxy_read_timeout 1h; }}")
    (directory / "nginx.conf").write_text(passing)
    command = ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
    return up(stage, pod, stage.run(pod, "nginx", *command), port)


def mirror(address: str) -> None:
    ready, last = selectors.DefaultSelector(), 0.0
    seen: list[socket.socket] = []
    while True:
        if time.monotonic() > last + 0.3 and len(seen) < MOST:
            last = time.monotonic()
            seen.append(connection := socket.create_connection((address, PORT)))
            connection.sendall(REQUEST)
            ready.register(connection, selectors.EVENT_READ)
        for key, _ in ready.select(0.1):
            assert isinstance(key.fileobj, socket.socket)
            if b" 200 " in key.fileobj.recv(200):
                ready.unregister(key.fileobj)


class LeakToOwnSidecarIpv6(Case):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.pod, self.origin_pod = self.stage.pods("mirror", "origin")
        self.origin = nginx(self.stage, self.origin_pod)
        passing = f"proxy_pass http://{self.origin_pod.address}; proxy_buffering off;"
        self.sidecar = nginx_before(self.stage, self.pod, PORT, passing)
        self.client = self.stage.play(self.pod, "mirror", mirror, "::1")

    def look(self) -> Sight:
        near = never_read(self.pod.netns, self.pod.netns, PORT, at_least=AT_LEAST)
        far = connections(self.origin_pod.netns).where(local_port=80).unsent
        return Sight(near.there and len(far) >= AT_LEAST, f"{near.seen}; {far} with full queues at the origin")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            also=("tcp-memory",) if short_of_tcp_memory() else (),
            shapes=("response-never-read",),
            culprits=(self.client.who(),),
            innocent=(self.sidecar.who(), self.origin.who()),
            others=(Named(self.sidecar.who(), ("holder", "victim")),),
            endpoint=("::1", PORT),
        )
