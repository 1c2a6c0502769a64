"""A container image made by hand as an OCI archive: no registry, no network.

Format: https://github.com/opencontainers/image-spec (image-layout.md, manifest.md, config.md, layer.md).
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

BUSYBOX = "whodunnet.lab/busybox:1"
DIRECTORIES = ("dev", "etc", "proc", "sys", "tmp")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PROGRAM_MODE, FILE_MODE = 0o755, 0o644


def archive(path: Path, reference: str, program: bytes) -> None:
    """One image of one layer, which holds one static program, /busybox; it sleeps if not told otherwise."""
    blobs: dict[str, bytes] = {}
    layer = root_of(program)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(blobs, "application/vnd.oci.image.config.v1+json", json.dumps(configuration(layer)).encode()),
        "layers": [blob(blobs, "application/vnd.oci.image.layer.v1.tar", layer)],
    }
    entry = blob(blobs, "application/vnd.oci.image.manifest.v1+json", json.dumps(manifest).encode())
    index = {"schemaVersion": 2, "manifests": [{**entry, "annotations": {"io.containerd.image.name": reference}}]}
    with tarfile.open(path, "w") as tar:
        add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}', FILE_MODE)
        add(tar, "index.json", json.dumps(index).encode(), FILE_MODE)
        for name, content in blobs.items():
            add(tar, name, content, FILE_MODE)


def configuration(layer: bytes) -> dict[str, object]:
    return {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {
            "Entrypoint": ["/busybox", "sleep", "1000000"],
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"],
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    }


def root_of(program: bytes) -> bytes:
    """The layer, uncompressed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in DIRECTORIES:
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, PROGRAM_MODE
            tar.addfile(directory)
        add(tar, "busybox", program, PROGRAM_MODE)
    return buffer.getvalue()


def blob(blobs: dict[str, bytes], media_type: str, content: bytes) -> dict[str, str | int]:
    """Put it among the blobs, and give the descriptor that leads to it."""
    name = digest(content)
    blobs["blobs/" + name.replace(":", "/")] = content
    return {"mediaType": media_type, "digest": name, "size": len(content)}


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
