"""A tree, its machine, and its network namespaces by numbers of our own: copied files do not tell the kernel's."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from whodunnet.errors import UnreadableError
from whodunnet.kernel.tree.files import Tree
from whodunnet.kernel.tree.machine import Machine, read_machine
from whodunnet.kernel.tree.sysctls import Sysctls

OWN: Final = 1
"""The namespace of the machine itself; no kernel gives so small a number to any."""
NAMESPACES_MAX: Final = 4096
COMMANDS: Final = "sos_commands/networking"
_LISTED: Final = f"{COMMANDS}/ip_netns"
_NAME: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.@-]{0,127})(?: \(id: \d{1,10}\))?\s*")


class Named(msgspec.Struct, frozen=True):
    """A namespace with a name in `ip netns`, and our number for it."""

    number: int
    name: str

    def printed(self, command: str) -> tuple[str, str]:
        """Where the output of a command in it may be, as sos calls and places its files of old and of late."""
        file = f"ip_netns_exec_{self.name}_{command}"
        return f"{COMMANDS}/{file}", f"{COMMANDS}/namespaces/{self.name}/{file}"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """named: namespaces beside the machine's own. unnamed: listed, but by no name that a file can have."""

    tree: Tree
    machine: Machine
    sysctls: Sysctls
    named: tuple[Named, ...] = ()
    unnamed: int = 0

    def net(self, name: str) -> tuple[str, ...]:
        """Where a file of /proc/net may be: there are trees without the links."""
        return f"proc/net/{name}", f"proc/self/net/{name}", f"proc/1/net/{name}"

    def unread(self, read: int) -> int:
        """Namespaces that are known, less those that were read."""
        return max(1 + len(self.named) + self.unnamed - read, 0)


def find_place(tree: Tree) -> Place:
    """Whatever the tree says of where it is from."""
    sysctls = Sysctls(tree)
    named, unnamed = _named(tree)
    return Place(tree=tree, machine=read_machine(tree, sysctls), sysctls=sysctls, named=named, unnamed=unnamed)


def _named(tree: Tree) -> tuple[tuple[Named, ...], int]:
    try:
        lines = tree.read(_LISTED).decode(errors="replace").split("\n")
    except UnreadableError:
        return (), 0
    listed = [line for line in lines if line.strip() and not line.startswith("Object ")]
    names = dict.fromkeys(match[1] for line in listed if (match := _NAME.fullmatch(line)))
    kept = list(names)[:NAMESPACES_MAX]
    return tuple(Named(OWN + 1 + n, name) for n, name in enumerate(kept)), len(listed) - len(kept)
