"""A real containerd node for the session, and pods on it for a test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # gRPC's fork handlers complain about every subprocess

from .node import CNI_PLUGINS, NEEDED_PROGRAMS, Node
from .pods import MakePod, Pods


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """containerd with CRI, ready to run pods; skips with the reason where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("containers need root")
    missing = [program for program in NEEDED_PROGRAMS if shutil.which(program) is None]
    missing += [plugin for plugin in ("bridge", "host-local", "loopback") if not (CNI_PLUGINS / plugin).exists()]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    made = Node(tmp_path_factory.mktemp("node"))
    try:
        made.prepare()
        yield made
    finally:
        made.stop()


@pytest.fixture
def pod(node: Node) -> Iterator[MakePod]:
    """Makes real pods: pod(name, ns="shop", containers={"app": argv}, host_network=False, cgroup_style="cgroupfs")."""
    pods = Pods(node)
    try:
        yield pods
    finally:
        pods.remove()
