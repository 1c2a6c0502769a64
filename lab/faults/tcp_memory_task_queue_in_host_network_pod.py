"""Incident 1 by a pod on the node's network: a task queue of Node, and the node itself has the same address.

A task whose answer is larger than it may be is skipped by a plain return. Nobody consumes that response, so Node keeps
its socket for ever, with what the kernel had taken in. Sixty such tasks use up the node's TCP memory (the limit is
lowered for this, and put back). An agent of the node asks the same server from the same address and reads all of it:
only the cgroup tells the two apart, and which of them the pod's is.
"""

from __future__ import annotations

from lab.case import Case, Expected, Named
from lab.containers import PodCgroup
from lab.host import TCP_MEM, read
from lab.load import ask_anew
from lab.look import Sight, connections, never_read, sockstat, wait_until
from lab.node import Node
from lab.servers import nginx
from lab.who import Who

SERVER = "203.0.113.80"
TOO_LARGE = 60
SCRIPT = """
const http = require('http');
const [server, tooLarge] = process.argv.slice(2);
let task = 0;
setInterval(() => {
  const path = task % 4 === 0 && task < 4 * tooLarge ? '/large' : '/small';
  task++;
  http.get(server + path, (response) => {
    if (+response.headers['content-length'] > 1e6) return;
    response.resume();
  }).on('error', () => {});
}, 50);
"""


class TcpMemoryTaskQueueInHostNetworkPod(Case):
    kind = "fault"
    rules_unread = True
    changes_global = True

    def start(self) -> None:
        self.node = Node(self.stage)
        self.server = nginx(self.stage, self.node.outside)
        self.agent = self.stage.play(self.node.host, "node-agent", ask_anew, SERVER, 80, 5)
        script = self.stage.directory / "queue.js"
        script.write_text(SCRIPT)
        self.pod = PodCgroup(self.stage)
        command = ("node", str(script), f"http://{SERVER}", str(TOO_LARGE))
        self.worker = self.stage.run(self.node.host, "node", *command)
        self.pod.add(self.worker.pid)
        wait_until(lambda: self.leak().there, 60, lambda: self.leak().seen)
        own = sum(connections(place.netns).pages for place in (self.node.host, self.node.outside))
        self.maximum = own * 3 // 4
        self.stage.tcp_mem(own // 4, own // 2, self.maximum)

    def leak(self) -> Sight:
        return never_read(self.node.host.netns, self.node.outside.netns, 80, at_least=TOO_LARGE)

    def look(self) -> Sight:
        used = sockstat()["mem"]
        return Sight(used > self.maximum, f"mem {used} pages, tcp_mem {read(TCP_MEM)}; {self.leak().seen}")

    def expected(self) -> Expected:
        return Expected(
            rule="tcp-memory",
            also=("socket-leak",),
            shapes=("response-never-read",),
            culprits=(Who(self.worker.comm, self.worker.who().pids, pod=self.pod.uid),),
            innocent=(self.server.who(), self.agent.who()),
            others=(Named(self.server.who(), ("holder", "victim")),),
            endpoint=(SERVER, 80),
        )
