"""conmon, the parent of each container of podman and CRI-O: its arguments say where that container's state is.

Arguments: conmon(8). -c container id, -u id of the container or of one exec session in it, -n name, -b bundle, -p file
of the first process's id.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from whodunnet.attribution.places import on_machine
from whodunnet.attribution.processes import ROOT, Processes

DRIVERS: Final = ("overlay", "vfs", "btrfs", "zfs", "aufs", "devicemapper")
_CONMON: Final = "conmon"
_OPTIONS: Final = {"-c": "container", "-u": "session", "-n": "name", "-b": "bundle", "-p": "pid_file"}
_LONG: Final = {"--cid": "-c", "--cuuid": "-u", "--name": "-n", "--bundle": "-b", "--container-pidfile": "-p"}


class Conmon(msgspec.Struct, frozen=True, kw_only=True):
    """One conmon's own arguments. first_pid: of the container; None if this conmon is an exec session's."""

    container: str
    name: str | None = None
    bundle: Path | None = None
    first_pid: int | None = None

    @property
    def directory(self) -> Path | None:
        """The directory of all containers: <storage>/<driver>-containers of .../<id>/userdata[/<session>]."""
        parents = self.bundle.parents if self.bundle else ()
        return next((path.parent for path in parents if path.name == self.container), None)


def find_conmon(processes: Processes, container: str, pid: int, uid: int = ROOT) -> Conmon | None:
    """The conmon of that user that runs a container in which `pid` is; what it says is that user's word."""
    found = processes.outermost(pid, lambda stat: stat.comm == _CONMON and processes.runs(stat.pid, _CONMON, uid))
    if found is None:
        return None
    given = dict(own_options(processes.command(found)))
    if given.get("container") != container:
        return None
    is_exec = given.get("session", container) != container
    return Conmon(
        container=container,
        name=given.get("name"),
        bundle=on_machine(processes.roots, given.get("bundle", "")),
        first_pid=None if is_exec else processes.child_towards(found, pid),
    )


def own_options(command: list[str]) -> Iterator[tuple[str, str]]:
    """The options we know, before those that conmon passes on (--exit-command, --runtime-arg)."""
    words = iter(command[1:])
    for word in words:
        if word.startswith("--exit-command"):
            return
        if word.startswith("--runtime-arg") and "=" not in word:
            next(words, None)
            continue
        name, equals, value = word.partition("=")
        option = _OPTIONS.get(_LONG.get(name, name))
        if option is not None:
            yield option, value if equals else next(words, "")
