"""Readings about the queues of listeners, for the rules accept-queue and syn-queue."""

from __future__ import annotations

import hashlib

from whodunnet.model.counter_window import CounterWindow
from whodunnet.model.counters import Counters
from whodunnet.model.finding import Evidence, NotChecked, Party, PartyRole
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Workload, Workloads
from whodunnet.rules.identity import endpoint_text, short_name
from whodunnet.rules.listeners import Listener
from whodunnet.rules.openers import endpoint_party

NETSTAT = "/proc/net/netstat"


def counted(
    window: CounterWindow, name: str, netns: int | None, statement: str, *, unit: str = "packets",
    limit: float | None = None,
) -> Evidence:  # fmt: skip
    """The rise of a counter, "TcpExt.ListenOverflows", in one namespace, else in all."""
    rises = window.rise(name)
    value = sum(rises.values()) if netns is None else rises.get(netns)
    section, _, short = name.partition(".")
    return Evidence(
        statement=statement,
        value=value,
        unit=unit,
        limit=limit,
        comparison=None if limit is None else ">=",
        source=f"{source_of(section)} {short}",
        at=window.end.wall,
        boot_seconds=window.end.boot_seconds,
        repeat=f"nstat -asz {section}{short}  # in its network namespace, twice",
    )


def nowhere(rule: str, newest: Counters, window: CounterWindow | None) -> NotChecked | None:
    """The answer where counters of no namespace could be compared, or some are out of reach; else None."""
    if not (newest.by_netns if window is None else window.rises):
        n = newest.netns_unread + len(newest.by_netns)
        reason = f"the counters of none of {n:,} network namespaces could be compared: they were not read, or are new"
        return NotChecked(rule=rule, code="not-collected", reason=reason)
    return out_of_reach(rule, newest.netns_unread if window is None else window.hidden)


def out_of_reach(rule: str, unread: int) -> NotChecked | None:
    """The answer where nothing was found, and so many network namespaces could not be looked into; None if all were."""
    if not unread:
        return None
    reason = f"{unread:,} network namespaces could not be read (nothing was found in the others)"
    return NotChecked(rule=rule, code="unreadable", reason=reason)


def source_of(section: str) -> str:
    """The file that a section is in."""
    if section.endswith("6"):
        return "/proc/net/snmp6"
    return NETSTAT if section.endswith("Ext") else "/proc/net/snmp"


def seen(
    at: Moment, statement: str, value: int, unit: str, port: int | None, *, limit: int | None = None,
    comparison: str | None = None,
) -> Evidence:  # fmt: skip
    """A reading of sockets."""
    return Evidence(
        statement=statement,
        value=value,
        unit=unit,
        limit=limit,
        comparison=comparison,
        source="sockets collector",
        at=at.wall,
        boot_seconds=at.boot_seconds,
        repeat=f"ss -ltn{f' sport = {port}' if port is not None else ''}  # in its network namespace: Recv-Q of Send-Q",
    )


def who_listens(listener: Listener) -> str:
    """As short_name; an unknown one by its namespace."""
    if listener.owner is None and listener.pid is None:
        return f"A listener in network namespace {listener.netns}"
    return short_name(listener.owner, listener.pid)


def at_text(local: Endpoint) -> str:
    """Where it listens; "port 80" if it does so at every address."""
    everywhere = local.address is not None and not local.address.strip("0.:")
    return endpoint_text(Endpoint(None, local.port) if everywhere else local)


def listener_party(role: PartyRole, listener: Listener, effect: str) -> Party:
    """The listener; its namespace is said also where nobody knows whose it is."""
    if listener.owner is None:
        return Party(role=role, netns=listener.netns, endpoint=listener.local, effect=effect)
    return endpoint_party(role, listener.local, listener.owner, effect)


def tenant(recording: Recording, netns: int) -> Workload | None:
    """The only pod or container of a namespace, None where several or none are known."""
    known = recording.last(Workloads) or Workloads()
    return known.by_netns.get(netns) or known.sole_by_netns.get(netns)


def digest(*parts: object) -> str:
    """For ids: short, and the same in every diagnosis of the same thing."""
    return hashlib.blake2s(" ".join(map(str, parts)).encode(), digest_size=8).hexdigest()
