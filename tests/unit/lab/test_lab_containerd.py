"""Real pods: the image that is made by hand, what a container sees of the host, and what is missing here."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from lab import containerd
from lab.images import BUSYBOX, archive


def read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file
    return file.read()


def test_an_image_is_an_archive_whose_digests_lead_from_its_name_to_its_program(tmp_path: Path) -> None:
    archive(tmp_path / "image.tar", BUSYBOX, b"a program")
    with tarfile.open(tmp_path / "image.tar") as tar:
        (entry,) = json.loads(read(tar, "index.json"))["manifests"]
        manifest = json.loads(read(tar, "blobs/" + entry["digest"].replace(":", "/")))
        for blob in (entry, manifest["config"], *manifest["layers"]):
            content = read(tar, "blobs/" + blob["digest"].replace(":", "/"))
            assert (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}") == (blob["size"], blob["digest"])
        layer = read(tar, "blobs/" + manifest["layers"][0]["digest"].replace(":", "/"))
    assert entry["annotations"] == {"io.containerd.image.name": BUSYBOX}
    with tarfile.open(fileobj=io.BytesIO(layer)) as root:
        assert read(root, "busybox") == b"a program"
        assert root.getmember("busybox").mode == 0o755
        assert {"dev", "proc", "sys", "tmp"} <= {*root.getnames()}


def test_what_is_missing_is_said_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bridge").touch()
    monkeypatch.setattr(containerd, "PLUGINS", tmp_path)
    monkeypatch.setattr(containerd, "PROGRAMS", ("sh", "no-such-program"))
    monkeypatch.setattr(containerd, "MODULES", ("json", "no_such_module"))
    said = ["no-such-program", "CNI plugin host-local", "CNI plugin loopback", "Python module no_such_module"]
    assert containerd.missing() == said


@pytest.mark.parametrize(
    ("root", "prefix", "base", "mounted"),
    [
        ("/srv/tree", "/srv/tree/.venv", "/opt/python", ["/srv/tree", "/opt/python"]),
        ("/srv/tree", "/usr", "/usr", ["/srv/tree"]),
        ("/opt/lab", "/opt/venv", "/usr", ["/opt/lab", "/opt/venv"]),
    ],
)
def test_a_container_sees_this_python_and_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, root: str, prefix: str, base: str, mounted: list[str]
) -> None:
    monkeypatch.setattr(containerd, "ROOT", Path(root))
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr(sys, "base_prefix", base)
    assert containerd.mounts() == [*containerd.HOST_DIRECTORIES, *mounted]


def test_the_guard_takes_down_who_is_known_by_the_socket_and_the_directories_that_were_made(tmp_path: Path) -> None:
    made, shared, socket = tmp_path / "made", tmp_path / "shared", tmp_path / "containerd.sock"
    made.mkdir()
    (shared / "of-somebody-else").mkdir(parents=True)
    waits = "import time; time.sleep(1000)"
    shim = subprocess.Popen([sys.executable, "-c", waits, "-address", str(socket)])
    other = subprocess.Popen([sys.executable, "-c", waits, "-address", str(tmp_path / "other.sock")])
    try:
        containerd.take_down([("socket", str(socket)), ("directory", str(made))])
        containerd.take_down([("directory", str(shared))])
        assert (shim.wait(), other.poll()) == (-9, None)
        assert (made.exists(), shared.exists()) == (False, True)
    finally:
        for process in (shim, other):
            process.kill()
            process.wait()
