"""Settings of a copied machine: files below proc/sys, else what `sysctl -a` printed."""

from __future__ import annotations

import re
from typing import Final

from whodunnet.errors import UnreadableError
from whodunnet.kernel.tree.files import Tree

PRINTED: Final = "sos_commands/kernel/sysctl_-a"
LIMIT_BYTES: Final = 16 << 20
"""A kernel has a dozen settings for each network device."""
_LINE: Final = re.compile(r"([A-Za-z0-9_][^\s=]{0,255}) = (.{0,1024})")


def parse_printed(data: bytes) -> dict[str, str]:
    """Values by name, with a "/" for a dot in the name of a device; lines of other form are passed over."""
    lines = data.decode(errors="replace").split("\n")
    return {match[1]: match[2].strip() for line in lines if (match := _LINE.fullmatch(line))}


class Sysctls:
    """Of one network namespace, and of the whole kernel where it is the first one."""

    def __init__(self, tree: Tree, printed: tuple[str, ...] = (PRINTED,), *, files: bool = True) -> None:
        """printed: where the output of sysctl -a may be. files: whether those below proc/sys are of this namespace."""
        self._tree = tree
        self._files = files
        try:
            path, data = tree.first(*printed, limit=LIMIT_BYTES)
            self.source: str | None = path
            self._printed = parse_printed(data)
        except UnreadableError:
            self.source, self._printed = None, {}

    @property
    def known(self) -> bool:
        """Whether the machine's settings were copied as a whole, so that one that is missing does not exist."""
        return bool(self._printed)

    def text(self, name: str) -> str | None:
        """The value of "net.core.somaxconn", None where the tree does not tell."""
        if self._files:
            try:
                return self._tree.read(f"proc/sys/{name.replace('.', '/')}").decode(errors="replace").strip()
            except UnreadableError:
                pass
        return self._printed.get(name)

    def names(self, prefix: str) -> list[str]:
        """Names that begin so, as far as they were printed."""
        return sorted(name for name in self._printed if name.startswith(prefix))
