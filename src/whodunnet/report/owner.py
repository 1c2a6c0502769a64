"""Who a group of sockets belongs to, seen by container, pod, image, process, endpoint, namespace or state."""

from __future__ import annotations

from typing import Literal

import msgspec

from whodunnet.model.sockets import Endpoint, Holding, SocketGroup, Sockets
from whodunnet.model.text import clean
from whodunnet.model.workload import Workload, Workloads
from whodunnet.report.identity import container_name, endpoint_name, pod_name, process_name, workload_name

By = Literal["container", "pod", "image", "process", "endpoint", "netns", "state"]
BYS: tuple[By, ...] = ("container", "pod", "image", "process", "endpoint", "netns", "state")


class Owner(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row's identity; equal owners are one row. holding: only where no process holds the sockets."""

    workload: Workload | None = None
    image: str | None = None
    endpoint: Endpoint | None = None
    endpoint_role: str | None = None
    netns: int | None = None
    state: str | None = None
    holding: Holding | None = None
    unread_pid: int | None = None
    grouped: bool = True


NOT_GROUPED = Owner(grouped=False)


class Owners:
    """Finds the owner of each group of one pass."""

    def __init__(self, sockets: Sockets, workloads: Workloads, by: By) -> None:
        self._workloads = workloads
        self._by = by
        self._queue_owners = sockets.queue_owners()

    def of(self, group: SocketGroup) -> Owner:
        """The owner as the chosen view names it."""
        match self._by:
            case "endpoint":
                return Owner(endpoint=group.endpoint, endpoint_role=group.role)
            case "netns":
                return Owner(netns=group.netns, workload=self._workloads.by_netns.get(group.netns or 0))
            case "state":
                return Owner(state=group.state)
        if group.owner_pid is not None:
            return self._of_process(group.owner_pid)
        return self._of_nobody(group)

    def _of_process(self, pid: int, holding: Holding | None = None) -> Owner:
        workload = self._workloads.by_pid.get(pid)
        if workload is None:
            return Owner(unread_pid=pid, holding=holding)
        return self._of_workload(workload, holding)

    def _of_workload(self, workload: Workload, holding: Holding | None) -> Owner:
        """Only the part of the workload that the view asks for; outside of containers the unit, then the process."""
        container, pod = workload.container, workload.pod
        if self._by == "image" and container and container.image:
            return Owner(image=container.image, holding=holding)
        if self._by == "pod" and pod:
            return Owner(workload=Workload(pod=pod), holding=holding)
        if self._by != "process" and container:
            return Owner(workload=Workload(container=container, pod=pod), holding=holding)
        if self._by != "process" and workload.unit:
            return Owner(workload=Workload(unit=workload.unit), holding=holding)
        return Owner(workload=workload, holding=holding)

    def _of_nobody(self, group: SocketGroup) -> Owner:
        if group.holding == "kernel":
            return Owner(holding="kernel")
        pid = Sockets.owner_of(group, self._queue_owners)
        if pid is not None:
            return self._of_process(pid, "accept-queue")
        workload = self._workloads.by_cgroup_id.get(group.cgroup_id or 0)
        workload = workload or self._workloads.by_netns.get(group.netns or 0)
        return Owner(holding=group.holding, netns=group.netns, workload=workload)


def owner_label(owner: Owner) -> str:
    """Plain words, cleaned."""
    if not owner.grouped:
        return "not grouped (tables of the collector were full)"
    match owner.holding:
        case "kernel":
            return "kernel"
        case "accept-queue":
            return f"accept queue of {_holder_label(owner)}"
        case "orphan":
            return f"orphans (closed by their process) {_place_label(owner)}"
        case "no-descriptor":
            return f"in flight or io_uring (no descriptor) {_place_label(owner)}"
        case _:
            return _holder_label(owner)


def _holder_label(owner: Owner) -> str:
    if owner.unread_pid is not None:
        return f"pid {owner.unread_pid} (vanished or unreadable)"
    if owner.image:
        return clean(owner.image)
    if owner.state:
        return "no state (not TCP)" if owner.state == "none" else clean(owner.state)
    if owner.endpoint_role:
        return _endpoint_label(owner)
    if owner.workload and owner.netns is None:
        return workload_label(owner.workload)
    return _netns_label(owner) if owner.netns is not None else "unknown owner"


def _place_label(owner: Owner) -> str:
    return f"in {_netns_label(owner)}"


def _netns_label(owner: Owner) -> str:
    where = f"netns {owner.netns}" if owner.netns is not None else "an unknown netns"
    return f"{where} ({workload_label(owner.workload)})" if owner.workload else where


def _endpoint_label(owner: Owner) -> str:
    if owner.endpoint is None:
        return f"no endpoint ({owner.endpoint_role})"
    match owner.endpoint_role:
        case "initiated":
            return f"to {endpoint_name(owner.endpoint)}"
        case "listener":
            return f"listening on {endpoint_name(owner.endpoint)}"
        case _:
            return f"accepted on {endpoint_name(owner.endpoint)}"


def workload_label(workload: Workload) -> str:
    """ "payments/foo-7d9f: foo (933d66190a2b)"; a process stands before what it runs in."""
    container, pod, process = workload.container, workload.pod, workload.process
    names = [pod_name(pod)] if pod else []
    names += [container_name(container)] if container else []
    if workload.unit and not names:
        names.append(clean(workload.unit))
    place = ": ".join(names)
    if process:
        return f"{process_name(process)} in {place}" if place else process_name(process)
    return place or workload_name(workload)
