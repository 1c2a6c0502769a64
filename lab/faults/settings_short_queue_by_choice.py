"""A program that asks for a queue of five, as Python's http.server does, in a pod whose settings are the kernel's own.

Its queue is shorter than any limit, and that is its own choice; no setting is to be changed for it.
"""

from __future__ import annotations

from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from lab.case import SETTING_RULES, Case, Expected
from lab.look import Sight, connections
from lab.servers import up

PORT = 8000


def share_files() -> None:
    ThreadingHTTPServer(("", PORT), SimpleHTTPRequestHandler).serve_forever()


class SettingsShortQueueByChoice(Case):
    kind = "look-alike"
    rules = SETTING_RULES
    age_seconds = 0

    def start(self) -> None:
        (self.pod,) = self.stage.pods("files")
        self.server = self.stage.play(self.pod, "files", share_files)
        up(self.stage, self.pod, self.server, PORT)

    def look(self) -> Sight:
        (listener,) = connections(self.pod.netns).where("LISTEN", local_port=PORT)
        return Sight(listener.unsent == 5, f"a queue of {listener.unsent}")

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            cleared=("settings", "accept-queue"),
            innocent=(self.server.who(),),
            bystanders=(self.server.who(),),
        )
