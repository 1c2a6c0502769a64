"""Adds to the declarative build in pyproject.toml: BPF objects by clang, and the libbpf binding by the C compiler."""

import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithObjects(build_py):
    """Compiles bpf/*.bpf.c into the package before its files are collected."""

    def run(self) -> None:
        subprocess.run(["make", "--silent", "-C", str(Path(__file__).parent / "bpf")], check=True)
        super().run()


sys.path.insert(0, str(Path(__file__).parent / "tools"))
setup(cffi_modules=["tools/build_libbpf.py:ffibuilder"], cmdclass={"build_py": BuildWithObjects})
