"""A connection for each request: the table is not full yet, no packet is lost, and in seconds it will be.

The same habit as in a full table, seen in time, on a node whose rules were made by iptables. The client is a Node.js
program without a keep-alive agent.
"""

from __future__ import annotations

from lab.case import Expected
from lab.look import Sight
from lab.table import TableCase

LIMIT = 6000
SERVER = "203.0.113.80"
PROGRAM = f"""
process.title = 'report-sync';
const agent = new (require('http').Agent)({{ keepAlive: false }});
const target = {{ host: '{SERVER}', path: '/small', agent }};
const ask = () => require('http').get(target, answer => answer.resume()).on('error', () => 0);
setInterval(() => {{ for (let n = 0; n < 6; n++) ask(); }}, 20);
"""


class TableFillingByChurn(TableCase):
    kind = "fault"

    def start(self) -> None:
        (self.client_pod,) = self.furnish(LIMIT, "client", firewall="iptables")
        self.client = self.stage.run(self.client_pod, "report-sync", "node", "-e", PROGRAM)

    def look(self) -> Sight:
        count, drops = self.table.count, self.table.statistics["drop"]
        return Sight(count >= 0.4 * LIMIT and not drops, f"{self.table.entries}; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(
            rule="conntrack-table",
            severities=("warning",),
            shapes=("churn",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
            endpoint=(SERVER, 80),
        )
