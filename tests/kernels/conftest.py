"""One kernel after the other, each as the parameter of a whole module's tests."""

from __future__ import annotations

import os

import pytest

from lab import kernel_packages, machine
from lab.kernel_packages import Kernel


@pytest.fixture(scope="module", params=list(kernel_packages.PACKAGES))
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """An unpacked kernel; skips with the reason where it cannot be had or run."""
    if os.geteuid() != 0:
        pytest.skip("virtual machines read the host's whole root: needs root")
    missing = machine.missing_programs()
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    try:
        return kernel_packages.kernel(request.param)
    except kernel_packages.NoKernelError as error:
        pytest.skip(str(error))
