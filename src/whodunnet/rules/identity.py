"""Who is who: one key for all processes of a container or unit, a short name, and the party of a finding."""

from __future__ import annotations

from msgspec import UNSET

from whodunnet.model.finding import Party, PartyRole
from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import clean
from whodunnet.model.workload import Workload

HALTED = frozenset({"stopped", "frozen"})
TCP_MEMORY = "all TCP memory"
TRACKED = "all tracked connections"
"""What shares are taken of."""


def short_name(workload: Workload | None, pid: int | None = None) -> str:
    """What a person calls it: namespace/pod, container, unit or process name."""
    if workload is None:
        return f"pid {pid}" if pid is not None else "An unknown owner"
    comm = workload.process.comm if workload.process else None
    place: str | None
    if workload.pod is not None and workload.pod.name is not None:
        place = f"{workload.pod.namespace}/{workload.pod.name}" if workload.pod.namespace else workload.pod.name
    elif workload.container is not None:
        place = workload.container.name or f"container {workload.container.id[:12]}"
    else:
        place = workload.unit if workload.unit is not None and workload.unit.endswith(".service") else None
    named = f"{place} ({comm})" if place and comm else place or comm or f"pid {pid}"
    return clean(named, 120)


def party(
    role: PartyRole,
    workload: Workload | None,
    *,
    share: float | None = None,
    share_of: str = TCP_MEMORY,
    sockets: int | None = None,
    entries: int | None = None,
    memory_bytes: int | None = None,
    effect: str | None = None,
) -> Party:
    """A workload in its role. What is unknown of it is null; fields that were not asked for are left out."""
    known = workload or Workload()
    return Party(
        role=role,
        share=UNSET if share is None else round(share, 4),
        share_of=UNSET if share is None else share_of,
        process=known.process,
        container=known.container,
        pod=known.pod,
        unit=known.unit,
        netns=known.netns,
        sockets=UNSET if sockets is None else sockets,
        entries=UNSET if entries is None else entries,
        memory_bytes=UNSET if memory_bytes is None else memory_bytes,
        effect=UNSET if effect is None else effect,
    )


def endpoint_text(endpoint: Endpoint) -> str:
    """Address and port as people write them; a local port alone is "port N"."""
    if endpoint.address is None:
        return f"port {endpoint.port}"
    cleaned = clean(endpoint.address, 64)
    address = f"[{cleaned}]" if ":" in cleaned else cleaned
    return address if endpoint.port is None else f"{address}:{endpoint.port}"
