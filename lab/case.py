"""What a case is: a story that can be made real, checked by independent means, and taken away again."""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from lab.look import Sight, wait_until
from lab.stage import Stage
from lab.who import Who

Kind = Literal["fault", "look-alike"]
Role = Literal["culprit", "holder", "victim", "peer", "reader"]
SOCKET_RULES = ("socket-leak", "tcp-memory")
TABLE_RULES = ("conntrack-table", "service-hang", "dns-race", *SOCKET_RULES)
STALL_RULES = ("rx-stall", "softnet-drops", "rx-imbalance", "zombie-cgroups", *SOCKET_RULES)
CONNECTION_RULES = ("keepalive-mismatch", "connect-refused", "connect-timeout", "connect-slow", "resets", *SOCKET_RULES)
QUEUE_RULES = ("accept-queue", "syn-queue", "udp-buffers", *CONNECTION_RULES)
NEIGHBOUR_RULES = ("neighbour-table", *SOCKET_RULES)
LOSS_RULES = ("rp-filter", "forwarding-off", "nic-drops", "time-wait-overflow", *SOCKET_RULES)
REPEAT_RULES = ("retransmits", "path-mtu", *CONNECTION_RULES)
NAME_RULES = ("dns", "udp-buffers", *CONNECTION_RULES)
LIMIT_RULES = ("descriptor-limit", *QUEUE_RULES)
CPU_RULES = ("cpu-pressure", "cpu-throttled", *SOCKET_RULES)
SETTING_RULES = ("settings", *QUEUE_RULES)


@dataclass(frozen=True)
class Named:
    """Somebody who has to be named in one of these roles."""

    who: Who
    roles: tuple[Role, ...]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a right diagnosis of a case says.

    rule: whose finding is wanted; None: no finding of severity warning or above.
    also: further rules which may have a finding here. A rule in `also` alone (rule None) may speak or be silent.
    cleared: rules that have to say it is not so: not even a finding of severity info.
    inapplicable: rules which may say that what they look for cannot exist here; the others have to have looked.
    severities: any of these is right for the finding of `rule`, or without one, of those in `also`; empty: warning and
        critical of a fault, info and warning of what may be said.
    shapes: any of these is right; empty: not judged.
    culprits: all of them, and nobody else; with `ordered`, the earlier in an earlier or the same finding.
    tolerated: may be called culprit, need not.
    elsewhere: rules that the case is not about and who may truly be called culprit by them.
    beside: of a look-alike: rules that the case is not about and that truly find something here.
    loosened: something else was the matter with this machine meanwhile, so that less is asked for.
    innocent: those whom a wrong diagnosis would most likely blame. Whoever is no culprit is innocent; these get a name.
    bystanders: who has no part in it: in no finding of severity warning or above, but as a victim.
    others: who has to be named beside the culprits.
    endpoint: address and port which the culprit's finding has to show.
    causes: rules under whose findings that of `rule` has to stand.
    mentions: words which the findings of `rule` have to contain, such as the setting to change.
    seconds: from the least to the most; the time in the evidence of `rule` after which a server closes is within.
    """

    rule: str | None
    also: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()
    inapplicable: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    culprits: tuple[Who, ...] = ()
    ordered: bool = False
    tolerated: tuple[Who, ...] = ()
    elsewhere: tuple[tuple[str, Who], ...] = ()
    beside: tuple[str, ...] = ()
    loosened: bool = False
    innocent: tuple[Who, ...] = ()
    bystanders: tuple[Who, ...] = ()
    others: tuple[Named, ...] = ()
    endpoint: tuple[str, int] | None = None
    causes: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    seconds: tuple[float, float] | None = None


class Case(ABC):
    """One module in lab/faults holds one case; the module's name is the case's, its docstring the story.

    rules: whose answers are judged, and who have to answer. Whom the others call culprit is judged as well.
    window_seconds: the shortest window in which the case can be judged.
    undecidable: a fault that one machine cannot decide. It may be told or not; nobody innocent may be blamed.
    rules_unread: written from published incidents and the programs' own documentation, without a look at the rules.
    quick: part of `make test`, as one of few. All the others run in `make lab` only.
    age_seconds: how long the case has to have been there (ready) before the window begins.
    """

    kind: ClassVar[Kind]
    rules: ClassVar[tuple[str, ...]] = SOCKET_RULES
    window_seconds: ClassVar[int] = 5
    age_seconds: ClassVar[int] = 10
    ready_within_seconds: ClassVar[int] = 45
    changes_global: ClassVar[bool] = False
    quick: ClassVar[bool] = False
    undecidable: ClassVar[bool] = False
    rules_unread: ClassVar[bool] = False

    def __init__(self) -> None:
        self.stage = Stage()
        self.window: tuple[float, float] | None = None
        """Of the diagnosis, by time.monotonic(), once there is one."""
        self.stolen_seconds = 0.0
        """By the machine under this one, from all CPUs while whodunnet looked."""

    @property
    def name(self) -> str:
        return type(self).__module__.rpartition(".")[2].replace("_", "-")

    @property
    def story(self) -> str:
        return inspect.getdoc(sys.modules[type(self).__module__]) or ""

    @property
    def enter(self) -> Path | None:
        """The network namespace to start whodunnet in, if not ours."""
        return None

    @abstractmethod
    def start(self) -> None:
        """Make it real. Whatever is started belongs to the stage, which takes it away again."""

    @abstractmethod
    def look(self) -> Sight:
        """One look by means that are not whodunnet's: is it there, and what can be seen of it?"""

    @abstractmethod
    def expected(self) -> Expected:
        """Who has to be named, once the case is ready."""

    def ready(self) -> str:
        """Wait until it is there, and say what was seen."""
        sight = self.look()

        def there() -> bool:
            nonlocal sight
            self.stage.check_alive()
            sight = self.look()
            return sight.there

        wait_until(there, self.ready_within_seconds, lambda: f"{self.name}: {sight.seen}\n{self.stage.logs()}")
        self.stage.check_names()
        return sight.seen

    def stop(self) -> None:
        self.stage.close()
