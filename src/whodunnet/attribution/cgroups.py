"""What a cgroup path says about its owner: container, pod, systemd unit. Pure.

Names follow kubernetes pkg/kubelet/cm (kubepods, QoS class, pod<uid>), containerd's CRI plugin, moby, podman, CRI-O and
systemd (src/basic/cgroup-util.c). Whoever may make cgroups chooses their names, so a name counts only where its owner
could not have chosen it:

- inside a container, names are the container's: the outermost pod's container is the one, else the outermost container;
- inside a machine of nspawn or LXC, which may make cgroups, pods and containers are its own, and do not count;
- inside a user's session, names are the user's: pods, machines and bare ids do not count there;
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
_USER_MANAGER: Final = re.compile(r"user@(\d{1,10})\.service")

_RUNTIME_BY_PREFIX: Final = {
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "docker": "docker",
    "libpod": "podman",
    "libpod-payload": "podman",
    "crio": "cri-o",
}
_RUNTIME_BY_PARENT: Final = {"docker": "docker", "k8s.io": "containerd"}
_ROOTLESS_PREFIXES: Final = {"docker", "libpod", "libpod-payload"}
_MACHINE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MACHINE_SCOPE: Final = re.compile(r"machine-(.{1,255})\.scope")
_NSPAWN_SERVICE: Final = re.compile(r"systemd-nspawn@(.{1,255})\.service")
_NSPAWN_INSIDE: Final = {"payload", "init.scope", "system.slice", "user.slice"}  # not "supervisor" nor "control"
_LXC_OUTSIDE: Final = {"monitor", "payload", "pivot"}
_ESCAPED: Final = re.compile(r"\\x([0-7][0-9a-f])")
_USER_SLICE: Final = re.compile(r"user-(\d{1,10})\.slice")
_ORDER: Final = ("memory", "pids", "name=systemd", "")
_UNIT_ORDER: Final = ("name=systemd", "")


class CgroupOwner(msgspec.Struct, frozen=True, kw_only=True):
    """What a path says. path: as the kernel wrote it (hostile). pod_uid: with dashes, or 32 digits for a static pod.

    container: 64 hexadecimal digits, or the name of a machine of "nspawn" or "lxc".
    runtime: those two, "containerd", "docker", "podman", "cri-o", or None where several runtimes use such a name.
    in_session: the container's name is the choice of a user, whose id is `user` where the path says so.
    unit: only where there is no container.
    """

    path: str
    container: str | None = None
    runtime: str | None = None
    pod_uid: str | None = None
    in_session: bool = False
    user: int | None = None
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
    outside = _before_machine(trusted)
    pod = next(((n, uid) for n in range(len(outside)) if (uid := _pod_uid(outside, n))), None)
    if pod is not None:
        identifier, runtime = _container(outside, pod[0] + 1)
        return CgroupOwner(path=path, container=identifier, runtime=runtime, pod_uid=pod[1])
    for position in range(len(names) if outside == trusted else len(outside)):
        in_session = position >= len(trusted)
        identifier, runtime = _container(names, position, in_session)
        if identifier is not None:
            user = _session_user(names[len(trusted) :]) if in_session else None
            return CgroupOwner(path=path, container=identifier, runtime=runtime, in_session=in_session, user=user)
    identifier, runtime = _machine(trusted, len(outside)) or (None, None)
    return CgroupOwner(path=path, container=identifier, runtime=runtime, unit=None if identifier else _unit(names))


def machine_of_scope(path: str) -> str | None:
    """The machine's name in the path of a scope that systemd-machined made; None for any other path."""
    match = _MACHINE_SCOPE.fullmatch(path.removeprefix("/machine.slice/"))
    return _unescaped(match[1]) if match and path.startswith("/machine.slice/") else None


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


def _session_user(names: list[str]) -> int | None:
    """The user in whose session these names are: logind chose the first of them."""
    match = next(filter(None, (_USER_MANAGER.fullmatch(names[0]), *map(_USER_SLICE.fullmatch, names[1:2]))), None)
    return int(match[1]) if match else None


def _before_machine(names: list[str]) -> list[str]:
    """The names that no machine of nspawn or LXC chose."""
    return next((names[:n] for n in range(len(names)) if _machine(names, n)), names)


def _machine(names: list[str], position: int) -> tuple[str, str] | None:
    """Name and runtime if the name at this position is a machine's; within a unit it is the unit's choice."""
    name, *below = names[position:] or [""]
    inside = below[0] if below else ""
    if names[:position] == ["machine.slice"]:
        service, scope = _NSPAWN_SERVICE.fullmatch(name), _MACHINE_SCOPE.fullmatch(name)
        match = (inside in _NSPAWN_INSIDE and service) or (inside == "payload" and scope)
        return _named(_unescaped(match[1]), "nspawn") if match else None
    if any(map(_UNIT.fullmatch, names[:position])):
        return None
    if name.startswith("lxc.payload."):
        return _named(name.removeprefix("lxc.payload."), "lxc")
    if name == "lxc.payload" or (name == "lxc" and position == 0 and inside not in _LXC_OUTSIDE):
        return _named(inside, "lxc")
    return None


def _named(name: str | None, runtime: str) -> tuple[str, str] | None:
    return (name, runtime) if name and _MACHINE_NAME.fullmatch(name) else None


def _unescaped(name: str) -> str | None:
    r"""A machine's name from a unit's, where "-" is "\x2d" (unit_name_escape); None if it is none."""
    plain = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), name.replace("-", "/"))
    return plain if _MACHINE_NAME.fullmatch(plain) else None


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
