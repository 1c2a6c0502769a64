"""Who is named for a stall, and who is not."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.model.stalls import Task
from whodunnet.model.workload import Workloads
from whodunnet.rules.stall_evidence import LONG_BY, READS_MEMORY_STAT
from whodunnet.rules.stall_findings import WAITED, WHY_LONG

from .nodes import in_container, parties
from .stalled import (
    ALLOWS,
    DUMPS,
    ENABLES,
    IDLE,
    INTERRUPTS,
    KSOFTIRQD,
    MONITOR,
    NAPI,
    OTHER,
    READS,
    REAL_TIME,
    SPINS,
    WORKER,
    blamed,
    ended,
    found,
    gap,
    held,
    said,
    stall,
)


def test_a_task_that_stays_in_a_system_call_until_ksoftirqd_comes_is_the_culprit() -> None:
    (finding,) = found(stall(held(MONITOR, 37)), workloads=Workloads(by_pid=in_container("cadvisor", 7)))
    assert (finding.shape, finding.confidence, finding.severity) == ("syscall-hog", "proven", "critical")
    (culprit,) = parties(finding, "culprit")
    assert culprit.pod.name == "cadvisor"  # type: ignore[union-attr]
    assert culprit.share == 1.0
    assert "default/cadvisor (app7) held CPU 1 in read() for up to 150 ms, in mem_cgroup_iter" in finding.title
    assert [(p.role, p.node) for p in finding.parties[1:]] == [("victim", "n1")]


def test_functions_that_answer_a_read_of_memory_stat_are_counted_for_the_cause() -> None:
    (reads,) = found(stall(held(MONITOR, 37)))
    (dumps,) = found(stall(held(MONITOR, 37, functions=DUMPS)))
    assert [(e.value, e.limit) for e in reads.evidence if e.statement == READS_MEMORY_STAT] == [(37, 37)]
    assert READS_MEMORY_STAT not in [e.statement for e in dumps.evidence]
    flush = ("cgroup_rstat_flush_locked", "mem_cgroup_flush_stats", *READS[1:])
    (flushes,) = found(stall(held(MONITOR, 37, functions=flush)))
    assert [WHY_LONG["walk"] in f.explanation for f in (reads, flushes, dumps)] == [True, False, False]
    assert [WHY_LONG["flush"] in f.explanation for f in (reads, flushes, dumps)] == [False, True, False]
    told = [[e.value for e in f.evidence if e.statement == LONG_BY[way]] for f in (reads, flushes) for way in LONG_BY]
    assert told == [[37], [], [], [37]]


def test_a_read_of_memory_stat_that_neither_walks_nor_adds_up_has_no_reason() -> None:
    """From 5.4 to 5.10 the sums are kept ready."""
    (reads,) = found(stall(held(MONITOR, 37, functions=READS[1:])))
    assert READS_MEMORY_STAT in [e.statement for e in reads.evidence]
    assert not set(LONG_BY.values()) & {e.statement for e in reads.evidence}
    assert not set(WHY_LONG.values()) & set(reads.explanation)


def test_softirqs_that_begin_where_the_same_task_allows_them_were_switched_off_by_it() -> None:
    dump = stall(held(MONITOR, 7, functions=DUMPS), wait=0.03, end=ended(MONITOR, ALLOWS))
    assert said(dump, dump) == [("softirqs-disabled", "proven", "warning")]
    assert blamed(dump, dump) == ["app7"]


def test_a_real_time_task_over_a_thread_that_takes_packets_is_the_culprit_in_user_mode_too() -> None:
    spins = held(REAL_TIME, 37, mode="user", system_call=None, functions=None)
    assert said(stall(spins)) == [("starved-thread", "proven", "critical")]
    waits = stall(spins, kind="thread", end=ended(NAPI))
    assert said(waits) == [("starved-thread", "likely", "critical")]
    (finding,) = found(waits)
    assert parties(finding, "culprit")[0].effect == "seen 37 times in user mode"
    assert "napi/eth0-1" in finding.title
    assert "chrt --other --pid 0 8" in [r.command for r in finding.remedies]


def test_a_real_time_task_starves_only_threads() -> None:
    dump = stall(held(REAL_TIME, 37, functions=DUMPS), end=ended(REAL_TIME, ALLOWS))
    assert said(dump) == [("softirqs-disabled", "proven", "critical")]


def test_a_thread_of_the_kernel_keeps_its_real_time_priority() -> None:
    (finding,) = found(stall(held(replace(WORKER, comm="migration/1", real_time_priority=99), 37)))
    assert finding.shape == "starved-thread"
    assert not [r.command for r in finding.remedies if r.command and r.command.startswith("chrt")]


def test_the_kernel_adding_up_by_itself_is_no_read_of_memory_stat() -> None:
    flushes = ("cgroup_rstat_flush_locked", "mem_cgroup_flush_stats", "flush_memcg_stats_dwork", "process_one_work")
    (finding,) = found(stall(held(WORKER, 37, functions=flushes)))
    told = [e.statement for e in finding.evidence]
    assert (LONG_BY["flush"] in told, READS_MEMORY_STAT in told) == (True, False)
    assert not [r for r in finding.remedies if "memory.stat" in r.do]


def test_a_thread_of_the_kernel_can_hold_a_cpu_and_is_called_one() -> None:
    (finding,) = found(stall(held(WORKER, 37)))
    assert finding.title.startswith("The kernel thread kworker/1:2 held CPU 1 in the kernel")
    assert not [r for r in finding.remedies if r.action == "restart-workload"]


@pytest.mark.parametrize("task", [KSOFTIRQD, NAPI, IDLE])
def test_a_thread_that_takes_packets_and_the_idle_task_are_never_culprits(task: Task) -> None:
    for kind in ("late", "long", "thread", "silent"):
        assert blamed(*[stall(held(task, 37), kind=kind, end=ended(task, ALLOWS))] * 9, virtual=False) == []


def test_who_was_current_when_an_interrupt_brought_the_softirq_has_nothing_to_do_with_it() -> None:
    one = held(OTHER, 1)
    assert blamed(*[stall(one, wait=0.011, end=ended(MONITOR, INTERRUPTS), expected_samples=2)] * 9) == []


def test_a_tick_that_came_late_shows_no_softirqs_switched_off() -> None:
    """It brought the softirq as soon as it came: the task had not switched them off."""
    for task in (MONITOR, REAL_TIME):
        late = stall(held(task, 5, functions=DUMPS), wait=0.019, end=ended(task, INTERRUPTS))
        nameless = replace(late, end=ended(task))
        assert [f.shape for f in (*found(late, late), *found(nameless, nameless))] == ["many-holders"] * 2
        assert blamed(*[late] * 9, *[nameless] * 9) == []


def test_softirqs_that_run_on_a_stack_of_their_own_were_let_run_by_the_task_all_the_same() -> None:
    """As in 5.10: no interrupt, though assembler calls them there."""
    own = ("__do_softirq", "asm_call_irq_on_stack", "do_softirq_own_stack", "do_softirq", *ALLOWS[2:])
    dump = stall(held(MONITOR, 7, functions=DUMPS), wait=0.03, end=ended(MONITOR, own))
    assert said(dump) == [("softirqs-disabled", "proven", "warning")]


@pytest.mark.parametrize("task", [MONITOR, REAL_TIME])
def test_whoever_spins_for_a_lock_is_held_up_itself(task: Task) -> None:
    for one in (
        stall(held(task, 37, functions=SPINS)),
        stall(held(task, 37, functions=SPINS), end=ended(task, ALLOWS)),
        stall(held(task, 37, functions=SPINS), kind="thread", end=ended(NAPI)),
    ):
        (finding,) = found(one)
        assert (finding.shape, finding.confidence, finding.severity) == ("many-holders", "likely", "warning")
        assert [p.role for p in finding.parties] == ["victim"]
        assert "app7" not in finding.title
        assert WAITED in finding.explanation
        assert not [line for line in finding.explanation if line.startswith("Several tasks")]
    briefly = stall(held(task, 30, functions=DUMPS), held(task, 7, functions=SPINS, system_call="write"))
    assert blamed(briefly) == ["app7"]


def test_whoever_waits_with_interrupts_off_for_a_flush_is_not_to_blame() -> None:
    """Adding one to a number takes the lock of a flush that runs on another CPU; the flush is told beside it."""
    waits = gap("__mod_memcg_lruvec_state")
    flush = replace(gap("memory_stat_format", functions=ENABLES), cpu=0)
    both = found(*[waits] * 5, *[flush] * 5, virtual=False)
    assert [[p.role for p in f.parties] for f in both] == [["culprit", "victim"], ["victim"]]
    assert (both[1].confidence, WAITED in both[1].explanation) == ("possible", True)
    told = "Times that another CPU was held meanwhile, in memory_stat_format: the lock may be theirs"
    assert [(e.value, e.limit) for e in both[1].evidence if e.statement == told] == [(5, 5)]
    later = replace(flush, ended_boot_seconds=flush.ended_boot_seconds + 1)
    assert told not in [e.statement for f in found(*[waits] * 5, *[later] * 5) for e in f.evidence]


def test_few_samples_in_the_wait_for_a_lock_blame_nobody() -> None:
    few = stall(held(MONITOR, 4, functions=SPINS))
    assert said(*[few] * 5, virtual=False) == [("irqs-disabled", "possible", "info")]
    assert blamed(*[few] * 5, virtual=False) == []


def test_an_interrupt_within_the_end_of_a_section_brought_the_softirq_all_the_same() -> None:
    end = ended(MONITOR, (*INTERRUPTS[:3], "__local_bh_enable_ip", *DUMPS))
    assert said(*[stall(wait=0.05, end=end)] * 2, hertz=0) == [("many-holders", "possible", "info")]


def test_of_many_tasks_with_few_samples_each_nobody_is_named() -> None:
    many = [held(replace(OTHER, pid=100 + n, tid=100 + n), 2) for n in range(18)]
    (finding,) = found(stall(*many))
    assert (finding.shape, finding.confidence, finding.severity) == ("many-holders", "likely", "warning")
    assert [p.role for p in finding.parties] == ["victim"]


def test_a_single_sample_names_nobody() -> None:
    short = stall(held(MONITOR, 1), wait=0.011, expected_samples=2)
    assert said(short, short) == [("many-holders", "possible", "info")]


def test_tasks_that_have_their_turn_in_user_mode_are_not_to_blame() -> None:
    turn = held(MONITOR, 37, mode="user", system_call=None, functions=None)
    assert said(stall(turn)) == [("overload", "likely", "critical")]
    assert blamed(stall(turn)) == []


def test_a_task_that_left_the_cpu_meanwhile_did_not_hold_it() -> None:
    assert blamed(stall(held(MONITOR, 37, stayed=False))) == []


def test_whoever_is_met_where_a_napi_thread_came_to_run_after_it_waited_elsewhere_is_not_named() -> None:
    elsewhere = stall(held(MONITOR, 1), kind="thread", wait=0.05, end=ended(NAPI))
    assert found(*[elsewhere] * 9, virtual=False) == []
