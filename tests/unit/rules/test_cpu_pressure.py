"""cpu-pressure: who uses the CPUs while others wait, and what only looks like it."""

from __future__ import annotations

from typing import Any

import pytest

from whodunnet.model.cpu_pressure import Consumer, CpuPressure
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.kernel_log import KernelLog, RepeatedLine
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.workload import Process, Workloads
from whodunnet.rules.catalogue import catalogue

from .nodes import FROM_BOOT, NODE, answers, finding, in_container, moment, named, owners, parties, pids

RULE = "cpu-pressure"
ENTRY = catalogue()[RULE]
PRESSURE, BUSY, WAITING, SHARE, STOLEN, RATE = (
    ENTRY.limit(name)
    for name in ("min_pressure", "min_busy", "min_waiting", "min_share", "min_stolen", "min_line_rate")
)
CPUS = 2
LINE = "IN=eth0 OUT= MAC= SRC=10.0.0.9 DST=10.0.0.1 LEN=60"


def consumer(pid: int, seconds: float, *, wait: float | None = 0.0, **other: Any) -> Consumer:
    """What it takes in each second of the window."""
    fields: dict[str, Any] = {"comm": f"app{pid}", "parent": 1}
    return Consumer(
        pid=pid, cpu_ms=round(1000 * seconds), wait_ms=None if wait is None else round(1000 * wait),
        **{**fields, **other},
    )  # fmt: skip


def node(
    *consumers: Consumer, pressure: float | None = 0.8, busy: float = 1.0, stolen: float = 0.0, readings: int = 4,
    used: float | None = None, waited: float = 1.0, softirq: float = 0.0, delay: float | None = None, runnable: int = 5,
    workloads: Workloads | None = None, log: list[KernelLog] | None = None,
) -> Recording:  # fmt: skip
    """A reading a second. busy, stolen: shares of all CPUs. used, waited: seconds in each second."""
    snapshots = []
    for i in range(readings):
        total, seen = 1000 * CPUS * i, i > 0 and bool(consumers)
        sample = CpuPressure(
            cpus=CPUS, some_us=None if pressure is None else round(1e6 * pressure * i),
            some_avg10=None if pressure is None else 100 * pressure, runnable=runnable, load=3.0,
            total_ms=total, idle_ms=round(total * (1 - busy)), steal_ms=round(total * stolen),
            softirq_ms=round(1000 * softirq * i),
            delay_ms=None if delay is None else round(1000 * delay * i),
            measured_seconds=1.0 if seen else None, consumers=consumers if seen else (), processes=50 if seen else 0,
            used_ms=(sum(c.cpu_ms for c in consumers) if used is None else round(1000 * used)) if seen else 0,
            waited_ms=round(1000 * waited) if seen else 0,
        )  # fmt: skip
        samples: dict[str, AnySample] = {"cpu_pressure": sample, "workloads": workloads or named(7, 8, 9)}
        if log is not None:
            samples["kernel_log"] = log[i]
        snapshots.append(Snapshot(at=moment(i), samples=samples))
    return Recording(node=NODE, snapshots=tuple(snapshots))


def logs(rate: float, *, text: str = LINE, lost: float = 0) -> list[KernelLog]:
    return [
        KernelLog(
            source="/dev/kmsg", reaches_back_seconds=None, written=round(rate * i), lost=round(lost * i),
            repeated=(RepeatedLine(text, round(rate * i)),) if i else (),
        )
        for i in range(4)
    ]  # fmt: skip


def cleared(found: Recording) -> Cleared:
    (answer,) = answers(found, RULE)
    assert isinstance(answer, Cleared)
    return answer


HOG = consumer(7, 1.8, wait=0.5)
BESIDE = consumer(8, 0.2)


def test_who_takes_most_while_others_wait_is_named() -> None:
    found = finding(node(HOG, BESIDE, workloads=Workloads(by_pid=in_container("batch", 7))), RULE)
    assert (found.shape, found.severity, found.confidence) == ("consumer", "warning", "proven")
    assert (found.claim, found.reason) == ("delays", "CpuUsedUp")
    assert found.title == "default/batch (app7) takes 90 % of 2 CPUs, and tasks wait for one 80 % of the time"
    assert pids(found, "culprit") == [7]
    (culprit,) = parties(found, "culprit")
    assert (culprit.share, culprit.share_of) == (0.9, "what all CPUs did")
    assert pids(found, "holder") == [8]
    assert set(found.would_explain) == {"softnet-drops", "accept-queue", "udp-buffers"}
    assert (found.evidence[0].value, found.evidence[0].limit) == (0.8, PRESSURE)
    assert any(r.command == "renice -n 19 -p 7" for r in found.remedies)


