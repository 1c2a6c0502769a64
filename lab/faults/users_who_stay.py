"""The morning of a chat: two users a second come, each a program of its own (curl), and none of them goes.

Each waits for news on one connection (a long poll). The server has more of them each second, all of them idle, and no
program has more than one: that is growth, and no leak.
"""

from __future__ import annotations

from lab.case import Case, Expected
from lab.faults.idle_websockets import serve
from lab.look import Sight, connections
from lab.servers import up

PORT = 8080
ASK = ("curl", "--silent", "--no-buffer", "--max-time", "3600")
COME = 'for user in $(seq 300); do "$0" "$@" & sleep 0.5; done; wait'


class UsersWhoStay(Case):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 60

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("users", "server")
        self.server = self.stage.play(self.server_pod, "chat-server", serve)
        up(self.stage, self.server_pod, self.server, PORT)
        url = f"http://{self.server_pod.address}:{PORT}/poll"
        self.users = self.stage.run(self.client_pod, "sh", "sh", "-c", COME, *ASK, url)

    def look(self) -> Sight:
        held = connections(self.server_pod.netns).where("ESTAB", local_port=PORT)
        users = len(self.users.who().pids)
        return Sight(len(held) >= 30 and not held.unread, f"{held} established; {users} processes of users")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.users.who()))
