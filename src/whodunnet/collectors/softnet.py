"""The receiving side of the kernel: packets and drops by CPU, what kept CPUs busy, and where devices send packets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, TypeVar

from whodunnet.collectors.namespace_counters import unless_unreadable
from whodunnet.errors import UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.procfs.conntrack import parse_number
from whodunnet.kernel.procfs.cpu_times import CpuTimes, read_cpu_times
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.kernel.procfs.ksoftirqd import Schedstat, find_ksoftirqds, read_schedstat
from whodunnet.kernel.procfs.pressure import read_irq_pressure
from whodunnet.kernel.procfs.softirqs import read_softirqs
from whodunnet.kernel.procfs.softnet_stat import SoftnetLine, read_softnet_stat
from whodunnet.kernel.receive_queues import ReceivingDevices, read_receiving_devices
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.softnet import CpuWork, Softnet

T = TypeVar("T")
NET_RX = "NET_RX"
_NO_DEVICES = ReceivingDevices(by_name={}, virtual=0, left_out=0)


class SoftnetCollector:
    """Reads softnet_stat, softirqs, stat, pressure and schedstat of the ksoftirqds, and queues and interrupts."""

    name: ClassVar[str] = "softnet"

    def __init__(self, roots: Roots, support: Support) -> None:
        self._roots = roots
        self._support = support
        self._threads: dict[int, int] = {}
        self._sought: frozenset[int] = frozenset()

    def collect(self) -> Softnet:
        """One reading. Raises UnreadableError if softnet_stat cannot be read."""
        roots = self._roots
        lines = read_softnet_stat(roots)
        rounds = (unless_unreadable(partial(read_softirqs, roots, (NET_RX,))) or {}).get(NET_RX, {})
        times = unless_unreadable(partial(read_cpu_times, roots)) or {}
        threads = self._scheduled(frozenset(lines))
        devices = unless_unreadable(partial(read_receiving_devices, roots)) or _NO_DEVICES
        return Softnet(
            by_cpu={
                cpu: work_of(line, rounds.get(cpu), times.get(cpu), threads.get(cpu))
                for cpu, line in sorted(lines.items())
            },
            max_backlog=self._setting("netdev_max_backlog"),
            budget=self._setting("netdev_budget"),
            budget_us=self._setting("netdev_budget_usecs"),
            irq_pressure_us=unless_unreadable(partial(read_irq_pressure, roots)),
            devices=devices.by_name,
            virtual=devices.virtual,
            left_out=devices.left_out,
        )

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _scheduled(self, cpus: frozenset[int]) -> Mapping[int, Schedstat]:
        """The ksoftirqds that are in sight. Each is looked for once: they live as long as the kernel."""
        if not cpus <= self._sought:
            self._threads |= unless_unreadable(partial(find_ksoftirqds, self._roots, cpus - self._sought)) or {}
            self._sought |= cpus
        found: dict[int, Schedstat] = {}
        for cpu in cpus & self._threads.keys():
            schedstat = unless_unreadable(partial(read_schedstat, self._roots, self._threads[cpu]))
            if schedstat is not None:
                found[cpu] = schedstat
        return found

    def _setting(self, name: str) -> int | None:
        """One of net.core, which only the first network namespace shows for the whole kernel."""
        read = partial(_read_setting, self._roots, name)
        found = unless_unreadable(read)
        for pid in ("1", "2") if found is None else ():
            inside: Callable[[], int] = partial(namespaces.inside, self._roots.proc / pid / "ns/net", None, read)
            found = unless_unreadable(inside) if found is None else found
        return found


def _read_setting(roots: Roots, name: str) -> int:
    path = roots.proc / "sys/net/core" / name
    found = parse_number(read_bytes(path), str(path))
    if found < 0:
        raise UnreadableError(f"{path} is {found}")
    return found


def work_of(line: SoftnetLine, rounds: int | None, times: CpuTimes | None, thread: Schedstat | None) -> CpuWork:
    return CpuWork(
        processed=line.processed,
        dropped=line.dropped,
        squeezed=line.squeezed,
        steered=line.steered,
        flow_limited=line.flow_limited,
        waiting=line.waiting,
        net_rx=rounds,
        total_ms=times.total_ms if times else None,
        idle_ms=times.idle_ms if times else None,
        softirq_ms=times.softirq_ms if times else None,
        irq_ms=times.irq_ms if times else None,
        steal_ms=times.steal_ms if times else None,
        thread_run_ns=thread.run_ns if thread else None,
        thread_wait_ns=thread.wait_ns if thread else None,
    )
