"""Container images made by hand as OCI archives: no registry, no network.

Format: https://github.com/opencontainers/image-spec (image-layout.md, manifest.md, config.md, layer.md).
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

PAUSE = "whodunnet.test/pause:1"
APP = "whodunnet.test/app:1"
HOST_MOUNTS = ("/usr", "/lib", "/lib64", "/bin")
"""Directories of the host that every application container sees read-only, so that the host's python3 runs in it."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PAUSE_SOURCE = r"""
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave(int signal) { (void)signal; _exit(0); }
static void reap(int signal) { (void)signal; while (waitpid(-1, 0, WNOHANG) > 0); }

int main(void)
{
	signal(SIGINT, leave);
	signal(SIGTERM, leave);
	signal(SIGCHLD, reap);
	for (;;)
		pause();
}
"""


def make_root_archive(path: Path) -> Path:
    """The application's root directory as a plain tar file, for `docker import`, `podman import` and unpacking."""
    path.write_bytes(_app_layer())
    return path


def unpack_root(directory: Path) -> Path:
    """The application's root directory, for programs that know no images."""
    with tarfile.open(fileobj=io.BytesIO(_app_layer())) as archive:
        archive.extractall(directory, filter="fully_trusted")
    return directory


def make_images(directory: Path) -> list[Path]:
    """The archives of the pause image and of the application image (busybox and mount points), ready to import."""
    pause, app = directory / "pause.tar", directory / "app.tar"
    _write_archive(pause, PAUSE, _layer({"pause": _compile_pause(directory)}), ["/pause"])
    _write_archive(app, APP, _app_layer(), ["/busybox", "sleep", "1000000"])
    return [pause, app]


def _app_layer() -> bytes:
    busybox = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    mount_points = tuple(path.strip("/") for path in HOST_MOUNTS)
    return _layer({"busybox": busybox, "etc/passwd": b"root:x:0:0:root:/:/bin/sh\n"}, (*mount_points, "tmp", "work"))


def _compile_pause(directory: Path) -> bytes:
    """A static program that does nothing, well: it lets itself be stopped, and reaps what it inherits."""
    source, program = directory / "pause.c", directory / "pause"
    source.write_text(_PAUSE_SOURCE)
    subprocess.run(["gcc", "-Os", "-static", "-s", "-o", str(program), str(source)], check=True)
    return program.read_bytes()


def _layer(files: Mapping[str, bytes], directories: tuple[str, ...] = ()) -> bytes:
    """An uncompressed layer: `directories`, then `files` (all executable) with the directories they need."""
    parents = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in sorted({*directories, *parents, "dev", "proc", "sys", "etc"}):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, content in files.items():
            _add(archive, name, content, 0o755)
    return buffer.getvalue()


def _write_archive(path: Path, reference: str, layer: bytes, entrypoint: list[str]) -> None:
    """One image of one layer as an OCI image layout in a tar file."""
    blobs: dict[str, bytes] = {}
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(blobs, "application/vnd.oci.image.config.v1+json", json.dumps(config).encode()),
        "layers": [_blob(blobs, "application/vnd.oci.image.layer.v1.tar", layer)],
    }
    entry = _blob(blobs, "application/vnd.oci.image.manifest.v1+json", json.dumps(manifest).encode())
    names = {"annotations": {"io.containerd.image.name": reference}}
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry | names]}).encode())
        for name, content in blobs.items():
            _add(archive, name, content)


def _blob(blobs: dict[str, bytes], media_type: str, content: bytes) -> dict[str, str | int]:
    """Store content among the blobs and return the descriptor that refers to it."""
    digest = _digest(content)
    blobs["blobs/" + digest.replace(":", "/")] = content
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
