"""Receive queues and interrupts in made trees of sysfs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import MACHINES, damaged
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel import receive_queues
from whodunnet.kernel.receive_queues import parse_counts, read_receiving_devices
from whodunnet.kernel.roots import Roots
from whodunnet.model.softnet import Interrupt, ReceivingDevice


class Machine:
    """A tree with devices and interrupts."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.roots = Roots.below(top)

    def write(self, name: str, content: str) -> None:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def device(self, name: str, masks: list[str], interrupts: list[int], *, above: bool = False) -> None:
        """above: as a virtio device has them, in the PCI device above its own."""
        own = self.top / f"sys/devices/pci/{name}{'/virtio0' if above else ''}"
        own.mkdir(parents=True)
        for number in interrupts:
            self.write(f"sys/devices/pci/{name}/msi_irqs/{number}", "msix\n")
        for queue, mask in enumerate(masks):
            self.write(f"sys/class/net/{name}/queues/rx-{queue}/rps_cpus", mask + "\n")
        (self.top / f"sys/class/net/{name}/device").symlink_to(own)

    def interrupt(self, number: int, actions: str, counts: str, cpus: str) -> None:
        self.write(f"sys/kernel/irq/{number}/actions", actions + "\n")
        self.write(f"sys/kernel/irq/{number}/per_cpu_count", counts + "\n")
        self.write(f"proc/irq/{number}/effective_affinity_list", cpus + "\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_real_virtio_device_is_read() -> None:
    found = read_receiving_devices(Roots.below(MACHINES / "softnet-6.18"))
    assert (found.virtual, found.left_out) == (1, 0)
    assert found.by_name == {
        "eth0": ReceivingDevice(
            queues=((),), threaded=False, received=83_395,
            interrupts=(
                Interrupt(number=37, name="virtio2-config", cpus=(0,)),
                Interrupt(number=38, name="virtio2-input.0", cpus=(1,), by_cpu={1: 43_113}),
            ),
        )
    }  # fmt: skip


@pytest.mark.parametrize("above", [False, True])
def test_queues_and_interrupts_belong_to_their_device(machine: Machine, above: bool) -> None:
    machine.device("eth1", ["00000000,00000002", "0"], [70, 71], above=above)
    machine.interrupt(70, "eth1-TxRx-0", "5,0,7", "2")
    machine.interrupt(71, "eth1-TxRx-1", "0,0,0", "0-1")
    machine.interrupt(72, "nvme0q1", "9,9,9", "0")
    device = read_receiving_devices(machine.roots).by_name["eth1"]
    assert device.queues == ((1,), ())
    assert device.interrupts == (
        Interrupt(number=70, name="eth1-TxRx-0", cpus=(2,), by_cpu={0: 5, 2: 7}),
        Interrupt(number=71, name="eth1-TxRx-1", cpus=(0, 1)),
    )
    assert device.threaded is None
    assert device.received is None


def test_where_the_kernel_does_not_tell_it_is_where_an_interrupt_may_come(machine: Machine) -> None:
    machine.device("eth0", ["0"], [9])
    machine.interrupt(9, "eth0-rx-0", "1", "")
    machine.write("proc/irq/9/smp_affinity_list", "0-3\n")
    assert read_receiving_devices(machine.roots).by_name["eth0"].interrupts[0].cpus == (0, 1, 2, 3)


def test_devices_without_hardware_are_counted_only(machine: Machine) -> None:
    machine.device("eth0", ["0"], [])
    machine.write("sys/class/net/veth1/queues/rx-0/rps_cpus", "0\n")
    found = read_receiving_devices(machine.roots)
    assert (list(found.by_name), found.virtual) == (["eth0"], 1)
    assert found.by_name["eth0"].interrupts == ()


def test_what_is_beyond_a_bound_is_counted(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive_queues, "DEVICES_LIMIT", 2)
    monkeypatch.setattr(receive_queues, "QUEUES_LIMIT", 2)
    monkeypatch.setattr(receive_queues, "INTERRUPTS_LIMIT", 3)
    for n in range(3):
        machine.device(f"eth{n}", ["0", "0", "0"], [10 * n + 1, 10 * n + 2])
        for number in (10 * n + 1, 10 * n + 2):
            machine.interrupt(number, "rx", "1", "0")
    found = read_receiving_devices(machine.roots)
    assert [(len(d.queues), len(d.interrupts)) for d in found.by_name.values()] == [(2, 2), (2, 1)]
    assert found.left_out == 1 + 2 * 1 + 1  # a device, a queue of each, an interrupt


def test_a_name_from_a_driver_is_cleaned(machine: Machine) -> None:
    machine.device("eth0", ["0"], [9])
    machine.interrupt(9, "eth\x1b[31m0-rx", "1", "0")
    (interrupt,) = read_receiving_devices(machine.roots).by_name["eth0"].interrupts
    assert "\x1b" not in interrupt.name


def test_without_sysfs_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="does not exist here"):
        read_receiving_devices(Roots.below(tmp_path))


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=20))
def test_counts_are_by_cpu_without_zeroes(counts: list[int]) -> None:
    found = parse_counts(",".join(map(str, counts)).encode(), "f")
    assert found == {cpu: n for cpu, n in enumerate(counts) if n}


@given(damaged(b"0,43113,17\n"))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_counts(data, "f")
