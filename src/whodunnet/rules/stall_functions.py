"""Functions of the kernel in which somebody was seen: which of them tells what was done."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from whodunnet.model.stalls import Holder, Stack

# What is below every system call, interrupt or softirq, or waits for a lock, and tells nothing of what is done.
_PLUMBING: Final = re.compile(
    r"(?:__|_)?(?:entry_SYSCALL|SyS_|sys_|do_syscall|x64_sys_call|__x64_sys|__arm64_sys|__se_sys|__do_sys|invoke_syscall|el0|el1"
    r"|ksys_|vfs_|new_sync_|ret_from|syscall_|asm_|sysvec_|irq_exit|irq_enter|irqentry|handle_softirqs|do_softirq"
    r"|__do_softirq|run_ksoftirqd|smpboot_thread_fn|kthread|worker_thread|process_one_work|process_scheduled_works"
    r"|local_bh_enable|__local_bh_enable|local_bh_disable|raw_spin_|_raw_|queued_spin|native_queued|mutex_|down_|up_"
    r"|cond_resched|__cond_resched|schedule|preempt_|rcu_read|asm_sysvec|common_startup|secondary_startup"
    r"|pv_native|kvm_clock|kvm_wait|kvm_steal|native_|clear_page|memset|memcpy|rep_movs|copy_user|copy_to_user"
    r"|copy_from_user|rep_stos)"
)
READS: Final = re.compile(
    r"(?:memory_stat_show|memory_stat_seq_show|memcg_stat_show|memory_stat_format|memory_numa_stat_show"
    r"|memcg_numa_stat_show|tree_stat|accumulate_memcg_tree)\b"
)
WALKS: Final = re.compile(r"(?:mem_cgroup_iter|tree_stat|accumulate_memcg_tree|css_next_descendant_\w+)\b")
RECLAIMS: Final = re.compile(r"(?:do_)?try_to_free_|shrink_|__alloc_pages_slowpath|mem_cgroup_soft_limit_reclaim")
FLUSHES: Final = re.compile(r"(?:__)?(?:(?:mem_)?cgroup_(?:rstat_flush|flush_stats)\w*|css_rstat_flush\w*)\b")
SPINS: Final = re.compile(
    r"(?:(?:__pv_|native_)?queued_(?:spin|read|write)_lock_slowpath|_raw_(?:spin|read|write)_lock\w*|do_raw_spin_lock"
    r"|__cgroup_rstat_lock|\w+_spin_on_owner|osq_lock)\b"
)
COUNTS: Final = re.compile(
    r"(?:cgroup_rstat_updated|css_rstat_updated|memcg_rstat_updated|__mod_memcg_(?:lruvec_)?state|__count_memcg_events)\b"
)
"""Functions that add to one number, and take the lock of a flush for it: nothing but the wait for that is ever long."""
ENABLES: Final = re.compile(r"(?:_raw_\w+_unlock_irq\w*|\w*local_irq_(?:enable|restore)\w*)\b")
"""Where interrupts come back on: whatever waited for that is met there first."""
MEMORY_STAT: Final = re.compile(f"{READS.pattern}|{FLUSHES.pattern}")
"""Functions by which the kernel answers a read of memory.stat (mm/memcontrol.c, kernel/cgroup/rstat.c)."""


def stacks_of(holders: Iterable[Holder]) -> list[Stack]:
    """All that have a name in them."""
    return [stack for holder in holders for stack in holder.stacks if any(stack.functions)]


def common_function(stacks: Iterable[Stack], least_share: float) -> tuple[str, int, int] | None:
    """The innermost function that most samples were in, in how many of how many; None if no function was."""
    samples: Counter[str] = Counter()
    depths: Counter[str] = Counter()
    total = 0
    for stack in stacks:
        total += stack.samples
        met = set()
        for depth, name in enumerate(stack.functions):
            if name is not None and name not in met and _PLUMBING.match(name) is None:
                met.add(name)
                samples[name] += stack.samples
                depths[name] += depth * stack.samples
    shared = [name for name, n in samples.items() if n >= max(least_share * total, 1)]
    if not shared:
        return None
    best = min(shared, key=lambda name: (depths[name] / samples[name], -samples[name]))
    return best, samples[best], total


def in_functions(stacks: Iterable[Stack], pattern: re.Pattern[str]) -> int:
    """How many samples were in a function that matches."""
    return sum(s.samples for s in stacks if any(name and pattern.match(name) for name in s.functions))


def waits_for_lock(stack: Stack) -> bool:
    """Whether somebody was met spinning for a lock that another has."""
    for name in stack.functions:
        if name is not None and SPINS.match(name):
            return True
        if name is not None and _PLUMBING.match(name) is None:
            return COUNTS.match(name) is not None
    return False


def where_enabled(stacks: Iterable[Stack]) -> int:
    """How many samples were taken at the very place where interrupts come back on."""
    return sum(s.samples for s in stacks if s.functions and s.functions[0] and ENABLES.match(s.functions[0]))


def memory_stat_by(stacks: Sequence[Stack], irqs_off: bool) -> tuple[Literal["walk", "flush"], int] | None:
    """What made answering a read of memory.stat long, in how many samples; None if it was neither, or no such read.

    A walk over all memory cgroups goes through the deleted ones (before 5.4); sums that are brought up to date are
    those of cgroups that have changed since (from 5.15 on). Between these versions a read costs nothing like it.
    irqs_off: only while sums are brought up to date, which may be inlined (6.1), does a read switch interrupts off.
    """
    flushed = in_functions(stacks, FLUSHES)
    read = in_functions(stacks, MEMORY_STAT)
    if not read:
        return None
    if 2 * flushed >= read:
        return "flush", flushed
    if any(_walks_all(stack) for stack in stacks):
        return "walk", read - flushed
    inlined = in_functions([s for s in stacks if not in_functions([s], RECLAIMS)], READS) if irqs_off else 0
    return ("flush", inlined) if inlined else None


def _walks_all(stack: Stack) -> bool:
    """Whether a read walks all memory cgroups. Whoever looks for free memory does so too, also within a read."""
    return all(in_functions([stack], kind) for kind in (READS, WALKS)) and not in_functions([stack], RECLAIMS)


def path_of(stacks: Iterable[Stack], at_most: int) -> tuple[str, ...]:
    """The functions of the commonest stack, innermost first, without what tells nothing."""
    most = max(stacks, key=lambda stack: stack.samples, default=None)
    named = [name for name in most.functions if name is not None] if most is not None else []
    telling = [name for name in named if _PLUMBING.match(name) is None]
    return tuple((telling or named)[:at_most])
