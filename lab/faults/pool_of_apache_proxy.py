"""Apache as a proxy, after each rush: fifty connections onwards in CLOSE_WAIT, and no request ever fails.

Uvicorn closes what was idle for a second. mod_proxy keeps such a connection in its pool, does not look at it until it
is wanted, and then finds it closed and opens another. So for most of the time all that it has are in CLOSE_WAIT: this
has been reported as a leak for twenty years, and is none. There are never more than the rush needed.
"""

from __future__ import annotations

from lab.case import CONNECTION_RULES, Case, Expected
from lab.connects import ANSWERED, rushes
from lab.look import Sight, connections
from lab.servers import APACHE, APACHE_MODULES, up, uvicorn

PORT, UPSTREAM, AT_ONCE, PAUSE_SECONDS = 8080, 8000, 50, 8
PROXY = """
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
ProxyPass / http://{upstream}:{port}/
"""


class PoolOfApacheProxy(Case):
    kind = "look-alike"
    rules_unread = True
    rules = CONNECTION_RULES
    age_seconds = 3
    window_seconds = 20

    def start(self) -> None:
        client, self.proxy_pod, server = self.stage.pods("client", "proxy", "server")
        self.server = uvicorn(self.stage, server, UPSTREAM, keep_alive_seconds=1, answer_after_seconds=0.3)
        directory = self.stage.directory
        address = self.proxy_pod.address
        place = {"directory": directory, "modules": APACHE_MODULES, "address": address, "port": PORT}
        onwards = PROXY.format(modules=APACHE_MODULES, upstream=server.address, port=UPSTREAM)
        (directory / "apache2.conf").write_text(APACHE.format(**place) + onwards)
        command = ("apache2", "-D", "FOREGROUND", "-f", str(directory / "apache2.conf"))
        self.proxy = up(self.stage, self.proxy_pod, self.stage.run(self.proxy_pod, *command[:1], *command), PORT)
        self.client = self.stage.play(client, "shop", rushes, address, PORT, AT_ONCE, PAUSE_SECONDS)

    def look(self) -> Sight:
        waiting = connections(self.proxy_pod.netns).where("CLOSE-WAIT", peer_port=UPSTREAM)
        lines = self.client.log.read_text().splitlines()
        well = all(line.startswith(ANSWERED) for line in lines)
        there = len(lines) >= 3 * AT_ONCE and well and AT_ONCE / 2 <= len(waiting) <= AT_ONCE
        return Sight(there, f"{waiting} of Apache's in CLOSE-WAIT; {len(lines)} asked, all answered: {well}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.proxy.who(), self.server.who(), self.client.who()))
