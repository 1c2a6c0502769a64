from pathlib import Path

from whodunnet.kernel.napi_threads import THREADS_MAX, read_napi_threads
from whodunnet.kernel.roots import Roots


def machine(root: Path, children: str | None, names: dict[int, str]) -> Roots:
    for pid, name in names.items():
        (root / f"proc/{pid}").mkdir(parents=True)
        (root / f"proc/{pid}/comm").write_text(f"{name}\n")
    if children is not None:
        (root / "proc/2/task/2").mkdir(parents=True)
        (root / "proc/2/task/2/children").write_text(children)
    return Roots.below(root)


NAMES = {3: "ksoftirqd/0", 40: "napi/eth0-1", 41: "backlog_napi/1", 99: "napi/me"}


def test_threads_are_found_among_the_children_of_kthreadd(tmp_path: Path) -> None:
    assert read_napi_threads(machine(tmp_path, "3 40 41 77 ", NAMES)) == (40, 41)


def test_without_a_list_of_children_all_processes_are_looked_at(tmp_path: Path) -> None:
    assert read_napi_threads(machine(tmp_path, None, NAMES)) == (40, 41, 99)


def test_no_more_than_fit_are_watched(tmp_path: Path) -> None:
    many = dict.fromkeys(range(1, THREADS_MAX + 10), "napi/eth0-1")
    assert len(read_napi_threads(machine(tmp_path, None, many))) == THREADS_MAX
