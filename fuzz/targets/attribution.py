"""What runtimes and processes write, some of it on purpose to mislead (whodunnet.attribution)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from fuzz.scratch import joined, write_pieces
from fuzz.target import Target, sourced, text_target
from whodunnet.attribution import (
    cgroups,
    conmon,
    containerd,
    crio,
    docker,
    kubelet,
    machines,
    notes,
    places,
    podman,
    runc,
    runtimes,
)
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.process import parse_cgroup
from whodunnet.kernel.roots import Roots

_ID: Final = "933d6619" * 8
_UID: Final = "285d27fb-34ca-4985-8fb1-57abb1c51319"
_POD_PATH: Final = f"/kubepods.slice/kubepods-pod{_UID.replace('-', '_')}.slice/cri-containerd-{_ID}.scope"
_PATHS: Final = (
    _POD_PATH, f"/kubepods/besteffort/pod{_UID}/{_ID}", f"/system.slice/docker-{_ID}.scope", "/lxc.payload.web/init",
    f"/user.slice/user-1000.slice/user@1000.service/app.slice/libpod-{_ID}.scope",
    "/machine.slice/machine-a\\x2db.scope", f"/machine.slice/libpod-{_ID}.scope",
    f"/kubepods-pod{_UID.replace('-', '_')}.slice:cri-containerd:{_ID}", "/system.slice/ssh.service",
    "/machine.slice/systemd-nspawn@web.service/payload",
)  # fmt: skip
_DOCKER: Final = {
    "State": {"Pid": 14731, "StartedAt": "2026-11-21T05:21:26.503461135Z"}, "Name": "/web", "ID": _ID,
    "Config": {"Image": "app:1", "Labels": {
        "io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": _UID,
        "io.kubernetes.container.name": "app", "annotation.kubernetes.io/config.source": "file"}},
}  # fmt: skip
_CRI: Final = "io.kubernetes.cri.sandbox"
_CONTAINERD: Final = {"annotations": {
    f"{_CRI}-namespace": "shop", f"{_CRI}-name": "web-0", f"{_CRI}-log-directory": "/var/log/pods/shop_web-0_5c1d2e3f",
}}  # fmt: skip
_PODMAN: Final = [{"id": _ID, "names": ["web"], "metadata": json.dumps({"name": "web", "image-name": "app:1"})}]
_RUNC: Final = {
    "id": "web", "init_process_pid": 7, "init_process_start": 500,
    "cgroup_paths": {"": "/sys/fs/cgroup/web", "memory": "/sys/fs/cgroup/memory/web"},
}  # fmt: skip
_MACHINE: Final = (
    "NAME=web\nSCOPE=machine-web.scope\nSERVICE=systemd-nspawn\nREALTIME=1795353953000000\n",
    'NAME=web\nUNIT="systemd-nspawn@web.service"\nSERVICE=systemd-nspawn\nREALTIME=99999999999999999999\n',
)
_PASSWD: Final = b"root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n"
_NAME_MAX: Final = 255
_STAT: Final = b"7 (conmon) S 1 " + b"0 " * 17 + b"500 0 0\n"
_FILES: Final = (
    "proc/7/cgroup", "proc/7/stat", "proc/7/status", "proc/7/cmdline", "proc/stat", "proc/self/mountinfo", "etc/passwd",
    "etc/docker/daemon.json", "run/docker.pid", f"var/lib/docker/containers/{_ID}/config.v2.json",
    f"home/me/.local/share/docker/containers/{_ID}/config.v2.json", f"run/crio/{_ID}/config.json",
    f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{_ID}/config.json", "run/runc/web/state.json",
    "var/lib/containers/storage/overlay-containers/containers.json", "run/systemd/machines/web",
)  # fmt: skip


def _whole(path: str) -> bytes:
    """A machine with one process in that cgroup, of which every runtime knows."""
    return joined(
        f"0::{path}\n".encode(), _STAT, b"Uid:\t1000\t1000\t1000\t1000\n", f"conmon\0-c\0{_ID}\0-n\0web\0".encode(),
        b"cpu 0\nbtime 1700000000\n", b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", _PASSWD,
        b'{"data-root": "/var/lib/docker"}', b"7",
        *(json.dumps(form).encode() for form in (_DOCKER, _DOCKER, {}, {}, _RUNC, _PODMAN)), _MACHINE[0].encode(),
    )  # fmt: skip


def _attribute(data: bytes) -> object:
    """One process, of a machine whose files are the pieces of the input."""
    with TemporaryDirectory() as place:
        top = Path(place)
        write_pieces(top, _FILES, data)
        lines = parse_cgroup(data.partition(b"\n")[0], "source")
        if (top / "proc/7").is_dir():
            (top / "proc/7/exe").symlink_to("/usr/bin/conmon")
        return runtimes.Runtimes(Roots.below(top)).attribute(lines, 7)


def _read_places(data: bytes) -> None:
    with TemporaryDirectory() as place:
        top = Path(place)
        write_pieces(top, ("etc/passwd", "proc/self/mountinfo", "name"), data)
        roots = Roots.below(top)
        home = places.read_passwd_home(roots, 1000)
        places.on_machine(roots, home or "")
        places.read_users_file(roots, top / "name", os.getuid(), 64)


def _list_logs(text: str) -> object:
    """A name below /var/log/pods and below /var/log/containers."""
    name = text.replace("/", "").replace("\0", "").strip(".")
    name = name if 0 < len(os.fsencode(name)) < _NAME_MAX else "x"
    with TemporaryDirectory() as place:
        logs = Path(place) / "var/log"
        for directory in (logs / "pods", logs / "containers"):
            (directory / name).mkdir(parents=True)
        logged = kubelet.Kubelet(Roots.below(Path(place)))
        return logged.container(_ID, logged.pod(_UID))


def _parse_path(path: str) -> None:
    cgroups.parse_path(path)
    cgroups.machine_of_scope(path)


def _read_command(data: bytes) -> object:
    words = [os.fsdecode(word) for word in data.split(b"\0")]
    return dict(conmon.own_options(words)), list(docker.options(words, ("--data-root", "-g")))


def _attribute_lines(data: bytes) -> object:
    return cgroups.find_owner(parse_cgroup(data, "source"))


TARGETS: Final = (
    text_target("attribution-path", _parse_path, _PATHS, raises=(), max_bytes=1024),
    Target(name="attribution-owner", run=_attribute_lines, files=("nodes/*/proc/[0-9]*/cgroup",)),
    Target(name="attribution-command", run=_read_command, raises=(), files=("nodes/*/proc/*/cmdline",),
           seeds=(b"dockerd\0--data-root=/mnt\0-g\0/x", b"conmon\0--runtime-arg\0-c\0--exec-command-arg=x"),
           max_bytes=2048),
    Target(name="attribution-containerd", run=sourced(containerd.parse_config),
           files=("nodes/containerd*/**/config.json",), seeds=(json.dumps(_CONTAINERD).encode(),)),
    Target(name="attribution-crio", run=sourced(crio.parse_config), files=("nodes/crio*/**/config.json",)),
    Target(name="attribution-docker", run=lambda data: docker.parse_config(data, "source", _UID),
           seeds=(json.dumps(_DOCKER).encode(),)),
    text_target("attribution-logs", _list_logs, (f"shop_web-0_{_UID}", f"web-0_shop_app-{_ID}.log"), raises=(),
                max_bytes=256),
    Target(name="attribution-machine", run=machines.parse_machine, raises=(), max_bytes=1024,
           seeds=tuple(text.encode() for text in _MACHINE)),
    Target(name="attribution-pid", run=sourced(notes.parse_pid), seeds=(b"14731\n",), max_bytes=32),
    text_target("attribution-time", notes.parse_time, (
        "2026-11-21T05:21:26.503461135Z", "0001-01-01T00:00:00Z", "0002-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-01:00",
    ), raises=(), max_bytes=64),
    Target(name="attribution-places", run=_read_places, raises=(UnreadableError,), max_bytes=1024,
           seeds=(joined(_PASSWD, b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", b"text"),)),
    Target(name="attribution-podman", run=sourced(podman.parse_list), seeds=(json.dumps(_PODMAN).encode(),)),
    Target(name="attribution-runc", run=sourced(runc.parse_state), seeds=(json.dumps(_RUNC).encode(),)),
    Target(name="attribution-whole", run=_attribute, raises=(MalformedError,), max_bytes=16_384, weight=4,
           seeds=tuple(map(_whole, _PATHS))),
)  # fmt: skip
