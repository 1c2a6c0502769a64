"""A machine laid out in a directory: processes and the state that runtimes keep."""

from __future__ import annotations

import json
from pathlib import Path

from whodunnet.attribution.processes import Processes
from whodunnet.kernel.roots import Roots

ID = "933d6619" * 8
OTHER = "0a1b2c3d" * 8
BOOT = 1_700_000_000
MOUNTS = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"


class Machine:
    """Writes files below `top` as they are on a machine."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.roots = Roots.below(top)
        self.write("proc/stat", f"cpu 0\nbtime {BOOT}\n")
        self.write("proc/self/mountinfo", MOUNTS)

    @property
    def processes(self) -> Processes:
        return Processes(self.roots)

    def write(self, path: str, content: str | bytes | object) -> Path:
        """A file with this text, or with this as JSON."""
        file = self.top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    def process(
        self, pid: int, comm: str = "app", parent: int = 1, argv: tuple[str, ...] = (), uid: int = 0, cgroup: str = "/"
    ) -> int:
        """A process that started 5 s after boot."""
        self.write(f"proc/{pid}/stat", f"{pid} ({comm}) S {parent} " + "0 " * 17 + "500 0 0\n")
        self.write(f"proc/{pid}/status", f"Name:\t{comm}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        self.write(f"proc/{pid}/cmdline", "".join(f"{word}\0" for word in argv))
        self.write(f"proc/{pid}/cgroup", f"0::{cgroup}\n")
        self.write(f"proc/{pid}/limits", "Max open files 1024 4096 files\n")
        (self.top / f"proc/{pid}/exe").unlink(missing_ok=True)
        (self.top / f"proc/{pid}/exe").symlink_to(f"/usr/bin/{comm}")
        return pid
