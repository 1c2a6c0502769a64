"""Arbitrary receiving sides and memory cgroups: well typed, and half of them with something to find."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model.memory_cgroups import DyingBelow, MemoryCgroups
from whodunnet.model.snapshot import AnySample, Recording
from whodunnet.model.softnet import WRAP, CpuWork, Interrupt, ReceivingDevice, Softnet

from .arbitrary import COUNTS, TEXTS, Dice, Kinds, changing

DRIVERS = ("eth0-TxRx-", "virtio1-input.", "virtio1-output.", "mlx5_comp", "$(id)-rx-", "mgmnt")
STEERED: tuple[tuple[int, ...], ...] = ((), (), (0,), (0, 1))
OPTIONAL = ("steered", "flow_limited", "waiting", "net_rx", "total_ms", "steal_ms", "thread_wait_ns")


def receiving_recordings(moments: int | None = None) -> st.SearchStrategy[Recording]:
    """Of one to four moments, unless the number is given."""
    return st.integers(0, 2**48).map(lambda seed: recording_of(Dice(seed), moments))


def recording_of(d: Dice, moments: int | None) -> Recording:
    kinds: Kinds = {"softnet": softnet, "memory_cgroups": memory_cgroups}
    return changing(d, kinds, later, (0.0, 1.0, 5.0, 30.0), moments)


def softnet(d: Dice) -> Softnet:
    steer = d.random() < 0.3
    return Softnet(
        by_cpu={cpu: cpu_work(d) for cpu in range(d.randint(1, 3))},
        max_backlog=d.one((None, 1000)),
        devices={name: device(d, steer) for name in ("ens5", "eth1", "$(id)") if d.random() < 0.6},
        virtual=d.one((0, 1, 1)),
    )


def cpu_work(d: Dice) -> CpuWork:
    known = {name: d.one((0, *COUNTS)) for name in OPTIONAL if d.random() < 0.95}
    return CpuWork(
        processed=d.one((0, WRAP - 1)), dropped=d.one((0, WRAP - 3)), squeezed=0, idle_ms=0, softirq_ms=0, **known
    )


def device(d: Dice, steer: bool) -> ReceivingDevice:
    def interrupt() -> Interrupt:
        return Interrupt(
            number=d.randrange(99),
            name=d.one(DRIVERS) + str(d.randrange(3)),
            cpus=d.one(((0,), (0,), (1,), (0, 1), ())),
        )

    queues = tuple(d.one(STEERED[2:]) if steer else d.one(STEERED[:3]) for _ in range(d.randint(1, 3)))
    return ReceivingDevice(
        queues=queues, interrupts=d.several(3, interrupt), threaded=d.one((None, False, False, True)), received=0
    )


def memory_cgroups(d: Dice) -> MemoryCgroups:
    return MemoryCgroups(
        version=d.one((None, "v1", "v2")),
        live=d.one((None, 1, 300)),
        dying=d.one((None, 0, 1_999, 2_000, 48_000)),
        part=d.random() < 0.2,
        of_memory=d.random() < 0.5,
        most=d.several(2, lambda: DyingBelow("/" + d.one(TEXTS), d.one(COUNTS))),
        reclaim=d.one((None, "memory.reclaim", "memory.force_empty")),
        stat_seconds=d.one((None, 0.2)),
        counted_seconds_ago=d.one((0.0, 0.0, 4.0)),
    )


def later(d: Dice, sample: AnySample, moment: int) -> AnySample:
    """The same, or with counters that have risen: the first CPU is busy, the others mostly idle."""
    if not isinstance(sample, Softnet):
        return sample
    risen = {}
    for cpu, work in sample.by_cpu.items():
        # Of the seconds between two moments, which the dice chose, this is about the share.
        busy = 0.9 if cpu == 0 else d.one((0.0, 0.1, 0.9))
        ms = 1000 * moment
        changed = {
            "processed": (work.processed + moment * (1000 if cpu == 0 else 5)) % WRAP,
            "dropped": (work.dropped + moment * d.one((0, 0, 3, 50))) % WRAP,
            "squeezed": moment * d.one((0, 4)),
            "softirq_ms": round(ms * busy),
            "idle_ms": round(ms * (1 - busy)),
        }
        for name, step in (("total_ms", 1000), ("steered", d.one((0, 7))), ("flow_limited", d.one((0, 0, 50)))):
            before = getattr(work, name)
            changed[name] = None if before is None else before + moment * step
        risen[cpu] = replace(work, **changed)
    devices = {name: replace(device, received=moment * d.one((0, 900, 900))) for name, device in sample.devices.items()}
    return replace(sample, by_cpu=risen, devices=devices)
