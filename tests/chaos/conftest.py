"""The true fault, there for all scenes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.stage import Stage
from tests.chaos.left_behind import NoSuchSystemCallError, bpf_ids
from tests.chaos.scene import Leak


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.root)


@pytest.fixture(scope="session", autouse=True)
def possible() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        list(bpf_ids("program"))
    except (OSError, NoSuchSystemCallError) as error:
        pytest.skip(f"BPF objects cannot be counted here: {error}")


@pytest.fixture(scope="session")
def leak() -> Iterator[Leak]:
    stage = Stage()
    try:
        yield Leak(stage)
    finally:
        stage.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """What belongs to one scene only."""
    made = Stage()
    try:
        yield made
    finally:
        made.close()
