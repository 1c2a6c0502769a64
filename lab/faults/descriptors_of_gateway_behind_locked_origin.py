"""An nginx has used up its descriptors, on requests for which its origin waits, which waits for the lock of a backup.

Each order takes the lock of a ledger by a child (flock) and gives it back; a backup has it for the night. So the one
thread of the origin, a Node, waits for its child, its accept queue is full, and whoever connects gets no answer. The
gateway does what it is told to: it waits, with two descriptors for each user, until it has none left, and then says 500
to everybody. "Too many open files" stands in its log alone; with a higher limit it would last for some minutes more.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

from lab.actor import rest
from lab.case import LIMIT_RULES, Expected, Named
from lab.connects import ANSWERED, GAVE_UP, STEP_SECONDS, ConnectCase, call, calls, named
from lab.look import Sight, connections, descriptors, wait_until
from lab.node import Node
from lab.servers import NGINX, documents, up
from lab.stage import Player, Pod, session

PORT, BACKLOG, FILES, PATIENT_SECONDS, LACK = 8000, 16, 60, 300, "Too many open files"
SCRIPT = """
const { execFileSync } = require('child_process');
const [port, backlog, ledger] = process.argv.slice(2);
require('http').createServer((request, response) => {
  execFileSync('flock', [ledger, 'true']);
  response.end(Buffer.alloc(200));
}).listen({ port: +port, backlog: +backlog });
"""


def copy_at_leisure(ledger: str) -> None:
    with Path(ledger).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        print("locked", flush=True)
        rest()


class DescriptorsOfGatewayBehindLockedOrigin(ConnectCase):
    kind = "fault"
    rules_unread = True
    rules = LIMIT_RULES
    age_seconds = 4

    def start(self) -> None:
        self.node = Node(self.stage, "users", "reports", "gateway", "ledger", "backup")
        users, reports, gateway, self.origin_pod, backup = self.node.pods
        ledger = self.stage.directory / "ledger"
        self.origin = self.serve(self.origin_pod, ledger)
        self.gateway = self.pass_on(gateway, f"{self.origin_pod.address}:{PORT}")
        self.users = self.stage.play(users, "checkout", call, [(gateway.address, 80)], 3, PATIENT_SECONDS)
        self.reports = self.stage.play(reports, "reports", call, [(self.origin_pod.address, PORT)], 3, 2)
        callers = self.users, self.reports
        wait_until(lambda: all(len(calls(one).where(ANSWERED)) >= 5 for one in callers), 20, self.stage.logs)
        self.backup = self.stage.play(backup, "nightly-backup", copy_at_leisure, str(ledger))

    def serve(self, pod: Pod, ledger: Path) -> Player:
        (self.stage.directory / "orders.js").write_text(SCRIPT)
        command = ("node", "orders.js", str(PORT), str(BACKLOG), str(ledger))  # where every player is started
        return up(self.stage, pod, self.stage.run(pod, "node", *command), PORT)

    def pass_on(self, pod: Pod, upstream: str) -> Player:
        directory = documents(self.stage, "gateway")
        text = NGINX.format(directory=directory, port=80, keep_alive="1h", files=FILES)
        own = f"root {directory};"
        assert own in text
        (directory / "nginx.conf").write_text(text.replace(own, f"location / {{ proxy_pass http://{upstream}; }}"))
        command = ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
        return up(self.stage, pod, self.stage.run(pod, "nginx", *command), 80)

    def look(self) -> Sight:
        workers = frozenset(session(self.gateway.pid)) - {self.gateway.pid}
        held, lacking = descriptors(workers, ""), self.gateway.log.read_text(errors="replace").count(LACK)
        (listener,) = connections(self.origin_pod.netns).where("LISTEN", local_port=PORT)
        reports = calls(self.reports)
        gave_up, locked = reports.where(GAVE_UP, at_least_seconds=STEP_SECONDS), "locked" in self.backup.log.read_text()
        full = listener.unread > listener.unsent == BACKLOG and len(gave_up) >= 10
        there = full and locked and held >= FILES - 3 and lacking >= 8
        seen = f"{held} descriptors of {FILES}, {lacking} times too many, says nginx"
        return Sight(there, f"{seen}; {listener.unread} in a queue of {listener.unsent}; reports: {reports}")

    def expected(self) -> Expected:
        """What is true of the gateway, and who is behind it. The lock can be read (/proc/locks), and need not be."""
        return Expected(
            rule="descriptor-limit",
            also=("accept-queue", "connect-timeout", "connect-slow", "socket-leak", "resets"),
            tolerated=(self.origin.who(), self.gateway.who(), self.backup.who()),
            innocent=(self.users.who(), self.reports.who()),
            others=(
                Named(self.gateway.who(), ("culprit", "holder", "victim")),
                Named(self.origin.who(), ("culprit", "holder", "reader")),
                named(self.reports),
            ),
        )
