"""What to do about lost races for an entry."""

from __future__ import annotations

from whodunnet.model.finding import Remedy
from whodunnet.rules import remedies


def race_remedies(shape: str, solves: bool, fix: str) -> list[Remedy]:
    """What ends the race, each with what it costs. solves: the kernel does it already."""
    if shape == "not-dns":
        return [Remedy(action="tune", do=fix, command=None, effect="fewer collisions", risk="none known")]
    steps = [
        Remedy(
            action="tune",
            do="In the resolv.conf of who asks (in a pod by dnsConfig): options single-request-reopen",
            command=None,
            effect="the two questions of one name come from two ports, so they do not race",
            risk="one socket more for each name; glibc only, musl does not know it",
        ),
        Remedy(
            action="tune",
            do="Or there: options use-vc, names over TCP",
            command=None,
            effect="no datagrams, no race",
            risk="a connection for each name: slower, and more entries in the table; glibc only",
        ),
        Remedy(
            action="spread",
            do="Run a DNS cache on every node, asked at a local address that is not tracked (NodeLocal DNSCache)",
            command=None,
            effect="names do not pass through translation at all; also fewer entries",
            risk="one program more on each node; while it is down, names fail there",
        ),
        Remedy(
            action="tune",
            do="Or do not track DNS at all, where it goes to a real address (raw table, NOTRACK)",
            command=None,
            effect="no entry, no race",
            risk="what is not tracked is not translated: a Service's address stops to work",
        ),
    ]
    if not solves:
        steps.append(
            Remedy(
                action="tune",
                do="Take a kernel from 5.10 on",
                command=None,
                effect="it solves the race of two datagrams without loss",
                risk="a new kernel and a reboot",
            )
        )
    return [*steps, remedies.fix(fix)]
