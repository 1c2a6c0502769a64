"""An nginx as gateway, with all that its manual asks for kept connections to the backend, but for the line `keepalive`.

So it makes a connection for each request, over IPv6, and closes it first: each leaves one of its two hundred ports in
TIME_WAIT for a minute. Its user has one connection to it, over IPv4, which never fails, and reads "502 Bad Gateway" on
it; that is a word for a broken backend, but the backend is well and is asked less and less.
"""

from __future__ import annotations

from http.client import HTTPConnection

from lab.actor import every
from lab.case import CONNECTION_RULES, Case, Expected, Named
from lab.connects import calls, log
from lab.faults.ports_used_up import PORTS, RANGE
from lab.look import Sight, connections
from lab.servers import NGINX, documents, nginx, up
from lab.stage import Player, Pod, inside

PORT, BACKEND_PORT, PER_SECOND = 8080, 80, 30
ONWARDS = 'location / {{ proxy_pass http://[{}]:{}; proxy_http_version 1.1; proxy_set_header Connection ""; }}'
GOOD, BAD = "status-200", "status-502"
NO_PORT = "Cannot assign requested address"


def browse(address: str) -> None:
    connection = HTTPConnection(address, PORT, timeout=10)
    for _ in every(1 / PER_SECOND, times=100_000):
        connection.request("GET", "/small")
        answer = connection.getresponse()
        answer.read()
        log(f"status-{answer.status}", 0)


class PortsUsedUpByGateway(Case):
    kind = "fault"
    rules = ("port-exhaustion", *CONNECTION_RULES)
    rules_unread = True
    age_seconds = 0

    def start(self) -> None:
        browser, self.pod, backend = self.stage.pods("browser", "gateway", "backend")
        inside(self.pod, "sysctl", "-qw", RANGE)
        self.backend = nginx(self.stage, backend, BACKEND_PORT)
        self.gateway = self.pass_on(self.pod, backend.address6)
        self.browser = self.stage.play(browser, "browser", browse, self.pod.address)

    def pass_on(self, pod: Pod, address: str) -> Player:
        directory = documents(self.stage, "gateway")
        text = NGINX.format(directory=directory, port=PORT, keep_alive="1h", files=16_000)
        own = f"root {directory};"
        assert own in text
        (directory / "nginx.conf").write_text(text.replace(own, ONWARDS.format(address, BACKEND_PORT)))
        command = ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
        return up(self.stage, pod, self.stage.run(pod, "nginx", *command), PORT)

    def look(self) -> Sight:
        made, seen = calls(self.browser), connections(self.pod.netns)
        waiting, users = seen.where("TIME-WAIT", peer_port=BACKEND_PORT), seen.where("ESTAB", local_port=PORT)
        failed = self.gateway.log.read_text(errors="replace").count(NO_PORT)
        there = len(made.where(BAD)) >= 60 and failed >= 60 and len(waiting) >= PORTS - 5 and len(users) == 1
        seen_by_user = f"{len(made.where(GOOD))} answers, {len(made.where(BAD))} times 502 on {users}"
        return Sight(there, f"{waiting} of {PORTS} ports wait; {failed} times no port, says nginx; {seen_by_user}")

    def expected(self) -> Expected:
        return Expected(
            rule="port-exhaustion",
            also=("connect-refused",),
            severities=("warning", "critical"),
            tolerated=(self.gateway.who(),),
            innocent=(self.browser.who(), self.backend.who()),
            others=(Named(self.gateway.who(), ("culprit", "holder", "victim")),),
            mentions=("TIME_WAIT",),
        )
