"""Reads the receiving side while packets come through two queues, and memory cgroups. In a virtual machine.

`python -m inside.receiving`: one JSON document (Answer). The packets come from outside, to both queues.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import msgspec

from whodunnet.collectors.memory_cgroups import MemoryCgroupsCollector
from whodunnet.collectors.snapshots import now
from whodunnet.collectors.softnet import SoftnetCollector
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import node, read_support
from whodunnet.model.memory_cgroups import MemoryCgroups
from whodunnet.model.snapshot import Recording, Snapshot

from .facts import wait_until

DEVICE = "eth0"
RULES = 1_000
MANY = 40
PAUSES_SECONDS = 4.0
"""So long a time has pauses, after which each queue is where its interrupt comes."""
CGROUPS = Path("/sys/fs/cgroup")


class Answer(msgspec.Struct):
    """softnet_stat as it is, three recordings while packets come, and memory cgroups before, during and after."""

    softnet_stat: str
    spread: Recording
    together: Recording
    steered: Recording
    before: MemoryCgroups
    dying: MemoryCgroups
    after: MemoryCgroups


def sh(command: str, text: str | None = None) -> None:
    subprocess.run(["sh", "-c", command], input=text, check=True, text=True, stdout=subprocess.DEVNULL)


def received() -> int:
    return int(Path(f"/sys/class/net/{DEVICE}/statistics/rx_packets").read_text())


def set_up() -> None:
    """The device is up, and each packet has to pass rules that take long."""
    rules = "\n".join(f"ip saddr 10.{i >> 8}.{i & 255}.1 drop" for i in range(RULES))
    sh("nft -f -", "table ip t {\nchain c {\ntype filter hook prerouting priority 0;\n" + rules + "\n}\n}\n")
    sh(f"ethtool -L {DEVICE} combined 2 || true; ip addr add 10.200.0.2/24 dev {DEVICE}; ip link set {DEVICE} up")
    wait_until(lambda: received() > 1000)


def inputs() -> list[int]:
    """The interrupts of the receive queues."""
    numbers = sorted(int(p.name) for p in Path("/sys/kernel/irq").iterdir())
    named = {n: Path(f"/sys/kernel/irq/{n}/actions").read_text().strip() for n in numbers}
    return [n for n, name in named.items() if ".input" in name or "-input." in name]


def delivered_to(interrupt: int) -> int:
    return int(Path(f"/proc/irq/{interrupt}/effective_affinity_list").read_text())


def send_to(*cpus: int) -> None:
    """Have the queues interrupt these CPUs, one after the other."""
    # An affinity takes effect at the next interrupt, and there is none while a CPU polls a queue that is never empty:
    # packets come with pauses.
    for number, cpu in zip(inputs(), cpus, strict=True):
        Path(f"/proc/irq/{number}/smp_affinity_list").write_text(str(cpu))
    wait_until(lambda: [delivered_to(n) for n in inputs()] == list(cpus))
    time.sleep(PAUSES_SECONDS)


def steer_to(mask: int) -> None:
    for path in Path(f"/sys/class/net/{DEVICE}/queues").glob("rx-*/rps_cpus"):
        path.write_text(f"{mask:x}")


def watch(collector: SoftnetCollector, roots: Roots) -> Recording:
    snapshots = []
    for _ in range(4):
        snapshots.append(Snapshot(at=now(), samples={"softnet": collector.collect()}))
        time.sleep(1.0)
    return Recording(node=node(read_support(roots)), snapshots=tuple(snapshots))


def leave_dying() -> None:
    """Delete cgroups to which a file in memory is charged."""
    sh(f"mkdir -p /run/kept && mount -t tmpfs none /run/kept && echo +memory > {CGROUPS}/cgroup.subtree_control")
    sh(
        f"""for i in $(seq {MANY}); do
            mkdir {CGROUPS}/$i
            sh -c 'echo $$ > {CGROUPS}/$0/cgroup.procs && echo x > /run/kept/$0' $i
            until rmdir {CGROUPS}/$i 2>/dev/null; do :; done
        done"""
    )


def main() -> None:
    roots = Roots()
    collector, cgroups = (kind(roots, read_support(roots)) for kind in (SoftnetCollector, MemoryCgroupsCollector))
    assert isinstance(collector, SoftnetCollector)
    assert isinstance(cgroups, MemoryCgroupsCollector)
    sh(f"mountpoint -q {CGROUPS} || mount -t cgroup2 none {CGROUPS}")
    before = cgroups.collect()
    leave_dying()
    dying = cgroups.collect()
    sh("umount /run/kept")
    wait_until(lambda: (cgroups.collect().dying or 0) < MANY // 2)
    set_up()
    send_to(0, 1)
    spread = watch(collector, roots)
    send_to(0, 0)
    together = watch(collector, roots)
    send_to(0, 1)
    steer_to(2)
    steered = watch(collector, roots)
    answer = Answer(
        softnet_stat=Path("/proc/net/softnet_stat").read_text(), spread=spread, together=together, steered=steered,
        before=before, dying=dying, after=cgroups.collect(),
    )  # fmt: skip
    sys.stdout.write(msgspec.json.encode(answer).decode())


if __name__ == "__main__":
    main()
