"""whodunnet list: rules and collectors, what each needs, and whether it can run here."""

from __future__ import annotations

import click

from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, read_support
from whodunnet.rules.catalogue import catalogue

NEEDS = {
    "tcp_memory": (
        ("CAP_SYS_PTRACE", "CAP_SYS_ADMIN"),
        "the node's TCP memory, its limits and the counters of every reachable network namespace",
    ),
    "kernel_log": (("CAP_SYSLOG",), "known lines of the kernel log, from /dev/kmsg, the journal or /var/log"),
    "sockets": (("CAP_BPF", "CAP_PERFMON"), "every socket of the kernel, in groups"),
    "workloads": (
        ("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"),
        "process, container, pod and unit behind sockets, namespaces and cgroups",
    ),
}
"""Collector -> capabilities for its full answer, and what it reads."""


@click.command()
def command() -> None:
    """List rules and collectors, what each needs, and whether it can run here."""
    support = read_support(Roots())
    click.echo("Rules")
    for rule, entry in catalogue().items():
        click.echo(f"  {rule:14}{entry.title}")
        optional = f", better with {', '.join(entry.optional)}" if entry.optional else ""
        click.echo(f"  {'':14}reads {', '.join(entry.required)}{optional}; claims: {entry.claim}")
        for name in entry.required:
            click.echo(f"  {'':14}{name}: {can_run(name, NEEDS[name][0], support)}")
    click.echo("\nCollectors")
    for name, (needed, what) in NEEDS.items():
        click.echo(f"  {name:14}{what}")
        click.echo(f"  {'':14}{can_run(name, needed, support)}")


def can_run(name: str, needed: tuple[str, ...], support: Support) -> str:
    """Whether a collector can give its full answer here, and if not, why and what it does instead."""
    replaced = {"CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG"} if "CAP_SYS_ADMIN" in support.capabilities else set()
    missing = [c for c in needed if c not in support.capabilities | replaced]
    if name == "sockets" and not missing and support.lockdown == "confidentiality":
        return "falls back to sock_diag: the kernel is locked down (confidentiality)"
    if name == "sockets" and not missing and not support.btf:
        return "falls back to sock_diag: this kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)"
    if not missing:
        return "can run here"
    instead = {
        "tcp_memory": "reads the counters of fewer namespaces",
        "sockets": "falls back to sock_diag and /proc, which see less",
        "kernel_log": "tries the journal and /var/log instead",
        "workloads": "names only what this user may see",
    }
    return f"needs {' and '.join(missing)} for its full answer; {instead[name]}"
