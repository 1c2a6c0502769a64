"""The one true fault in the midst of it, and whom a diagnosis may name."""

from __future__ import annotations

from typing import Any

from lab.case import Expected
from lab.look import connections, wait_until
from lab.score import blamed, culprits, is_meant, naming
from lab.stage import Stage
from tests.chaos import actors

LEAKED = 61
"""More than the 50 that the rule asks for."""
OF_LOAD = {"cpu-pressure", "cpu-throttled", "rx-stall", "rx-imbalance", "softnet-drops", "zombie-cgroups"}
"""Rules whose finding may be true of the chaos itself, or of what else runs on this machine."""


class Leak:
    """Answers that are never read, between two programs in a network namespace of their own."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        (self.pod,) = stage.pods("leak")
        self.server = stage.play(self.pod, "calm-server", actors.serve)
        wait_until(lambda: "listening" in self.server.log.read_text(), 15, stage.logs)
        self.client = stage.play(self.pod, "leaky-client", actors.never_read, LEAKED)
        wait_until(self.is_there, 15, stage.logs)
        stage.check_names()

    def is_there(self) -> bool:
        """As ss sees it."""
        return len(connections(self.pod.netns).where(peer_port=actors.PORT).unread) == LEAKED

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
        )

    def is_named(self, diagnosis: dict[str, Any]) -> bool:
        """Whether it is; fails if anybody else is."""
        expected = self.expected()
        of_network = [finding for finding in diagnosis["findings"] if finding["rule"] not in OF_LOAD]
        wrong = list(blamed(expected, {"findings": of_network}))
        wrong += [
            f"{who} by {finding['id']}"
            for finding in diagnosis["findings"]
            for who in (*expected.culprits, *expected.innocent)
            if finding["rule"] in OF_LOAD and any(is_meant(who, party) for party in culprits(finding))
        ]
        assert not wrong, diagnosis["findings"]
        return bool(naming(expected.culprits[0], expected, diagnosis))
