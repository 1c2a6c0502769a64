"""The classic of Node.js: http.get with a callback that never consumes the response.

Node pauses a response nobody listens to, so its body stays in the kernel and its socket stays taken. The process has
several threads and goes by its own name, node.
"""

from __future__ import annotations

from lab.case import Case, Expected, Named
from lab.look import Sight, never_read
from lab.servers import nginx

SCRIPT = """
const http = require('http');
const agent = new http.Agent({ keepAlive: true });
let turns = 0;
setInterval(() => {
  if (turns++ >= 50) return;
  http.get(process.argv[2], { agent }, (response) => { if (response.statusCode !== 200) process.exit(1); });
}, 150);
"""


class ResponseNeverReadNode(Case):
    kind = "fault"

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        script = self.stage.directory / "check.js"
        script.write_text(SCRIPT)
        url = f"http://{self.server_pod.address}/large"
        self.client = self.stage.run(self.client_pod, "node", "node", str(script), url)

    def look(self) -> Sight:
        return never_read(self.client_pod.netns, self.server_pod.netns, 80, at_least=40)

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
            others=(Named(self.server.who(), ("holder", "victim")),),
            endpoint=(self.server_pod.address, 80),
        )
