"""Answers that the scorer judges, and what the cases expect."""

from __future__ import annotations

from typing import Any

from lab.case import Expected, Named
from lab.who import Who

CLIENT = Who("foo-health", frozenset({100}))
OTHER = Who("bar-health", frozenset({110}))
SERVER = Who("nginx", frozenset({200, 201}))
LEAK = Expected(
    rule="socket-leak",
    shapes=("response-never-read",),
    culprits=(CLIENT,),
    innocent=(SERVER,),
    others=(Named(SERVER, ("holder", "victim")),),
    endpoint=("10.77.0.2", 80),
)
HEALTHY = Expected(rule=None, innocent=(SERVER, CLIENT))
Json = dict[str, Any]


def party(role: str, pid: int, comm: str, **more: object) -> Json:
    return {"role": role, "process": {"pid": pid, "comm": comm, "state": more.pop("state", "sleeping")}, **more}


def leak(*parties: Json, **changed: object) -> Json:
    peer = {"role": "peer", "endpoint": {"address": "10.77.0.2", "port": 80}}
    return {
        "id": "socket-leak:1",
        "rule": "socket-leak",
        "severity": "warning",
        "claim": "leaks",
        "shape": "response-never-read",
        "title": "One process never reads its responses",
        "parties": [*parties, peer],
        **changed,
    }


def diagnosis(*findings: Json, cleared: tuple[str, ...] | None = None) -> Json:
    found = {finding["rule"] for finding in findings}
    rules = {"socket-leak", "tcp-memory"} - found if cleared is None else cleared
    return {"findings": list(findings), "cleared": [{"rule": rule} for rule in sorted(rules)]}


CULPRIT = party("culprit", 100, "foo-health", share=0.9)
HOLDER = party("holder", 201, "nginx")
