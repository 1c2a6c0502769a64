"""A build that goes by the name of a kernel thread (kswapd0), computes, and fetches its packages by curl --parallel.

Each turn it opens twenty connections at once for forty small files, closes them all and compiles: a burst of short
connections and most of a CPU, over and over. Such a name is what a miner would choose; to the network it is only a
neighbour that works. The shop beside it asks the same server and is answered at once.
"""

from __future__ import annotations

import subprocess

from lab.case import QUEUE_RULES, Case, Expected
from lab.connects import ANSWERED, call, calls, counter
from lab.cpu_quota import work
from lab.look import Sight, connections
from lab.servers import nginx

FILES, AT_ONCE = 40, 20


def build(address: str) -> None:
    while True:
        subprocess.run(
            ["curl", "--silent", "--fail", "--parallel", "--parallel-immediate", "--parallel-max", str(AT_ONCE),
             "--output", "/dev/null", f"http://{address}/small?package=[1-{FILES}]"],
            check=True,
        )  # fmt: skip
        work(0.2)
        print("built", flush=True)


class BuildNamedLikeKernelThread(Case):
    kind = "look-alike"
    rules_unread = True
    rules = QUEUE_RULES
    window_seconds = 10

    def start(self) -> None:
        self.build_pod, shop, self.server_pod = self.stage.pods("build", "shop", "server")
        address = self.server_pod.address
        self.server = nginx(self.stage, self.server_pod)
        self.build = self.stage.play(self.build_pod, "kswapd0", build, address)
        self.shop = self.stage.play(shop, "shop", call, [(address, 80)], 10, 2)

    def look(self) -> Sight:
        made, turns = calls(self.shop), self.build.log.read_text().count("built")
        waiting = connections(self.build_pod.netns).where("TIME-WAIT", peer_port=80)
        dropped = counter(self.server_pod.netns, "ListenOverflows")
        well = len(made) >= 30 and made.share(ANSWERED) == 1.0 and not dropped
        return Sight(well and turns >= 10 and len(waiting) >= 100, f"{turns} turns, {waiting} in TIME-WAIT; {made}")

    def expected(self) -> Expected:
        parts = (self.build.who(), self.shop.who(), self.server.who())
        return Expected(rule=None, innocent=parts, bystanders=parts)
