"""What a cgroup path says about its owner: container, pod, systemd unit. Pure.

Names follow kubernetes pkg/kubelet/cm (kubepods, QoS class, pod<uid>), containerd's CRI plugin, moby, podman, CRI-O and
systemd (src/basic/cgroup-util.c). Whoever may make cgroups chooses their names, so a name counts only where its owner
could not have chosen it:

- inside a container, names are the container's: the outermost pod's container is the one, else the outermost container;
- inside a user's session, names are the user's: pods and bare ids do not count there;
- inside a unit, names are the unit's: only the user manager (user@1000.service) holds other units.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from whodunnet.kernel.procfs.process import CgroupLine

_ID: Final = re.compile(r"[0-9a-f]{64}")
_UID: Final = r"([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})"
_POD: Final = re.compile(rf"pod{_UID}")
_POD_SLICE: Final = re.compile(rf"(?:[a-z]+-)*kubepods(?:-besteffort|-burstable)?-pod{_UID}\.slice")
_KUBEPODS: Final = {"kubepods", "besteffort", "burstable"}
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}\.(?:service|scope)")
_USER_MANAGER: Final = re.compile(r"user@\d+\.service")

_RUNTIME_BY_PREFIX: Final = {
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "docker": "docker",
    "libpod": "podman",
    "crio": "cri-o",
}
_RUNTIME_BY_PARENT: Final = {"docker": "docker", "k8s.io": "containerd"}
_ROOTLESS_PREFIXES: Final = {"docker", "libpod"}
_ORDER: Final = ("memory", "pids", "name=systemd", "")
_UNIT_ORDER: Final = ("name=systemd", "")


class CgroupOwner(msgspec.Struct, frozen=True, kw_only=True):
    """What a path says. path: as the kernel wrote it (hostile). pod_uid: with dashes, or 32 digits for a static pod.

    runtime: "containerd", "docker", "podman", "cri-o", or None where the name is one that several runtimes use.
    unit: only where there is no container.
    """

    path: str
    container: str | None = None
    runtime: str | None = None
    pod_uid: str | None = None
    unit: str | None = None


def find_owner(lines: Iterable[CgroupLine]) -> CgroupOwner:
    """The owner by the hierarchies of one process: the first to name a container, else a pod, else a unit."""
    by_controller = {name: line.path for line in lines for name in line.controllers or ("",)}
    ordered = sorted(by_controller, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    owners = [parse_path(path) for path in dict.fromkeys(by_controller[name] for name in ordered)]
    named = [o for o in owners if o.container] or [o for o in owners if o.pod_uid]
    if named:
        return named[0]
    with_unit = [parse_path(by_controller[name]) for name in _UNIT_ORDER if name in by_controller]
    return next((o for o in (*with_unit, *owners) if o.unit), owners[0] if owners else CgroupOwner(path="/"))


def parse_path(path: str) -> CgroupOwner:
    """What one cgroup path says. Never raises: a name that is not well-formed says nothing."""
    # "kubepods-….slice:cri-containerd:<id>" is what runc makes of a systemd path without its systemd driver.
    names = [word for name in path.split("/") if name not in ("", ".", "..") for word in _split_colons(name)]
    trusted = _before_session(names)
    pod = next(((n, uid) for n in range(len(trusted)) if (uid := _pod_uid(trusted, n))), None)
    if pod is not None:
        identifier, runtime = _container(trusted, pod[0] + 1)
        return CgroupOwner(path=path, container=identifier, runtime=runtime, pod_uid=pod[1])
    for position in range(len(names)):
        identifier, runtime = _container(names, position, in_session=position >= len(trusted))
        if identifier is not None:
            return CgroupOwner(path=path, container=identifier, runtime=runtime)
    return CgroupOwner(path=path, unit=_unit(names))


def _split_colons(name: str) -> list[str]:
    """The two names that systemd would have made of "a.slice:cri-containerd:<id>"."""
    words = name.split(":")
    return [words[0], f"{words[1]}-{words[2]}.scope"] if len(words) == 3 and words[0].endswith(".slice") else [name]


def _before_session(names: list[str]) -> list[str]:
    """The names that no ordinary user chose."""
    for position, name in enumerate(names):
        if name == "user.slice" or _USER_MANAGER.fullmatch(name):
            return names[:position]
    return names


def _pod_uid(names: list[str], position: int) -> str | None:
    """The pod's uid if the name at this position is a pod's."""
    match = _POD_SLICE.fullmatch(names[position])
    if match is None and position > 0 and names[position - 1] in _KUBEPODS:
        match = _POD.fullmatch(names[position])
    return match[1].replace("_", "-") if match else None


def _container(names: list[str], position: int, in_session: bool = False) -> tuple[str | None, str | None]:
    """Container id and runtime if the name at this position is a container's."""
    name = names[position] if position < len(names) else ""
    prefix, dash, identifier = name.removesuffix(".scope").rpartition("-")
    if _ID.fullmatch(identifier) is None or (in_session and prefix not in _ROOTLESS_PREFIXES):
        return None, None
    if dash:
        return (identifier, _RUNTIME_BY_PREFIX[prefix]) if prefix in _RUNTIME_BY_PREFIX else (None, None)
    return identifier, _RUNTIME_BY_PARENT.get(names[position - 1]) if position else None


def _unit(names: list[str]) -> str | None:
    """The outermost unit, or the outermost one that a user manager runs."""
    found = None
    for name in names:
        unit = name.removeprefix("_")  # systemd's escape for names that the kernel might want (cg_escape)
        if _UNIT.fullmatch(unit):
            found = unit
            if not _USER_MANAGER.fullmatch(unit):
                break
    return found
