"""One kernel after the other, each as the parameter of a whole module's tests."""

from __future__ import annotations

import os

import pytest

from . import machine, packages
from .packages import Kernel


@pytest.fixture(scope="module", params=list(packages.PACKAGES))
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """An unpacked kernel; skips with the reason where it cannot be had or run."""
    if os.geteuid() != 0:
        pytest.skip("virtual machines read the host's whole root: needs root")
    missing = machine.missing_programs()
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    try:
        return packages.kernel(request.param)
    except packages.NoKernelError as error:
        pytest.skip(str(error))
