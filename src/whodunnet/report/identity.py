"""Names of processes, containers, pods and addresses, cleaned: all of them come from the node."""

from __future__ import annotations

from collections.abc import Iterator

from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import clean
from whodunnet.model.workload import Container, Pod, Process, Workload

SHORT_ID = 12


def process_name(process: Process) -> str:
    """ "foo-health (pid 4134187)"; without a pid where several of that name are meant."""
    name = clean(process.comm) or "process"
    return f"{name} (pid {process.pid})" if process.pid else name


def pod_name(pod: Pod) -> str:
    """ "payments/foo-7d9f", or the uid where the name is not known."""
    if pod.name:
        return clean(f"{pod.namespace}/{pod.name}" if pod.namespace else pod.name)
    return f"of unknown name, uid {clean(pod.uid)}" if pod.uid else "of unknown name"


def container_name(container: Container) -> str:
    """Its name with the short id, or the short id alone."""
    short = clean(container.id)[:SHORT_ID]
    return f"{clean(container.name)} ({short})" if container.name else short


def endpoint_name(endpoint: Endpoint) -> str:
    """ "203.0.113.9:8443", "[2001:db8::1]:443", an address alone, or "local port 443"."""
    if endpoint.address is None:
        return f"local port {endpoint.port}"
    address = clean(endpoint.address)
    if endpoint.port is None:
        return address
    return f"[{address}]:{endpoint.port}" if ":" in address else f"{address}:{endpoint.port}"


def workload_names(workload: Workload) -> Iterator[str]:
    """What is known of it, from the process outwards; the namespace only where nothing else is."""
    if workload.process:
        yield process_name(workload.process)
    if workload.pod:
        yield f"{'static pod' if workload.pod.static else 'pod'} {pod_name(workload.pod)}"
    if workload.container:
        yield f"container {container_name(workload.container)}"
    if workload.unit and not workload.container:
        yield f"unit {clean(workload.unit)}"
    if workload.netns is not None and not (workload.process or workload.pod or workload.container or workload.unit):
        yield f"network namespace {workload.netns}"


def workload_name(workload: Workload) -> str:
    """All its names in one line."""
    return ", ".join(workload_names(workload)) or "unknown owner"
