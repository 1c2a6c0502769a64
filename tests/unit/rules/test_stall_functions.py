"""Which function of the kernel tells what somebody was doing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.stalls import Stack
from whodunnet.rules.stall_functions import (
    FLUSHES,
    MEMORY_STAT,
    READS,
    WALKS,
    common_function,
    in_functions,
    memory_stat_by,
    path_of,
    waits_for_lock,
    where_enabled,
)

BELOW = ("vfs_read", "ksys_read", "do_syscall_64", "entry_SYSCALL_64_after_hwframe")
names = st.none() | st.sampled_from(["vfs_read", "mem_cgroup_iter", "memory_stat_show", "a [m]", "", "\x1b"])
stacks = st.lists(
    st.builds(Stack, functions=st.lists(names, max_size=5).map(tuple), samples=st.integers(0, 9)), max_size=5
)


def stack(*functions: str | None, samples: int = 1) -> Stack:
    return Stack(functions=(*functions, *BELOW), samples=samples)


def test_it_is_the_innermost_that_most_samples_were_in() -> None:
    seen = [stack("iter_next", "walk", "show", samples=5), stack("lock", "walk", "show", samples=4), stack("show")]
    assert common_function(seen, 0.8) == ("walk", 9, 10)
    assert common_function(seen, 0.95) == ("show", 10, 10)
    assert common_function(seen[:1], 0.8) == ("iter_next", 5, 5)


def test_what_is_below_every_call_or_waits_for_a_lock_tells_nothing() -> None:
    assert common_function([stack("_raw_spin_lock_bh", "native_queued_spin_lock_slowpath", "show")], 0.8) == (
        "show",
        1,
        1,
    )
    assert common_function([stack(), stack("memset")], 0.8) is None
    assert common_function([stack(None, None)], 0.8) is None
    assert common_function([], 0.8) is None


def test_a_function_that_calls_itself_counts_once() -> None:
    assert common_function([stack("walk", "walk", "walk", samples=3)], 0.8) == ("walk", 3, 3)


def test_the_path_is_the_commonest_without_what_tells_nothing() -> None:
    assert path_of([stack("a", "b"), stack("c", None, "d", samples=2)], 9) == ("c", "d")
    assert path_of([stack()], 2) == BELOW[:2]
    assert path_of([], 9) == ()


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("memory_stat_show", (True, False, False)),
        ("memcg_stat_show", (True, False, False)),
        ("tree_stat", (True, True, False)),
        ("mem_cgroup_iter", (False, True, False)),
        ("css_next_descendant_pre", (False, True, False)),
        ("cgroup_rstat_flush_locked", (False, False, True)),
        ("mem_cgroup_flush_stats", (False, False, True)),
        ("__mem_cgroup_flush_stats", (False, False, True)),
        ("css_rstat_flush", (False, False, True)),
        ("memory_stat_showroom", (False, False, False)),
        ("vfs_read", (False, False, False)),
    ],
)
def test_functions_of_a_read_of_memory_stat_are_known(name: str, kinds: tuple[bool, bool, bool]) -> None:
    seen = [stack(name, samples=3)]
    assert tuple(in_functions(seen, kind) == 3 for kind in (READS, WALKS, FLUSHES)) == kinds
    assert (in_functions(seen, MEMORY_STAT) == 3) is (kinds[0] or kinds[2])


@pytest.mark.parametrize(
    ("walk", "way"),
    [
        (("mem_cgroup_iter", "memory_stat_show"), ("walk", 37)),
        (("mem_cgroup_iter", "shrink_node", "try_to_free_pages", "__alloc_pages_slowpath"), None),
        (("mem_cgroup_iter", "shrink_node", "try_to_free_pages", "memory_stat_show"), None),
        (("tree_stat",), ("walk", 37)),
    ],
)
def test_a_read_walks_all_cgroups_where_that_walk_is_its_own(
    walk: tuple[str, ...], way: tuple[str, int] | None
) -> None:
    """Whoever looks for memory to free walks them too."""
    reads = READS.match(walk[-1]) is not None
    seen = [stack("memory_stat_format", "memory_stat_show", samples=36 if reads else 37), stack(*walk, samples=1)]
    assert memory_stat_by(seen, irqs_off=False) == way


@pytest.mark.parametrize(
    ("functions", "waits"),
    [
        (("native_queued_spin_lock_slowpath", "_raw_spin_lock", "show"), True),
        (("pv_native_safe_halt", "kvm_wait", "__pv_queued_spin_lock_slowpath", "_raw_spin_lock_irq", "show"), True),
        (("queued_write_lock_slowpath", "show"), True),
        (("_raw_spin_unlock_irqrestore", "__mod_memcg_lruvec_state", "__mod_lruvec_page_state"), True),
        ((None, "_raw_spin_lock", "show"), True),
        (("_raw_spin_unlock_irqrestore", "memory_stat_format.constprop.0"), False),
        (("show", "_raw_spin_lock"), False),
        (("__mod_lruvec_page_state", "__mod_memcg_lruvec_state"), False),
        ((None,), False),
        ((), False),
    ],
)
def test_whoever_was_met_in_the_wait_for_a_lock_is_known(functions: tuple[str | None, ...], waits: bool) -> None:
    assert waits_for_lock(stack(*functions)) is waits


def test_only_the_innermost_function_says_that_interrupts_come_back_on() -> None:
    seen = [stack("_raw_spin_unlock_irqrestore", "show", samples=3), stack("show", "_raw_spin_unlock_irq"), stack(None)]
    assert where_enabled([*seen, stack("arch_local_irq_enable", samples=2), stack("_raw_spin_unlock_bh")]) == 5


def test_a_read_without_interrupts_adds_up_where_it_does_not_walk() -> None:
    read, walk = stack("memory_stat_format.constprop.0", samples=3), stack("mem_cgroup_iter", "memcg_stat_show")
    assert [memory_stat_by([read], irqs_off=off) for off in (True, False)] == [("flush", 3), None]
    assert memory_stat_by([walk], irqs_off=True) == ("walk", 1)
    assert memory_stat_by([stack("show")], irqs_off=True) is None
    reclaims = stack("shrink_node", "try_to_free_pages", "seq_read_iter", "memcg_stat_show")
    assert memory_stat_by([reclaims], irqs_off=True) is None


@given(stacks, st.floats(0.1, 1))
def test_any_stacks_have_a_function_or_none(seen: list[Stack], share: float) -> None:
    found = common_function(seen, share)
    if found is not None:
        assert 0 <= found[1] <= found[2] == sum(s.samples for s in seen)
        assert any(found[0] in s.functions for s in seen)
    assert len(path_of(seen, 2)) <= 2