def test_a_batch_job_beside_whom_nobody_waits_is_no_warning_and_no_culprit() -> None:
    found = finding(node(consumer(7, 2.0, wait=2.0), waited=0.0), RULE)
    assert (found.shape, found.severity) == ("consumer", "info")
    assert parties(found, "culprit") == []
    assert pids(found, "holder") == [7]
    assert found.would_explain == ()
    assert parties(found, "victim")[0].effect == "hardly anybody else waits"


@pytest.mark.parametrize(("waited", "severity"), [(WAITING - 0.01, "info"), (WAITING, "warning")])
def test_others_have_to_wait_for_a_while(waited: float, severity: str) -> None:
    assert finding(node(HOG, waited=waited), RULE).severity == severity


def test_the_wait_that_cpus_count_goes_before_that_of_first_threads() -> None:
    assert finding(node(HOG, waited=0.0, delay=0.5 + WAITING), RULE).severity == "warning"
    assert finding(node(HOG, waited=9.0, delay=0.5), RULE).severity == "info"


def test_waits_of_others_among_the_consumers_count_too() -> None:
    beside = consumer(8, 0.2, wait=WAITING)
    assert finding(node(HOG, beside, waited=0.0), RULE).severity == "warning"


@pytest.mark.parametrize(("pressure", "number"), [(PRESSURE - 0.01, 0), (PRESSURE, 1)])
def test_moments_of_waiting_are_as_usual(pressure: float, number: int) -> None:
    found = [a for a in answers(node(HOG, pressure=pressure), RULE) if not isinstance(a, Cleared)]
    assert len(found) == number


def test_tasks_that_wait_for_their_quota_leave_cpus_idle() -> None:
    found = cleared(node(HOG, busy=BUSY - 0.02))
    assert "quota" in found.sensitivity
    assert [e.value for e in found.evidence] == [0.8, pytest.approx(BUSY - 0.02, abs=0.002), 5.0]


def test_all_cpus_busy_and_nobody_waiting_is_cleared() -> None:
    found = cleared(node(HOG, pressure=0.05))
    assert "quota" not in found.sensitivity
    assert found.evidence[0].value == 0.05


def test_half_of_it_is_most() -> None:
    assert finding(node(consumer(7, 2 * SHARE), consumer(8, 2 * (1 - SHARE))), RULE).shape == "consumer"
    found = finding(node(consumer(7, 0.9), consumer(8, 0.9), consumer(9, 0.2)), RULE)
    assert (found.shape, found.reason) == ("spread", "CpuShort")
    assert pids(found, "holder") == [7, 8, 9]
    assert parties(found, "culprit") == []


def test_processes_of_one_program_and_parent_are_one() -> None:
    four = [consumer(pid, 0.45, comm="worker", parent=50) for pid in (7, 8, 9, 10)]
    found = finding(node(*four), RULE)
    assert found.shape == "consumer"
    (culprit,) = parties(found, "culprit")
    assert culprit.share == 0.9
    assert "in 4 processes" in str(culprit.effect)


def test_a_program_is_one_with_those_it_forked() -> None:
    parent = consumer(7, 0.5, comm="worker", parent=50)
    forked = [consumer(pid, 0.4, comm="worker", parent=7) for pid in (8, 9, 10)]
    found = finding(node(parent, *forked), RULE)
    assert found.shape == "consumer"
    assert "in 4 processes" in str(parties(found, "culprit")[0].effect)


def test_that_it_lets_others_go_first_is_said() -> None:
    found = finding(node(consumer(7, 2.0, nice=19)), RULE)
    assert "at nice 19" in str(parties(found, "culprit")[0].effect)


def test_processes_that_init_adopted_are_not_one() -> None:
    four = [consumer(pid, 0.45, comm="worker", parent=1) for pid in (7, 8, 9, 10)]
    assert finding(node(*four), RULE).shape == "spread"


def test_processes_of_one_container_are_one() -> None:
    owners = Workloads(by_pid=in_container("batch", 7, 8))
    found = finding(node(consumer(7, 0.9), consumer(8, 0.9), workloads=owners), RULE)
    assert found.shape == "consumer"
    assert "default/batch" in found.title


