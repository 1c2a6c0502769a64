"""Which client each group belongs to: also what was merged by the name of its program, for lack of room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from whodunnet.model.connection_names import NO_PID, End, Names
from whodunnet.model.connections import ConnectionGroup

Process = tuple[int | None, str, float]
"""Which process a group was met with: pid, name, and when it started on the boot clock. No pid: any of that name."""


def process_of(g: ConnectionGroup) -> Process:
    return g.owner_pid, g.comm, g.process_started_seconds


class Clients:
    """Whose connections are whose."""

    def __init__(self, met: Iterable[ConnectionGroup], names: Names) -> None:
        """met: all groups that tell which processes have a name."""
        self._names = names
        self._known: dict[tuple[int, str], dict[str, End]] = {}
        for g in met:
            if g.role == "initiated" and g.owner_pid is not None:
                end = names.client_of(g)
                self._known.setdefault((g.netns, g.comm), {}).setdefault(end.key, end)

    def of(self, groups: Sequence[ConnectionGroup]) -> list[End]:
        """The client of each group.

        Where several of one name are, of which some connections with a server were merged, all of that name are one
        client of that server: else its share of failures would be wrong.
        """
        mixed = {
            (g.netns, g.comm, g.server)
            for g in groups
            if _is_by_name(g) and len(self._known.get((g.netns, g.comm), ())) > 1
        }
        return [
            self._by_name(g)
            if _is_by_name(g) or (g.role == "initiated" and (g.netns, g.comm, g.server) in mixed)
            else self._names.client_of(g)
            for g in groups
        ]

    def _by_name(self, g: ConnectionGroup) -> End:
        """Whoever has that name there, of several only the name, else nobody; of a container without its process."""
        known = list(self._known.get((g.netns, g.comm), {}).values())
        end = known[0] if len(known) == 1 else End(key=f"program {g.comm} in {g.netns}", local=True)
        if len(known) > 1:
            end = self._names.client_of(replace(g, owner_pid=NO_PID, process_started_seconds=0.0))
        if end.workload is not None and end.workload.container is not None:
            end = replace(end, workload=replace(end.workload, process=None))
        return replace(end, address=g.client, netns=g.netns)


def _is_by_name(g: ConnectionGroup) -> bool:
    return g.role == "initiated" and g.owner_pid is None and bool(g.comm)


def one_of(ends: Iterable[End]) -> End:
    """One end for several of one key: of the processes of a container none stands for the others.

    Outside of containers they are of one program, and the first stands for all. Raises IndexError of none.
    address: None where they have several.
    """
    found = list(dict.fromkeys(ends))
    first, workload = found[0], found[0].workload
    if workload is not None and workload.container is not None and len({end.workload for end in found}) > 1:
        workload = replace(workload, process=None)
    addresses = {end.address for end in found if end.address is not None}
    return replace(first, workload=workload, address=addresses.pop() if len(addresses) == 1 else None)
