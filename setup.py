"""Adds to the declarative build in pyproject.toml: BPF objects by clang, the libbpf binding by the C compiler, rule pages."""

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


ROOT = Path(__file__).parent


class BuildWithObjects(build_py):
    """Compiles bpf/*.bpf.c, and takes docs/rules/*.md as pages, into the package before its files are collected."""

    def run(self) -> None:
        subprocess.run(["make", "--silent", "-C", str(ROOT / "bpf")], check=True)
        shutil.copytree(ROOT / "docs/rules", ROOT / "src/whodunnet/pages", dirs_exist_ok=True)
        super().run()


sys.path.insert(0, str(ROOT / "tools"))
setup(cffi_modules=["tools/build_libbpf.py:ffibuilder"], cmdclass={"build_py": BuildWithObjects})
