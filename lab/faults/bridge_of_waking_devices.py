"""A bridge opens a connection for each device that is switched on in the morning: two a second more, from one program.

It speaks to the maker's server for each of them with a pool of its own (an http.Agent of Node with one socket), says
every three seconds how the device does, and reads the answer. So one process has ever more connections to one address
and closes none, as a leak would. But each is used, again and again, and they are as many as devices are awake.
"""

from __future__ import annotations

from lab.case import Case, Expected
from lab.connects import counter
from lab.look import Sight, connections
from lab.servers import nginx

DEVICES = 250
SCRIPT = """
const http = require('http');
const [url, devices] = process.argv.slice(2);
let awake = 0;

function tell(agent) {
  http.get(url, { agent }, (response) => response.resume().on('end', () => {
    console.log('noted');
    setTimeout(tell, 3000, agent);
  })).on('error', (error) => console.log('failed', error.code));
}

setInterval(() => {
  if (awake++ < +devices) tell(new http.Agent({ keepAlive: true, maxSockets: 1 }));
}, 500);
"""


class BridgeOfWakingDevices(Case):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 20

    def start(self) -> None:
        self.client_pod, server = self.stage.pods("bridge", "server")
        self.server = nginx(self.stage, server)
        script = self.stage.directory / "bridge.js"
        script.write_text(SCRIPT)
        command = ("node", str(script), f"http://{server.address}/small", str(DEVICES))
        self.bridge = self.stage.run(self.client_pod, "node", *command)

    def look(self) -> Sight:
        """Nobody has connected twice, so that each connection has been used a few times."""
        held = connections(self.client_pod.netns).where("ESTAB", peer_port=80)
        opened, log = counter(self.client_pod.netns, "ActiveOpens"), self.bridge.log.read_text()
        noted, failed = log.count("noted"), log.count("failed")
        there = len(held) >= 40 and not held.unread and opened <= len(held) + 3 and noted >= 2 * opened and not failed
        return Sight(there, f"{held} established of {opened} opened; {noted} times noted, {failed} failed")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.bridge.who(), self.server.who()))
