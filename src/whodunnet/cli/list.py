"""whodunnet list: rules and collectors, what each needs, and whether it can run here."""

from __future__ import annotations

import click

from whodunnet.cli.advice import show_advice
from whodunnet.kernel.host import Place, find_place
from whodunnet.kernel.support import Support, read_support
from whodunnet.model.text import clean
from whodunnet.rules.catalogue import catalogue

NEEDS = {
    "tcp_memory": (
        ("CAP_SYS_PTRACE", "CAP_SYS_ADMIN"),
        "the node's TCP memory, its limits and the counters of every reachable network namespace",
    ),
    "counters": (
        ("CAP_SYS_PTRACE", "CAP_SYS_ADMIN"),
        "what every reachable network namespace counts about packets, queues and buffers",
    ),
    "settings": (
        ("CAP_SYS_ADMIN", "CAP_SYS_PTRACE"),
        "what every reachable network namespace is set to",
    ),
    "ports": (
        ("CAP_SYS_ADMIN", "CAP_SYS_PTRACE"),
        "local ports in use, where a network namespace may run out of them",
    ),
    "kernel_log": (("CAP_SYSLOG",), "known lines of the kernel log, from /dev/kmsg, the journal or /var/log"),
    "conntrack": (
        ("CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"),
        "the table of tracked connections: how full, and who has what in it",
    ),
    "addresses": (("CAP_SYS_ADMIN", "CAP_SYS_PTRACE"), "which address is in which network namespace"),
    "devices": ((), "a provider's own limits, where the network driver counts them"),
    "links": (("CAP_SYS_ADMIN", "CAP_SYS_PTRACE"), "what every network device drops, and the queue before it"),
    "softnet": ((), "received packets by CPU, what is dropped there, and which CPUs devices send them to"),
    "cpu_pressure": ((), "whether tasks wait for a CPU, and then who uses them"),
    "clock": ((), "whether the clock is kept right, and whether it steps"),
    "resolvers": (
        ("CAP_SYS_PTRACE",),
        "name servers and search lists of every network namespace; with --active, whether they answer",
    ),
    "descriptors": (
        ("CAP_SYS_PTRACE", "CAP_BPF", "CAP_PERFMON"),
        "processes near their limit of open descriptors, and of what kind these are",
    ),
    "neighbours": (("CAP_SYS_ADMIN", "CAP_SYS_PTRACE"), "the tables of neighbours: how full, and whose entries"),
    "memory_cgroups": ((), "memory cgroups in use, and deleted ones that the kernel still keeps"),
    "connections": (
        ("CAP_BPF", "CAP_PERFMON"),
        "how connections begin and end, and who is at which end",
    ),
    "retransmissions": (("CAP_BPF", "CAP_PERFMON"), "segments of TCP that are sent again, by where they go"),
    "stalls": (
        ("CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG"),
        "received packets that waited for a CPU, and who held it meanwhile",
    ),
    "sockets": (("CAP_BPF", "CAP_PERFMON"), "every socket of the kernel, in groups"),
    "workloads": (
        ("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"),
        "process, container, pod and unit behind sockets, namespaces and cgroups",
    ),
    "cpu_quota": ((), "quotas of CPU time above the owners of sockets, and how often they were used up"),
}
"""Collector -> capabilities for its full answer, and what it reads."""
FALLBACKS = {
    "connections": "falls back to counters",
    "retransmissions": "cannot run",
    "stalls": "cannot run",
    "sockets": "falls back to sock_diag",
}
"""Collector that needs BPF -> what it does without."""
CONTAINERS = {
    "pod": "in a pod",
    "docker": "in a container of docker",
    "podman": "in a container of podman",
    "other": "in a container, or in namespaces of its own",
}


@click.command()
def command() -> None:
    """List rules and collectors, what each needs, and whether it can run here."""
    place = find_place()
    support = read_support(place.roots)
    width = max(map(len, (*catalogue(), *NEEDS))) + 2
    click.echo("Rules")
    for rule, entry in catalogue().items():
        click.echo(f"  {rule:{width}}{entry.title}")
        optional = f", better with {', '.join(entry.optional)}" if entry.optional else ""
        click.echo(f"  {'':{width}}reads {', '.join(entry.required)}{optional}; claims: {entry.claim}")
        for name in entry.required:
            click.echo(f"  {'':{width}}{name}: {can_run(name, NEEDS[name][0], support)}")
    click.echo("\nCollectors")
    for name, (needed, what) in NEEDS.items():
        click.echo(f"  {name:{width}}{what}")
        click.echo(f"  {'':{width}}{can_run(name, needed, support)}")
    click.echo("\nWhere it looks")
    for line in (*where(place), *show_advice(place, support)):
        click.echo(f"  {line}")


def where(place: Place) -> list[str]:
    """Where we run, and what of the machine is in sight."""
    here = "on the machine itself" if place.container is None else CONTAINERS[place.container]
    files = (
        "out of sight: this container's own" if place.host is None else f"the machine's, at {clean(str(place.host))}"
    )
    return [
        f"{'from':14}{here}",
        f"{'processes':14}{_processes(place)}, by {clean(str(place.roots.proc))}",
        f"{'files':14}{files}",
    ]


def _processes(place: Place) -> str:
    if place.whole_machine:
        return "the whole machine" if place.host_pids else "the whole machine, from a pid namespace of our own"
    return (
        "a part of the machine: hidepid keeps the others from us" if place.host_pids else "our own pid namespace only"
    )


def can_run(name: str, needed: tuple[str, ...], support: Support) -> str:
    """Whether a collector can give its full answer here, and if not, why and what it does instead."""
    replaced = {"CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG"} if "CAP_SYS_ADMIN" in support.capabilities else set()
    missing = [c for c in needed if c not in support.capabilities | replaced]
    fallback = FALLBACKS.get(name)
    if fallback and not missing and support.lockdown == "confidentiality":
        return f"{fallback}: the kernel is locked down (confidentiality)"
    if fallback and not missing and not support.btf:
        return f"{fallback}: this kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)"
    if not missing:
        return "can run here"
    instead = {
        "tcp_memory": "reads the counters of fewer namespaces",
        "counters": "reads the counters of fewer namespaces",
        "settings": "reads the namespaces it may enter",
        "ports": "reads the namespaces it may enter",
        "connections": "falls back to the kernel's counters, which tell neither who nor whom",
        "retransmissions": "without them it sees nothing",
        "stalls": "without CAP_SYSLOG functions of the kernel have no names, without the others it sees nothing",
        "sockets": "falls back to sock_diag and /proc, which see less",
        "kernel_log": "tries the journal and /var/log instead",
        "conntrack": "counts what it may, and reads entries with CAP_NET_ADMIN only",
        "links": "reads the namespaces it may enter",
        "descriptors": "may not tell sockets from files, count those of other users (before Linux 6.2), or see who is "
        "refused one",
        "neighbours": "reads the namespaces it may enter",
        "resolvers": "reads what processes of this user see",
        "addresses": "reads the namespaces it may enter",
        "workloads": "names only what this user may see",
    }
    return f"needs {' and '.join(missing)} for its full answer; {instead[name]}"
