"""httpx gives up what was idle for 5 s, Uvicorn closes it after 5 s, both as shipped: over a long way that fails.

An answer takes 0.15 s to the client, and its next request as long back. So a connection that the pool has kept for
4.8 s has been idle for more than 5 s when the request arrives: Uvicorn has just closed it, and its FIN is on the way.
The pool looks before it asks, and there is nothing yet to be seen. It reads the FIN where it waits for an answer
("Server disconnected without sending a response"); the reset comes after that, to a socket that it has closed already.
"""

from __future__ import annotations

from pathlib import Path

from lab.case import Expected
from lab.connects import ANY, counter
from lab.faults.connect_far_server import FAR, NEAR, carry
from lab.keepalive import ENOUGH, WatchedCase, mismatch
from lab.look import Sight, wait_until
from lab.pools import stopwatch, told, went, with_httpx
from lab.servers import serve_uvicorn, up

PORT, CLIENTS, IDLE = 8000, 15, (4.76, 4.92)


class KeepaliveEqualLimitsFarApart(WatchedCase):
    kind = "fault"
    rules_unread = True
    server_waits = (5.0, 5.0)
    window_seconds = 8

    def start(self) -> None:
        client_pod, self.far_pod = self.stage.pods("client", "far")
        near_end, far_end = (str(self.stage.directory / end) for end in ("near", "far"))
        self.carriers = (
            self.stage.play(client_pod, "near-end", carry, NEAR, FAR, near_end, far_end),
            self.stage.play(self.far_pod, "far-end", carry, FAR, NEAR, far_end, near_end),
        )
        wait_until(lambda: Path(near_end).exists() and Path(far_end).exists(), 10, self.stage.logs)
        self.server = self.stage.play(self.far_pod, "uvicorn", serve_uvicorn, ANY, PORT, 5, 0.0)
        up(self.stage, self.far_pod, self.server, PORT)
        self.watch = self.stage.play(client_pod, "stopwatch", stopwatch, FAR, PORT, 5)
        url = f"http://{FAR}:{PORT}/small"
        self.client = self.stage.play(client_pod, "orders", with_httpx, url, CLIENTS, IDLE)

    def look(self) -> Sight:
        """To the client's kernel nothing was reset that was still open; the server's has sent the resets."""
        failed, sent = told(self.client, "failed"), counter(self.far_pod.netns, "OutRsts")
        return self.measured(Sight(min(len(failed), sent) >= ENOUGH, f"{went(self.client)}; {sent} resets sent"))

    def expected(self) -> Expected:
        return mismatch(self.client, self.server, (FAR, PORT), self.watch, *self.carriers)
