"""softnet and memory_cgroups under other kernels: a device with two queues that packets come to, and cgroups of v2."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import msgspec
import pytest

from lab import machine
from lab.kernel_packages import Kernel
from whodunnet.model.finding import Answer as RuleAnswer
from whodunnet.model.finding import Cleared, Finding
from whodunnet.model.snapshot import Recording
from whodunnet.model.softnet import Softnet
from whodunnet.rules.rule import judge

from .inside.receiving import MANY, Answer

pytestmark = pytest.mark.vm

HERE = Path(__file__).parent
TAP = "whodunnet0"
MAC = "52:54:00:77:00:02"
DEVICES = [
    "-netdev", f"tap,id=net,ifname={TAP},script=no,downscript=no,queues=2",
    "-device", f"virtio-net-pci,netdev=net,mq=on,vectors=6,mac={MAC}",
]  # fmt: skip
MODULES = ("virtio_net", "crc32c_generic", "nf_tables")  # libcrc32c asks for crc32c when it is loaded
COLUMNS = {"6.1": 13, "6.12": 15}
FLOWS = 64
PAUSE_SECONDS, TURNS = 0.15, 750  # after about 1.5 s of packets


def frame(flow: int) -> bytes:
    """A UDP datagram to the machine, of one of many flows."""
    udp = struct.pack("!HHHH", 20_000 + flow, 9, 9, 0) + b"x"
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes([10, 200, 0, 1]),
                       bytes([10, 200, 0, 2]))  # fmt: skip
    total = sum(struct.unpack("!10H", head))
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    ethernet = bytes.fromhex(MAC.replace(":", "")) + bytes.fromhex("525400770001") + b"\x08\x00"
    return ethernet + head[:10] + struct.pack("!H", total) + head[12:] + udp


@contextmanager
def flood() -> Iterator[None]:
    """Packets of many flows into the tap device, for as long as the machine runs; what finds no room there is lost.

    With pauses, in which the machine empties its queues: else the CPU that first took a queue keeps it.
    """
    subprocess.run(["ip", "tuntap", "add", "dev", TAP, "mode", "tap", "multi_queue"], check=True)
    subprocess.run(["ip", "link", "set", TAP, "txqueuelen", "50", "up"], check=True)
    ended = threading.Event()
    frames = [frame(flow) for flow in range(FLOWS)]

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((TAP, 0))
            for turn in count():
                if ended.wait(PAUSE_SECONDS if turn % TURNS == 0 else 0.002):
                    return
                for data in frames:
                    try:
                        sender.send(data)
                    except OSError:
                        break  # nobody listens yet, or not any more

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        subprocess.run(["ip", "link", "del", TAP], check=True)


@pytest.fixture(scope="module")
def answer(kernel: Kernel) -> Answer:
    command = [sys.executable, "-m", "inside.receiving"]
    arguments = "preempt=none cgroup_no_v1=all"
    with flood():
        done = machine.run(kernel, command, HERE, kernel_arguments=arguments, modules=MODULES, devices=DEVICES)
    assert done.status == 0, done.stderr
    print(f"{kernel.version}: {done.seconds:.0f} s")
    return msgspec.json.decode(done.stdout, type=Answer)


def judged(recording: Recording, rule: str = "rx-imbalance") -> RuleAnswer:
    (found,) = judge(rule, recording)
    return found


def test_the_columns_are_those_of_the_kernel(answer: Answer, kernel: Kernel) -> None:
    lines = [line.split() for line in answer.softnet_stat.splitlines()]
    assert {len(line) for line in lines} == {COLUMNS[kernel.release]}
    last = answer.steered.last(Softnet)
    assert last is not None
    assert list(last.by_cpu) == [int(line[12], 16) for line in lines]
    assert all(work.waiting is not None and work.thread_wait_ns is not None for work in last.by_cpu.values())


def test_queues_and_interrupts_of_a_device_are_found(answer: Answer) -> None:
    last = answer.spread.last(Softnet)
    assert last is not None
    device = last.devices["eth0"]
    assert device.queues == ((), ())
    places = {i.name.partition("-")[2]: i.cpus for i in device.interrupts}
    assert (places["input.0"], places["input.1"]) == ((0,), (1,))


def test_all_queues_on_one_cpu_are_named(answer: Answer) -> None:
    found = judged(answer.together)
    assert isinstance(found, Finding), found
    assert found.shape == "interrupts-together"
    assert found.title.startswith("CPU 0 takes everything that eth0 receives")


def test_steering_to_one_cpu_is_named(answer: Answer) -> None:
    found = judged(answer.steered)
    assert isinstance(found, Finding), found
    assert found.shape == "steered-together"
    assert found.title.startswith("CPU 1 takes everything that eth0 receives")


def test_packets_that_a_cpu_is_steered_and_cannot_take_are_dropped(answer: Answer) -> None:
    found = judged(answer.steered, "softnet-drops")
    assert isinstance(found, Finding), found
    assert found.shape == "steered"
    assert "on CPU 1" in str(found.parties[0].effect)
    assert isinstance(judged(answer.together, "softnet-drops"), Cleared)


def test_the_same_packets_on_both_cpus_are_no_finding(answer: Answer) -> None:
    assert isinstance(judged(answer.spread), Cleared)


def test_dying_cgroups_of_v2_are_counted_until_nothing_is_charged_to_them(answer: Answer, kernel: Kernel) -> None:
    assert (answer.before.version, answer.before.part) == ("v2", False)
    assert answer.before.dying is not None
    assert answer.dying.dying is not None
    assert answer.after.dying is not None
    assert 0.9 * MANY <= answer.dying.dying - answer.before.dying <= MANY
    assert answer.after.dying < MANY // 2
    assert answer.dying.of_memory == (kernel.release != "6.1")
    assert answer.dying.reclaim == "memory.reclaim"