def test_who_is_gone_from_the_list_of_owners_is_named_as_the_kernel_had_it() -> None:
    found = finding(node(consumer(77, 2.0)), RULE)
    assert "app77 takes 100 %" in found.title
    assert pids(found, "culprit") == [77]


def test_a_log_daemon_that_copies_a_flood_is_no_culprit() -> None:
    daemon = consumer(7, 1.2, comm="systemd-journal", log_daemon=True)
    found = finding(node(daemon, BESIDE, log=logs(5_000)), RULE)
    assert (found.shape, found.reason) == ("log-flood", "LogFloodUsesCpu")
    assert "5,000 lines a second" in found.title
    assert LINE in found.title
    assert pids(found, "holder") == [7]
    assert parties(found, "culprit") == []
    assert any(e.unit == "lines a second" and e.value == 5_000 for e in found.evidence)


def test_a_log_daemon_without_a_flood_and_a_flood_without_a_log_daemon() -> None:
    daemon = consumer(7, 1.2, log_daemon=True)
    assert finding(node(daemon, BESIDE, log=logs(RATE - 1)), RULE).shape == "consumer"
    assert finding(node(HOG, log=logs(RATE)), RULE).shape == "consumer"
    assert finding(node(daemon, log=logs(RATE)), RULE).shape == "log-flood"


def test_lines_that_were_overwritten_are_of_the_flood() -> None:
    daemon = consumer(7, 1.2, log_daemon=True)
    assert finding(node(daemon, log=logs(RATE / 2, lost=RATE / 2)), RULE).shape == "log-flood"


def test_several_log_daemons_count_together() -> None:
    two = [consumer(7, 0.3, log_daemon=True), consumer(8, 0.3, log_daemon=True), consumer(9, 1.0)]
    found = finding(node(*two, log=logs(900)), RULE)
    assert found.shape == "log-flood"
    assert pids(found, "holder") == [7, 8]


def test_processes_of_a_moment_are_told_by_what_nobody_accounts_for() -> None:
    found = finding(node(consumer(7, 0.5)), RULE)
    assert (found.shape, found.reason) == ("short-lived", "ShortProcessesUseCpu")
    assert parties(found, "culprit") == []


@pytest.mark.parametrize(("stolen", "shape"), [(STOLEN - 0.01, "consumer"), (STOLEN, "stolen")])
def test_what_the_hypervisor_takes_nobody_here_took(stolen: float, shape: str) -> None:
    found = finding(node(HOG, stolen=stolen), RULE)
    assert found.shape == shape
    if shape == "stolen":
        assert [p.role for p in found.parties] == ["victim"]


def test_pressure_without_readings_of_processes_names_nobody() -> None:
    found = finding(node(), RULE)
    assert (found.shape, found.confidence) == ("unseen", "likely")
    assert [p.role for p in found.parties] == ["victim"]


def test_without_pressure_tasks_that_are_ready_stand_for_it() -> None:
    assert finding(node(HOG, pressure=None, runnable=4), RULE).confidence == "likely"
    assert cleared(node(HOG, pressure=None, runnable=3)).evidence[0].unit == "share"


def test_one_reading_tells_of_the_last_ten_seconds_only() -> None:
    quiet = cleared(node(pressure=0.01, readings=1))
    assert quiet.evidence[0].value == 0.01
    (answer,) = answers(node(readings=1), RULE)
    assert isinstance(answer, NotChecked)
    assert "80 %" in answer.reason
    (answer,) = answers(node(readings=1, pressure=None), RULE)
    assert isinstance(answer, NotChecked)


def test_without_a_reading_it_is_not_checked() -> None:
    failed = Recording(
        node=NODE,
        snapshots=(Snapshot(at=moment(0), samples={"cpu_pressure": Failure(code="unreadable", reason="none")}),),
    )
    (answer,) = answers(failed, RULE)
    assert isinstance(answer, NotChecked)


def test_the_largest_process_of_an_owner_is_shown() -> None:
    owners = Workloads(by_pid=in_container("batch", 7, 8))
    found = finding(node(consumer(7, 0.3), consumer(8, 1.5), workloads=owners), RULE)
    process = parties(found, "culprit")[0].process
    assert isinstance(process, Process)
    assert process.pid == 8


