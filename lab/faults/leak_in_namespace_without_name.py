"""The same, and the pod has been deleted meanwhile: its namespace has no name any more, only the sockets keep it.

No process is in it and no file leads to it, so that nobody can enter it. The prober still holds the sockets.
"""

from __future__ import annotations

from lab.case import Case, Expected
from lab.faults.leak_in_namespace_without_process import TIMES, probe
from lab.look import Sight, connections, descriptors, wait_until
from lab.servers import nginx
from lab.stage import ip


class LeakInNamespaceWithoutName(Case):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.probed_pod, self.own_pod, self.server_pod = self.stage.pods("probed", "prober", "server")
        self.server = nginx(self.stage, self.server_pod)
        probed = (str(self.probed_pod.netns), self.server_pod.address)
        self.prober = self.stage.play(self.own_pod, "prober", probe, *probed)
        wait_until(lambda: "probed" in self.prober.log.read_text(), 20, self.stage.logs)
        self.stage.undo.callback(ip, "netns", "add", self.probed_pod.namespace)  # the stage will drop it by its name
        ip("netns", "del", self.probed_pod.namespace)

    def look(self) -> Sight:
        """Of the client's ends nothing can be seen but the descriptors; the server's ends still have a peer."""
        full = connections(self.server_pod.netns).where("ESTAB", local_port=80).unsent
        held = descriptors(self.prober.who().pids, "socket:")
        there = len(full) == TIMES <= held and not self.probed_pod.netns.exists()
        return Sight(there, f"server: {full} with full send queues; {held} sockets in {self.prober.who()}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            culprits=(self.prober.who(),),
            innocent=(self.server.who(),),
        )
