"""The sockets collector: every socket of the kernel in groups, by BPF where it may, else by sock_diag.

Needs CAP_BPF with CAP_PERFMON for all sockets of all namespaces; without them CAP_SYS_ADMIN (other namespaces) and
CAP_SYS_PTRACE (other users' processes); without any right it sees its own user's sockets in its own namespace.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from whodunnet.collectors.sockets_diag import collect_by_sock_diag
from whodunnet.collectors.sockets_diag_groups import Positions
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.bpf.socket_walk import Owner, Pass, SocketWalk
from whodunnet.kernel.procfs.sockstat import read_sockstat
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.sockets import Sockets

IN_PID_NAMESPACE = (
    "processes outside our pid namespace: their sockets appear without an owner (run with the host's pid namespace)"
)
ABOVE_OUR_PID_NAMESPACE = (
    "BPF meets the processes of our own pid namespace only, and the host's procfs shows those of the whole machine"
)
NO_OWNER_KNOWN = "listening sockets that no process holds in its descriptor table (kernel servers, io_uring)"


class SocketsCollector:
    """Keeps its BPF programs loaded between snapshots, and what it needs to tell which sockets have not moved."""

    name: ClassVar[str] = "sockets"

    def __init__(self, roots: Roots, support: Support, *, bpf: bool = True) -> None:
        """bpf: False never loads a BPF program."""
        self._roots = roots
        self._support = support
        self._walk: SocketWalk | None = None
        self._positions = Positions()
        self._refused = _refusal(support, bpf)
        self.owners: Mapping[int, Owner] = {}
        """Processes of the newest sample as the BPF walk met them, so that one that is gone since keeps its name."""

    def collect(self) -> Sockets:
        """One pass. Raises UnreadableError only if sock_diag is refused as well."""
        before = self._alloc_sockets()
        sample = self._pass()
        after = self._alloc_sockets()
        alloc = None if before is None or after is None else min(before, after)
        return msgspec.structs.replace(sample, alloc_sockets=alloc)

    def close(self) -> None:
        """Unloads the BPF programs."""
        if self._walk is not None:
            self._walk.close()

    def _alloc_sockets(self) -> int | None:
        try:
            return read_sockstat(self._roots, "thread-self").tcp_alloc
        except MalformedError:
            raise
        except UnreadableError:
            return None

    def _pass(self) -> Sockets:
        if self._walk is None and self._refused is None:
            try:
                self._walk = SocketWalk(self._support)
            except UnreadableError as error:
                self._refused = error
        if self._walk is not None:
            return self._from_walk(self._walk.read())
        sample = collect_by_sock_diag(self._roots, self._support.page_size_bytes, self._positions)
        refused = self._refused
        return msgspec.structs.replace(
            sample,
            fallback_reason=str(refused),
            missing_capability=refused.missing_capability if refused else None,
        )

    def _from_walk(self, found: Pass) -> Sockets:
        self.owners = found.owners
        not_seen = [NO_OWNER_KNOWN]
        if not self._support.initial_pid_namespace:
            not_seen.append(IN_PID_NAMESPACE)
        return Sockets(
            method="bpf",
            groups=tuple(found.groups),
            stuck=found.stuck,
            stuck_total=found.stuck_total,
            accept_queues=found.accept_queues,
            listeners_cut=found.listeners_cut,
            dropping=found.dropping,
            dropping_cut=found.dropping_cut,
            names=found.names,
            names_cut=found.names_cut,
            time_wait=found.time_wait,
            request_sockets=found.request_sockets,
            other_sockets=found.other_sockets,
            other_memory_bytes=found.other_memory_bytes,
            lost=found.lost,
            netns_total=found.netns_total,
            all_processes=self._support.initial_pid_namespace,
            page_size_bytes=self._support.page_size_bytes,
            not_seen=tuple(not_seen),
            longest_step_seconds=found.longest_step_seconds,
        )


def _refusal(support: Support, bpf: bool) -> UnreadableError | None:
    """Why BPF is not even tried: nobody wants it, or procfs has more owners (init_seq_pidns, task_iter.c)."""
    if not bpf:
        return UnreadableError("BPF was switched off with --no-bpf", code="not-collected")
    may_look = {"CAP_SYS_ADMIN", "CAP_SYS_PTRACE"} <= support.capabilities
    if support.whole_machine and not support.initial_pid_namespace and may_look:
        return UnreadableError(ABOVE_OUR_PID_NAMESPACE, code="unsupported")
    return None
