"""Names in the samples of the receiving side and of memory cgroups."""

from __future__ import annotations

from msgspec.structs import replace

from whodunnet.model.cpu_quota import CpuQuotas, LimitedCgroup
from whodunnet.model.memory_cgroups import DyingBelow, MemoryCgroups
from whodunnet.model.snapshot import Node, Snapshot
from whodunnet.model.softnet import CpuWork, Interrupt, ReceivingDevice, Softnet
from whodunnet.recording.redact import Redactor
from whodunnet.rules.rx_load import receiving

from .keyed import AT, KEY

NODE = Node(hostname="n1", kernel="6.1.0", boot_id="b00t")


def device(*names: str) -> ReceivingDevice:
    return ReceivingDevice(
        queues=((), ()), interrupts=tuple(Interrupt(number=n, name=name) for n, name in enumerate(names))
    )


def redacted(**devices: ReceivingDevice) -> Softnet:
    redactor = Redactor(KEY)
    redactor.node(NODE)
    sample = Softnet(by_cpu={0: CpuWork(processed=1, dropped=2, squeezed=3)}, devices=devices)
    found = redactor.snapshot(Snapshot(at=AT, samples={"softnet": sample})).samples["softnet"]
    assert isinstance(found, Softnet)
    assert found.by_cpu == sample.by_cpu
    return found


def test_a_chosen_name_of_a_device_is_replaced_in_its_interrupts_too() -> None:
    found = redacted(blackbird=device("blackbird-TxRx-0", "i40e-blackbird-TxRx-1"))
    assert "blackbird" not in repr(found)
    (kept,) = found.devices.values()
    assert [i.name.rpartition("-TxRx")[1] for i in kept.interrupts] == ["-TxRx", "-TxRx"]


def test_an_interrupt_is_known_as_one_for_received_packets_all_the_same() -> None:
    names = ("virtio2-config", "virtio2-input.0", "virtio2-output.0", "mlx5_comp0@pci:0000:3b:00.0")
    found = redacted(eth0=device(*names)).devices["eth0"]
    assert [i.number for i in receiving(found)] == [i.number for i in receiving(device(*names))] == [1, 3]


def test_the_path_of_a_cgroup_is_replaced() -> None:
    redactor = Redactor(KEY)
    redactor.node(NODE)
    sample = MemoryCgroups(version="v2", dying=9, most=(DyingBelow("/system.slice/payroll.service", 9),))
    found = redactor.snapshot(Snapshot(at=AT, samples={"memory_cgroups": sample})).samples["memory_cgroups"]
    assert isinstance(found, MemoryCgroups)
    assert "payroll" not in repr(found)
    assert (found.version, found.dying, found.most[0].dying) == ("v2", 9, 9)


def test_the_path_of_a_cgroup_with_a_quota_is_replaced_and_its_numbers_stay() -> None:
    redactor = Redactor(KEY)
    redactor.node(NODE)
    limited = LimitedCgroup(path="/payroll", quota_us=5, period_us=9, periods=8, throttled=7, throttled_us=6, pids=(4,))
    sample = CpuQuotas(version="v2", cgroups=(limited,), read=3)
    found = redactor.snapshot(Snapshot(at=AT, samples={"cpu_quota": sample})).samples["cpu_quota"]
    assert isinstance(found, CpuQuotas)
    assert "payroll" not in repr(found)
    assert found == replace(sample, cgroups=(replace(limited, path=found.cgroups[0].path),))
