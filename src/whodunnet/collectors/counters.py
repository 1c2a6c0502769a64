"""What each network namespace counts about packets, queues and buffers, for the rules about the usual suspects."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from whodunnet.collectors.namespace_counters import NAMESPACES_LIMIT, Reading, read_counters
from whodunnet.kernel.procfs.net_counters import Chosen, read_net_counters
from whodunnet.kernel.roots import Roots
from whodunnet.model.counters import ICMP_TYPES, NAMES, Counters

ALSO = {"IcmpMsg": ICMP_TYPES}
KEPT = frozenset(f"{section}.{name}" for section, names in (NAMES | ALSO).items() for name in names)

_ICMP = tuple(f"IcmpMsg.{name}" for name in ICMP_TYPES)


class CountersCollector:
    """Reads snmp, snmp6 and netstat of every reachable network namespace in one pass.

    others: counters of TcpExt that another collector wants too; it finds them in `shared` until the next reading.
    """

    name: ClassVar[str] = "counters"

    def __init__(self, roots: Roots, others: tuple[str, ...] = ()) -> None:
        tcp_ext = tuple(dict.fromkeys((*NAMES["TcpExt"], *others)))
        self._roots = roots
        self._chosen = Chosen(NAMES | ALSO | {"TcpExt": tcp_ext})
        self._others = {f"TcpExt.{name}": name for name in others}
        self._shared: Reading | None = None

    def collect(self) -> Counters:
        """One reading. Raises UnreadableError if the list of processes cannot be read."""
        self._shared = None
        found, unread = read_counters(
            self._roots, partial(read_net_counters, self._roots, self._chosen), NAMESPACES_LIMIT
        )
        known = self._chosen.known
        asked = [(name, full) for full, name in self._others.items() if full in known]
        self._shared = (
            {ns: {name: values.get(full, 0) for name, full in asked} for ns, values in found.items()},
            unread,
        )
        return Counters(
            known=tuple(sorted(KEPT & {*_ICMP, *known})),
            by_netns={ns: {n: v for n, v in values.items() if n in KEPT} for ns, values in found.items()},
            netns_read=len(found),
            netns_unread=unread,
        )

    def hand_over(self) -> Reading | None:
        """What others want of the newest reading, once: whoever asks again has to read himself."""
        found, self._shared = self._shared, None
        return found

    def close(self) -> None:
        """Nothing stays open between calls."""
