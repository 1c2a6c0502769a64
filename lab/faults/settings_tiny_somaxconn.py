"""A pod with net.core.somaxconn=16: the nginx in it asks for a queue of 4096, and has one of 16 without being told."""

from __future__ import annotations

from lab.case import SETTING_RULES, Case, Expected
from lab.look import Sight, connections
from lab.servers import nginx
from lab.stage import inside

TINY = 16


class SettingsTinySomaxconn(Case):
    kind = "fault"
    rules = SETTING_RULES
    age_seconds = 0

    def start(self) -> None:
        self.pod, other = self.stage.pods("server", "other")
        inside(self.pod, "sysctl", "-qw", f"net.core.somaxconn={TINY}")
        self.server = nginx(self.stage, self.pod)
        self.other = nginx(self.stage, other)

    def look(self) -> Sight:
        lengths = {listener.unsent for listener in connections(self.pod.netns).where("LISTEN", local_port=80)}
        return Sight(lengths == {TINY}, f"queues of {lengths}")

    def expected(self) -> Expected:
        parts = (self.server.who(), self.other.who())
        return Expected(rule="settings", severities=("info",), shapes=("somaxconn",), innocent=parts, bystanders=parts)
