"""rx-imbalance: one CPU that receives for all, beside others that have room; and what only looks like it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.model.finding import Cleared, NotApplicable, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.model.softnet import Interrupt, ReceivingDevice, Softnet
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rx_load import receiving

from .nodes import answers, finding, findings, moment, parties
from .receiving import busy, device, node, softnet, work

RULE = "rx-imbalance"
ENTRY = catalogue()[RULE]
BUSY, OTHERS, IDLE = (ENTRY.limit(name) for name in ("min_busy_share", "max_others_share", "min_idle_share"))
PACKETS, OF_DEVICE, SECONDS = (ENTRY.limit(n) for n in ("min_packet_share", "min_device_share", "min_seconds"))
TOGETHER = device((0,), (0,))
SPREAD = device((0,), (1,))


def received(one: ReceivingDevice, packets: int) -> ReceivingDevice:
    return ReceivingDevice(queues=one.queues, interrupts=one.interrupts, threaded=one.threaded, received=packets)


def machine(
    which: ReceivingDevice = TOGETHER,
    *,
    name: str = "eth0",
    share: float = 0.95,
    others: float = 0.02,
    idle: float = 0.9,
    packets: int = 100_000,
    elsewhere: int = 1_000,
    from_device: int = 100_000,
    seconds: float = 3.0,
    **counted: Any,
) -> Recording:
    """CPU 0 is in softirqs for `share` of the window, two others for `others` of it."""

    def reading(at: float) -> Softnet:
        part = at / seconds
        taken = {"processed": round(packets * part), **{k: round(v * part) for k, v in counted.items()}}
        first = busy(at, share, 1 - share, **taken)
        more = [busy(at, others, idle, processed=round(elsewhere * part / 2)) for _ in range(2)]
        return softnet(first, *more, devices={name: received(which, round(from_device * part))})

    return node(*[reading(seconds * i / 3) for i in range(4)], seconds=seconds)


def test_interrupts_of_all_queues_on_one_cpu() -> None:
    found = finding(machine(), RULE)
    assert (found.shape, found.severity, found.confidence) == ("interrupts-together", "warning", "likely")
    assert found.title.startswith("CPU 0 takes everything that eth0 receives (95 % busy")
    assert [(e.value, e.limit) for e in found.evidence[:3]] == [(0.95, BUSY), (0.02, OTHERS), (0.9, IDLE)]
    assert parties(found, "culprit") == []


def test_turns_that_end_with_packets_left_prove_that_they_waited() -> None:
    assert finding(machine(squeezed=30), RULE).confidence == "proven"
    assert finding(machine(dropped=30), RULE).confidence == "proven"


def test_the_second_interrupt_goes_to_the_cpu_that_is_least_busy() -> None:
    command = finding(machine(), RULE).remedies[1].command
    assert command == "echo 1 > /proc/irq/41/smp_affinity_list"


@pytest.mark.parametrize(
    ("limit", "fits", "fails"),
    [
        (BUSY, {"share": BUSY}, {"share": BUSY - 0.02}),
        (OTHERS, {"others": OTHERS, "idle": 0.6}, {"others": OTHERS + 0.02, "idle": 0.6}),
        (IDLE, {"idle": IDLE}, {"idle": IDLE - 0.02}),
        (PACKETS, {"elsewhere": 100_000}, {"elsewhere": 100_600}),
        (OF_DEVICE, {"from_device": 25_002}, {"from_device": 24_900}),
    ],
)
def test_each_threshold_from_both_sides(limit: float, fits: dict[str, Any], fails: dict[str, Any]) -> None:
    assert limit
    assert len(findings(machine(**fits), RULE)) == 1
    assert [type(a) for a in answers(machine(**fails), RULE)] == [Cleared]


def test_a_busy_even_machine_is_cleared_with_its_busiest_cpu() -> None:
    (answer,) = answers(machine(SPREAD, others=0.94, idle=0.06, elsewhere=200_000), RULE)
    assert isinstance(answer, Cleared)
    assert [e.value for e in answer.evidence] == [0.95, 0.94]


def test_it_is_cleared_with_the_length_of_the_longest_part_that_was_judged() -> None:
    hog = [softnet(busy(t, 0.01, 0.0), busy(t, 0.0, 0.99), devices={"eth0": TOGETHER}) for t in (0.0, 2.0, 7.0)]
    even = node(*hog)
    uneven = [replace(s, at=moment(t)) for s, t in zip(even.snapshots, (0.0, 2.0, 7.0), strict=True)]
    (answer,) = answers(replace(even, snapshots=tuple(uneven)), RULE)
    assert isinstance(answer, Cleared)
    assert "for 80 % of 5.0 s while" in answer.sensitivity


def test_a_user_space_hog_is_none() -> None:
    hog = [softnet(busy(t, 0.01, 0.0, processed=round(9 * t)), busy(t, 0.0, 0.99), devices={"eth0": TOGETHER})
           for t in (0.0, 1.5, 3.0)]  # fmt: skip
    assert [type(a) for a in answers(node(*hog), RULE)] == [Cleared]


def test_time_that_the_hypervisor_took_is_no_time_of_the_cpu() -> None:
    """Half of it is stolen, and of the rest 96 % is in softirqs."""
    assert len(findings(machine(share=0.48, steal_ms=1_500), RULE)) == 1


def test_steering_to_one_cpu() -> None:
    found = finding(machine(device((0,), (1,), queues=((0,), (0,)))), RULE)
    assert (found.shape, found.severity) == ("steered-together", "warning")
    assert "queues/rx-*/rps_cpus" in (found.remedies[1].command or "")


def test_one_flow_is_as_fast_as_one_cpu_and_no_warning() -> None:
    found = finding(machine(SPREAD), RULE)
    assert (found.shape, found.severity) == ("spread-unevenly", "info")
    assert finding(machine(device((1,), (1,), queues=((0, 1), (0, 1)))), RULE).shape == "spread-unevenly"


@pytest.mark.parametrize(
    "which", [device((0, 1), (0, 1)), device((0,), (0,), interrupts=()), device((0,), (0,), queues=((0,), ()))]
)
def test_where_the_queues_lead_may_not_be_known(which: ReceivingDevice) -> None:
    found = finding(machine(which), RULE)
    assert (found.shape, found.severity, found.confidence) == ("spread-unknown", "info", "possible")


@pytest.mark.parametrize("which", [device((1,), (2,)), device((0,), (0,), queues=((1,), (1,)))])
def test_a_device_whose_packets_go_elsewhere_does_not_keep_that_cpu_busy(which: ReceivingDevice) -> None:
    assert findings(machine(which), RULE) == []


def test_interrupts_for_other_things_than_packets_do_not_count() -> None:
    named = [("virtio0-config", 1), ("virtio0-input.0", 0), ("virtio0-output.0", 1), ("virtio0-input.1", 0)]
    which = ReceivingDevice(
        queues=((), ()),
        interrupts=tuple(Interrupt(number=9 + i, name=n, cpus=(cpu,)) for i, (n, cpu) in enumerate(named)),
    )
    assert [i.name for i in receiving(which)] == ["virtio0-input.0", "virtio0-input.1"]
    assert finding(machine(which), RULE).shape == "interrupts-together"


def test_a_bad_minute_is_found_in_a_long_recording() -> None:
    def reading(at: float, share: float, packets: int) -> Softnet:
        cpu = work(total_ms=round(at * 1000), softirq_ms=round(share * 1000), idle_ms=0, processed=packets)
        return softnet(cpu, busy(at, 0.0, 1.0), devices={"eth0": received(TOGETHER, packets)})

    readings = [reading(60.0 * i, 0.0 if i < 30 else 58.0, 0 if i < 30 else 9_000_000) for i in range(60)]
    found = finding(node(*readings, seconds=59 * 60), RULE)
    assert "1 of 59 parts" in found.evidence[0].statement
    assert found.since is not None
    assert (found.last_seen - found.since).total_seconds() == 60


def test_a_short_window_says_too_little_of_time() -> None:
    assert [type(a) for a in answers(machine(seconds=SECONDS - 0.1), RULE)] == [NotChecked]
    assert len(findings(machine(seconds=SECONDS), RULE)) == 1


@pytest.mark.parametrize(
    ("reading", "answer"),
    [
        (softnet(work(), devices={"eth0": TOGETHER}), NotApplicable),
        (softnet(work(), work(), devices={"eth0": device((0,))}), NotApplicable),
        (softnet(work(), work()), NotApplicable),
        (softnet(work(), work(), virtual=0), NotChecked),
        (softnet(work(), work(), devices={"eth0": device((0,), (0,), threaded=True)}), NotChecked),
    ],
)
def test_where_it_cannot_be_or_cannot_be_seen(reading: Softnet, answer: type) -> None:
    assert [type(a) for a in answers(node(reading, reading), RULE)] == [answer]


def test_a_machine_that_does_not_say_what_its_cpus_do_is_not_checked() -> None:
    cpu = work(total_ms=None, idle_ms=None, softirq_ms=None)
    (answer,) = answers(node(*[softnet(cpu, cpu, devices={"eth0": TOGETHER})] * 2), RULE)
    assert isinstance(answer, NotChecked)
    assert answer.code == "unreadable"


def test_a_device_that_was_made_anew_has_no_packets_to_compare() -> None:
    recording = machine()
    last = recording.snapshots[-1].samples["softnet"]
    assert isinstance(last, Softnet)
    first = softnet(*[work()] * 3, devices={"eth0": received(TOGETHER, 10**9)})
    assert findings(node(first, last), RULE) == []


def test_a_hostile_name_is_quoted() -> None:
    found = finding(machine(name="$(id)"), RULE)
    assert all("$(id)" not in e.repeat.replace("'$(id)'", "") for e in found.evidence)
