"""The BPF walk, a namespace with sockets to be walked, and what lasts until a test is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from netns.namespace import (
    SILENT_NETWORK,
    Namespace,
)
from netns.scene import Scene
from whodunnet.kernel.bpf.socket_walk import SocketWalk
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, read_support


@pytest.fixture(scope="module")
def support() -> Support:
    return read_support(Roots())


@pytest.fixture
def walk(support: Support) -> Iterator[SocketWalk]:
    walk = SocketWalk(support)
    yield walk
    walk.close()


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace(*SILENT_NETWORK) as made:
        yield made


@pytest.fixture
def scene(namespace: Namespace) -> Scene:
    return namespace(lambda: Scene(namespace))


@pytest.fixture
def kept() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack
