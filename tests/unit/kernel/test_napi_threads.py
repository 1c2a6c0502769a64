from pathlib import Path

import pytest

from whodunnet.errors import UnreadableError
from whodunnet.kernel.napi_threads import THREADS_MAX, read_napi_threads
from whodunnet.kernel.roots import Roots

KERNEL, USER = 0x00208040, 0x00400000
"""The flags of a thread of the kernel, and of a process (PF_KTHREAD, include/linux/sched.h)."""


def stat(pid: int, name: str, flags: int) -> str:
    return f"{pid} ({name}) S 2 0 0 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 33 0 0\n"


def machine(root: Path, children: str | None, names: dict[int, str], users: tuple[int, ...] = ()) -> Roots:
    for pid, name in names.items():
        (root / f"proc/{pid}").mkdir(parents=True)
        (root / f"proc/{pid}/comm").write_text(f"{name}\n")
        (root / f"proc/{pid}/stat").write_text(stat(pid, name, USER if pid in users else KERNEL))
    if children is not None:
        (root / "proc/2/task/2").mkdir(parents=True)
        (root / "proc/2/task/2/children").write_text(children)
    return Roots.below(root)


NAMES = {3: "ksoftirqd/0", 40: "napi/eth0-1", 41: "backlog_napi/1", 99: "napi/me"}


def test_threads_are_found_among_the_children_of_kthreadd(tmp_path: Path) -> None:
    assert read_napi_threads(machine(tmp_path, "3 40 41 77 ", NAMES)) == (40, 41)


def test_without_a_list_of_children_all_processes_are_looked_at(tmp_path: Path) -> None:
    assert read_napi_threads(machine(tmp_path, None, NAMES)) == (40, 41, 99)


@pytest.mark.parametrize("children", [None, "40 41 99"])
def test_a_process_that_calls_itself_like_one_is_none(tmp_path: Path, children: str | None) -> None:
    """In a pid namespace of its own a process may also be the child of number 2."""
    assert read_napi_threads(machine(tmp_path, children, NAMES, users=(99,))) == (40, 41)


def test_a_number_that_is_no_pid_is_none(tmp_path: Path) -> None:
    assert read_napi_threads(machine(tmp_path, f"40 {'9' * 5_000}", NAMES)) == (40,)


def test_one_that_ended_meanwhile_is_none(tmp_path: Path) -> None:
    roots = machine(tmp_path, "40 41", NAMES)
    (roots.proc / "40/stat").unlink()
    assert read_napi_threads(roots) == (41,)


def test_a_procfs_that_cannot_be_listed_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=r"/proc does not exist here"):
        read_napi_threads(Roots.below(tmp_path))


def test_no_more_than_fit_are_watched(tmp_path: Path) -> None:
    many = dict.fromkeys(range(1, THREADS_MAX + 10), "napi/eth0-1")
    assert len(read_napi_threads(machine(tmp_path, None, many))) == THREADS_MAX
