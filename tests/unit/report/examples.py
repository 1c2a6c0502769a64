"""Diagnoses as the rules would make them.

Published: tcp_mem and sockstat of incident 1; tcp_mem and the 4,797 sockets of incident 4. All else is invented,
also the 91 % that one process holds (from the contract's example).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from whodunnet.model.diagnosis import Cost, Diagnosis, Tool, Window
from whodunnet.model.finding import Cleared, Evidence, Finding, NotApplicable, NotChecked, Party, Remedy
from whodunnet.model.sample import CollectorCost
from whodunnet.model.snapshot import Node
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Container, Pod, Process

NOW = datetime(2022, 3, 9, 3, 12, 54, tzinfo=UTC)
SOCKSTAT = "grep ^TCP: /proc/net/sockstat; cat /proc/sys/net/ipv4/tcp_mem"
CAPTURE = Remedy(
    action="capture",
    do="Keep the evidence",
    command="whodunnet record /var/tmp/case --for 60s",
    effect="a file to judge later",
    risk="none",
)


def evidence(statement: str, value: float | str | None, unit: str, **rest: Any) -> Evidence:
    rest.setdefault("source", "/proc/net/sockstat TCP mem")
    rest.setdefault("repeat", SOCKSTAT)
    return Evidence(statement=statement, value=value, unit=unit, at=NOW, **rest)


def diagnosis(**rest: Any) -> Diagnosis:
    fields: dict[str, Any] = {
        "tool": Tool(version="0.1.0"),
        "node": Node(hostname="n1", kernel="6.1.0-56-cloud-amd64", boot_id="5e5c6e2c-0000", virtual_machine=True),
        "window": Window(start=NOW - timedelta(seconds=5), end=NOW, seconds=5.0, snapshots=4),
        "outcome": "finding",
        "findings": (),
        "cleared": CLEARED,
        "not_checked": (),
        "not_applicable": (NotApplicable(rule="dns-race", reason="connection tracking is not loaded"),),
        "cost": Cost(
            wall_seconds=5.3,
            cpu_seconds=0.21,
            peak_rss_bytes=61_000_000,
            collectors={
                "tcp_memory": CollectorCost(wall_seconds=0.002, cpu_seconds=0.002),
                "sockets": CollectorCost(wall_seconds=0.11, cpu_seconds=0.1, attributed_share=0.97),
            },
        ),
    }
    return Diagnosis(**(fields | rest))


CLEARED = (
    Cleared(
        rule="conntrack-table",
        sensitivity="fill level now; drops in 5 s",
        evidence=(
            evidence(
                "Entries in the connection tracking table",
                2112,
                "entries",
                limit=262144,
                comparison="<",
                source="/proc/sys/net/netfilter/nf_conntrack_count",
                repeat="cat /proc/sys/net/netfilter/nf_conntrack_count /proc/sys/net/netfilter/nf_conntrack_max",
            ),
        ),
    ),
    Cleared(
        rule="accept-queue",
        sensitivity="queues that are full at one of 4 snapshots, overflows in 5 s",
        evidence=(
            evidence(
                "The fullest accept queue is that of nginx on port 443",
                12,
                "connections",
                limit=511,
                comparison="<",
                source="inet_diag of every network namespace",
                repeat="ss -ltn 'sport = :443'",
            ),
        ),
    ),
)


def foo_health() -> Party:
    return Party(
        role="culprit",
        share=0.91,
        process=Process(
            pid=4134187,
            comm="foo-health",
            exe="/app/foo-health",
            started=NOW - timedelta(hours=5),
            descriptor_limit=65536,
        ),
        container=Container(
            id="933d66190a2b5c0f4ae8a64c0f39b35ed3b7a8d0d95a0b8a4b3d6f3a5e9b0c11",
            name="foo",
            runtime="containerd",
            cgroup="/kubepods/burstable/pod0c1f/933d66190a2b",
            image="registry.example/foo:2.41",
            started=NOW - timedelta(hours=5),
        ),
        pod=Pod(namespace="payments", name="foo-7d9f", uid="0c1f2f6e-6c7b-4c43-9f0e-2f5f6f0f9a10"),
        unit=None,
        netns=4026532246,
        sockets=4797,
        memory_bytes=8_446_074 * 4096,
    )


STALLED = Party(role="victim", node="n1", effect="transfers larger than one packet stall in every network namespace")
WHY_IT_LEAKS = (
    "The connections are established, the far end has answered, and the answer lies unread in the kernel.",
    "The habit behind it: a program makes an HTTP request, looks at the status, and never reads or closes the "
    "body, so that the connection can be neither reused nor closed.",
    "Small packets pass because the kernel always takes one packet into an empty receive queue, whatever the "
    "limit; the second one of the same transfer is dropped and sent again later, so large transfers stall.",
)


def unread_and_growing() -> tuple[Evidence, ...]:
    return (
        evidence(
            "Received and not read by foo-health, unchanged in all 4 snapshots",
            34_580_103_168,
            "bytes",
            source="TCP sockets of pid 4134187",
            repeat="nsenter -t 4134187 -n ss -tmnp state established | grep pid=4134187",
        ),
        evidence(
            "Sockets of foo-health; the next process has 1,167",
            4797,
            "sockets",
            source="/proc/4134187/fd",
            repeat="ls -l /proc/4134187/fd | grep -c socket:",
        ),
        evidence(
            "Growth of its TCP memory in this window",
            711.2,
            "pages per second",
            source="TCP sockets of pid 4134187",
            repeat="nsenter -t 4134187 -n ss -tmnp state established | grep pid=4134187",
        ),
    )


def remedies_of_the_leak() -> tuple[Remedy, ...]:
    return (
        CAPTURE,
        Remedy(
            action="restart-workload",
            do="Restart the pod",
            command="kubectl -n payments delete pod foo-7d9f",
            effect="frees 32.2 GiB of TCP memory",
            risk="the leak starts again; in about 3 h 30 min the limit is reached",
        ),
        Remedy(
            action="fix-application",
            do="Close the response body in the health check",
            command=None,
            effect="ends the leak",
            risk="none",
        ),
    )


def leak() -> Finding:
    return Finding(
        id="socket-leak:9c1f",
        rule="socket-leak",
        reason="ResponseNeverRead",
        severity="critical",
        claim="leaks",
        confidence="proven",
        shape="response-never-read",
        summary="payments/foo (foo-health) leaks sockets to 203.0.113.9:8443",
        title="One process holds 91 % of all TCP memory in connections whose responses it never reads",
        since=NOW - timedelta(hours=3, minutes=18),
        last_seen=NOW,
        parties=(foo_health(), Party(role="peer", endpoint=Endpoint("203.0.113.9", 8443)), STALLED),
        evidence=unread_and_growing(),
        would_explain=("tcp-memory:node", "retransmits:node", "tls-timeouts:node"),
        remedies=remedies_of_the_leak(),
        explanation=WHY_IT_LEAKS,
    )


def full_memory() -> Finding:
    return Finding(
        id="tcp-memory:node",
        rule="tcp-memory",
        reason="TcpMemoryExhausted",
        severity="critical",
        claim="drops",
        confidence="proven",
        summary="TCP memory of the node is full (101 %)",
        title="The TCP memory of the node is full",
        since=None,
        last_seen=NOW,
        parties=(STALLED,),
        evidence=(
            evidence(
                "TCP memory in use is above its maximum",
                9_281_400,
                "pages",
                limit=9_177_012,
                comparison=">",
                boot_seconds=345678.9,
            ),
        ),
        caused_by=("socket-leak:9c1f",),
        remedies=(
            CAPTURE,
            Remedy(
                action="tune",
                do="Raise the limits of TCP memory",
                command="sysctl -w net.ipv4.tcp_mem='9177012 12236018 18354024'",
                effect="buys about 3 h 30 min at the present growth of 2.8 MiB per second",
                risk="35 GiB more may be taken from applications",
            ),
        ),
    )


def incident_4() -> Diagnosis:
    return diagnosis(findings=(leak(), full_memory()), not_checked=NOT_CHECKED[:1])


NOT_CHECKED = (
    NotChecked(
        rule="rx-stall",
        code="missing-capability",
        missing_capability="CAP_BPF",
        reason="the softirq tracepoints need CAP_BPF and CAP_PERFMON",
    ),
    NotChecked(
        rule="keepalive-race",
        code="missing-capability",
        missing_capability="CAP_BPF",
        reason="the tracepoint inet_sock_set_state needs CAP_BPF",
    ),
    NotChecked(rule="kernel-log", code="missing-file", reason="/dev/kmsg does not exist here"),
)


def incident_1() -> Diagnosis:
    full = Finding(
        id="tcp-memory:node",
        rule="tcp-memory",
        reason="TcpMemoryExhausted",
        severity="critical",
        claim="drops",
        confidence="likely",
        summary="TCP memory of the node is full (101 %)",
        title="The TCP memory of the node is full, and most of it is in one task queue; nobody is proven to leak it",
        since=None,
        last_seen=NOW,
        parties=(
            Party(
                role="holder",
                share=0.83,
                process=Process(pid=2231, comm="celery", exe="/usr/bin/python3.6", state="stopped"),
                pod=Pod(namespace="batch", name="queue-5c7d8", uid=None),
                sockets=791,
                memory_bytes=72_904 * 4096,
            ),
            Party(role="victim", node="n1", effect="responses larger than one packet are slow or cut"),
        ),
        evidence=(
            evidence("TCP memory in use is above its maximum", 87_916, "pages", limit=86_514, comparison=">"),
            evidence(
                "Sockets of the whole kernel, against 24 in the network namespace of the host",
                863,
                "sockets",
                source="/proc/net/sockstat TCP alloc",
            ),
        ),
        remedies=(
            Remedy(
                action="cordon",
                do="Keep new pods away from this node",
                command="kubectl cordon n1",
                effect="the scheduler chooses other nodes",
                risk="none",
            ),
            Remedy(
                action="tune",
                do="Raise the limits of TCP memory",
                command="sysctl -w net.ipv4.tcp_mem='86514 115352 173028'",
                effect="transfers go on until 173,028 pages are full",
                risk="none",
            ),
        ),
        explanation=("One snapshot cannot tell a leak from a burst.",),
    )
    return diagnosis(findings=(full,), window=Window(start=NOW, end=NOW, seconds=0.0, snapshots=1))


def two_faults() -> Diagnosis:
    first = incident_4()
    second = Finding(
        id="conntrack-table:node",
        rule="conntrack-table",
        reason="ConntrackTableNearlyFull",
        severity="warning",
        claim="floods",
        confidence="likely",
        summary="10.2.0.7 fills the connection tracking table",
        title="The connection tracking table is nearly full of connections from one remote pod",
        since=NOW - timedelta(minutes=2),
        last_seen=NOW,
        parties=(
            Party(role="culprit", share=0.5, endpoint=Endpoint("2001:db8::7", 4140)),
            *(
                Party(
                    role="victim", pod=Pod(namespace="shop", name=f"web-{n}", uid=None), effect="new connections fail"
                )
                for n in range(5)
            ),
        ),
        evidence=(evidence("Entries in the table", 250_112, "entries", limit=235_929, comparison=">="),),
        remedies=(CAPTURE,),
    )
    lost = first.cost.collectors | {"sockets": CollectorCost(wall_seconds=1.2, lost=17, truncated=True)}
    cost = Cost(wall_seconds=6.4, cpu_seconds=1.21, peak_rss_bytes=61_000_000, collectors=lost)
    return diagnosis(findings=(*first.findings, second), cost=cost)


def healthy() -> Diagnosis:
    return diagnosis(outcome="healthy")


def incomplete() -> Diagnosis:
    return diagnosis(outcome="incomplete", not_checked=NOT_CHECKED)


def hostile(name: str = "\x1b[2J[red]pwn\u202eed[/red]\r\nOK  healthy :boom: \x9b31m") -> Diagnosis:
    """Every string that a node can choose is `name`."""
    finding = Finding(
        id=f"socket-leak:{name}",
        rule="socket-leak",
        reason="ResponseNeverRead",
        severity="critical",
        claim="leaks",
        confidence="likely",
        summary=f"{name} leaks",
        title=f"{name} leaks sockets",
        last_seen=NOW,
        parties=(
            Party(
                role="culprit",
                process=Process(pid=666, comm=name, exe=name, started=NOW, state=name),
                container=Container(id=name, name=name, runtime=name, cgroup=name, image=name),
                pod=Pod(namespace=name, name=name, uid=name),
                unit=name,
                effect=name,
            ),
            Party(role="peer", endpoint=Endpoint(name, 1)),
            Party(role="victim", node=name),
        ),
        evidence=(
            evidence(name, name, name, comparison=name, limit=1, source=name, repeat=f"cat {name}"),
            evidence(name, 3, name, limit=1, comparison=name),
        ),
        remedies=(Remedy(action="tune", do=name, command=f"kill {name}", effect=name, risk=name),),
        would_explain=(name,),
        explanation=(name, name),
    )
    return diagnosis(
        findings=(finding,),
        node=Node(hostname=name, kernel=name, boot_id=name),
        cleared=(Cleared(rule=name, sensitivity=name, evidence=finding.evidence),),
        not_checked=(NotChecked(rule=name, code=name, missing_capability=name, reason=name),),
        not_applicable=(NotApplicable(rule=name, reason=name),),
        cost=Cost(wall_seconds=1, cpu_seconds=1, peak_rss_bytes=1, collectors={name: CollectorCost(lost=1)}),
    )