SLOWED = ENTRY.limit("min_slowed")


def test_of_two_equals_who_wait_for_one_another_none_is_a_culprit_and_nobody_suffers() -> None:
    found = finding(node(consumer(7, 1.0, wait=1.0), consumer(8, 1.0, wait=1.0), waited=0.0, delay=2.0), RULE)
    assert (found.shape, found.severity, found.would_explain) == ("consumer", "info", ())
    assert parties(found, "culprit") == []
    assert pids(found, "holder") == [7, 8]
    assert parties(found, "victim")[0].effect == "hardly anybody else waits"


def test_of_two_equals_none_is_a_culprit_although_others_wait() -> None:
    found = finding(node(consumer(7, 1.05, wait=1.0), consumer(8, 0.95, wait=1.0), delay=4.0), RULE)
    assert found.severity == "warning"
    assert parties(found, "culprit") == []


def test_whoever_lets_others_go_first_is_no_equal() -> None:
    gentle = consumer(8, 0.9, wait=1.0, nice=10)
    assert pids(finding(node(consumer(7, 1.1, wait=1.0), gentle, delay=4.0), RULE), "culprit") == [7]


def test_several_jobs_that_fill_a_node_by_design_are_no_warning() -> None:
    jobs = [consumer(pid, 0.5, wait=0.8) for pid in (7, 8, 9, 10)]
    found = finding(node(*jobs, waited=0.0, delay=3.2), RULE)
    assert (found.shape, found.severity) == ("spread", "info")
    assert finding(node(*jobs, waited=0.0, delay=3.2 + WAITING), RULE).severity == "warning"


def test_whoever_lets_others_go_first_suffers_nothing() -> None:
    gentle = consumer(8, 0.15, wait=1.0, nice=10)
    assert finding(node(HOG, gentle, waited=0.0, delay=1.5), RULE).severity == "info"


def test_a_moment_of_waiting_for_much_work_is_none() -> None:
    beside = [consumer(pid, 0.15, wait=0.0) for pid in (8, 9, 10, 11)]
    for waited, severity in ((SLOWED * 0.6 - 0.02, "info"), (SLOWED * 0.6 + 0.02, "warning")):
        found = finding(node(consumer(7, 1.4), *beside, waited=0.0, delay=waited), RULE)
        assert (found.shape, found.severity) == ("consumer", severity)


def test_a_program_of_which_nobody_knows_how_long_it_waited_may_be_who_waits() -> None:
    hog = consumer(7, 1.8, wait=None)
    found = finding(node(hog, waited=0.0, delay=5.0), RULE)
    assert (found.severity, parties(found, "culprit")) == ("info", [])
    assert finding(node(hog, waited=1.0, delay=5.0), RULE).severity == "warning"


def test_who_is_gone_may_be_who_waited() -> None:
    found = finding(node(consumer(7, 0.5), waited=0.0, delay=5.0), RULE)
    assert (found.shape, found.severity) == ("short-lived", "info")
    assert parties(found, "victim")[0].effect == "tasks wait for a CPU; which ones was not seen"
    assert finding(node(delay=5.0), RULE).severity == "info"


@pytest.mark.parametrize(("of_kernel", "shape", "culprits"), [(False, "consumer", [14]), (True, "kernel-work", [])])
def test_a_kernel_thread_works_for_others_and_only_holds(of_kernel: bool, shape: str, culprits: list[int]) -> None:
    """As ksoftirqd does where a CPU has more packets than it can take (seen on 6.1); any process may be called so."""
    found = finding(node(consumer(14, 1.8, parent=2, comm="ksoftirqd/0", kernel_thread=of_kernel)), RULE)
    assert (found.shape, found.severity, pids(found, "culprit")) == (shape, "warning", culprits)
    assert pids(found, "holder") == ([] if culprits else [14])
    assert any("renice" in (remedy.command or "") for remedy in found.remedies) == (not of_kernel)


def test_a_kernel_thread_that_takes_less_than_half_is_one_of_several() -> None:
    found = finding(node(consumer(14, 0.9, parent=2, comm="kswapd0", kernel_thread=True), consumer(15, 0.8)), RULE)
    assert (found.shape, pids(found, "culprit"), pids(found, "holder")) == ("spread", [], [14, 15])


