"""What `ps axo pid,ppid,user,group,lwp,nlwp,start_time,comm,cgroup` prints: the cgroups of processes by pid."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from whodunnet.kernel.procfs.process import CgroupLine
from whodunnet.model.text import clean

PRINTED: Final = "sos_commands/process/ps_axo_pid_ppid_user_group_lwp_nlwp_start_time_comm_cgroup"
LIMIT_BYTES: Final = 32 << 20
PROCESSES_MAX: Final = 65_536
LINE_MAX: Final = 65_536
_COLUMNS_BEFORE: Final = 7
_NEXT: Final = re.compile(r",(?=\d{1,5}:)")


class PrintedProcess(NamedTuple):
    """comm: cleaned. cgroups: as in /proc/<pid>/cgroup."""

    comm: str
    cgroups: tuple[CgroupLine, ...]


def parse_ps(data: bytes) -> dict[int, PrintedProcess]:
    """By pid. Lines of other form, such as those of processes without a cgroup, are passed over."""
    found: dict[int, PrintedProcess] = {}
    for line in data.decode(errors="replace").split("\n"):
        words = line.split(None, _COLUMNS_BEFORE)
        comm, _, cgroups = words[-1].rstrip().rpartition(" ") if len(words) > _COLUMNS_BEFORE else ("", "", "")
        lines = tuple(filter(None, map(_cgroup, _NEXT.split(cgroups[:LINE_MAX]))))
        if comm and lines and _is_pid(words[0]) and len(found) < PROCESSES_MAX:
            found.setdefault(int(words[0]), PrintedProcess(clean(comm.rstrip()), lines))
    return found


def _is_pid(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 10


def _cgroup(text: str) -> CgroupLine | None:
    number, _, rest = text.partition(":")
    controllers, _, path = rest.partition(":")
    if not _is_pid(number) or not path.startswith("/"):
        return None
    return CgroupLine(int(number), tuple(filter(None, controllers.split(","))), path)