def test_threads_of_the_kernel_that_do_the_same_are_one() -> None:
    """On eight CPUs each has an eighth at most. CPUS is 2 here: a fifth each."""
    threads = [consumer(10 + n, 0.4, parent=2, comm=f"ksoftirqd/{n}", kernel_thread=True) for n in range(3)]
    found = finding(node(*threads), RULE)
    assert (found.shape, pids(found, "culprit"), len(parties(found, "holder"))) == ("kernel-work", [], 1)
    assert "and 2 more" in found.title


def test_a_container_with_a_small_kernel_thread_is_no_kernel_thread() -> None:
    """vhost-PID is in the cgroup of its virtual machine before Linux 6.4."""
    machine = consumer(14, 1.7, comm="qemu"), consumer(15, 0.05, parent=2, comm="vhost-14", kernel_thread=True)
    found = finding(node(*machine, workloads=owners(in_container("vm", 14, 15))), RULE)
    assert (found.shape, pids(found, "culprit")) == ("consumer", [14])


def test_what_ksoftirqd_did_is_counted_once() -> None:
    """The kernel has it in its stime and among the softirqs."""
    threads = [consumer(14, 0.6, parent=2, comm="ksoftirqd/0", kernel_thread=True), consumer(15, 0.6)]
    found = finding(node(*threads, softirq=0.6), RULE)
    shares = [e.value for e in found.evidence if e.statement.startswith("Share of what all CPUs did")]
    assert shares == [0.3, 0.3]


def test_whoever_waits_most_besides_is_a_victim_by_name() -> None:
    shop, browser = consumer(8, 0.02, wait=0.95), consumer(9, 0.01, wait=0.9)
    found = finding(node(HOG, browser, shop, waited=0.0), RULE)
    assert (pids(found, "culprit"), pids(found, "victim")) == ([7], [8, None])
    effects = [p.effect for p in parties(found, "victim")]
    assert effects == ["waited 2.9 s for a CPU and ran 0.1 s", "1.9 tasks at a time wait for a CPU besides"]


def test_of_a_victim_it_is_told_for_how_many_processes_the_sum_is() -> None:
    found = finding(node(HOG, consumer(8, 0.02, wait=0.95, more=3), waited=0.0), RULE)
    assert parties(found, "victim")[0].effect == "waited 2.9 s for a CPU and ran 0.1 s in 4 processes"


@pytest.mark.parametrize(
    "others",
    [
        [consumer(8, 0.02, wait=0.18), consumer(9, 0.02, wait=0.18)],
        [consumer(8, 0.02, wait=None)],
        [consumer(8, 0.02, wait=0.9, nice=19)],
        [],
    ],
)
def test_nobody_who_waits_little_or_by_its_own_wish_is_a_victim_by_name(others: list[Consumer]) -> None:
    found = finding(node(HOG, *others, waited=1.0), RULE)
    assert (found.severity, pids(found, "victim")) == ("warning", [None])


@pytest.mark.parametrize(("begun", "severity"), [(FROM_BOOT + 0.5, "info"), (FROM_BOOT - 5, "warning")])
def test_processes_of_a_moment_wait_for_one_another(begun: float, severity: str) -> None:
    """A build of low weight: what stays waits little."""
    build = [consumer(pid, 0.02, wait=0.1, started_seconds=begun, parent=pid + 100) for pid in (20, 21, 22, 23)]
    found = finding(node(consumer(7, 0.12, wait=0.01), *build, waited=0.0), RULE)
    assert (found.shape, found.severity) == ("short-lived", severity)


def test_beside_processes_of_a_moment_whoever_stays_and_waits_suffers() -> None:
    build = consumer(20, 0.1, wait=0.1, started_seconds=FROM_BOOT + 0.5)
    found = finding(node(build, consumer(8, 0.02, wait=0.6), waited=0.0), RULE)
    assert (found.shape, found.severity, pids(found, "victim")) == ("short-lived", "warning", [8, None])


def test_whoever_takes_little_is_no_holder_of_what_short_lived_ones_take() -> None:
    assert pids(finding(node(consumer(7, 0.19), consumer(8, 0.21)), RULE), "holder") == [8]


def test_the_wait_of_who_lets_others_go_first_is_its_own_also_where_it_took_nothing() -> None:
    gentle = [consumer(pid, 0.0, wait=0.05, nice=19, comm="yes", parent=30) for pid in range(40, 48)]
    assert finding(node(HOG, *gentle, waited=0.0), RULE).severity == "info"
