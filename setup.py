"""What pyproject.toml cannot say: BPF objects by clang, the libbpf binding by the C compiler, rule pages, the lab."""

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


LAB_LEFT_OUT = (
    "__pycache__",
    "board*",
    "kernel_packages*",
    "machine*",
    "misses*",
    "outcome*",
    "quiet*",
    "series*",
    "support*",
)
"""What the lab is run with on several kernels for its scoreboard, and nobody runs elsewhere."""


class BuildWithObjects(build_py):
    """Compiles bpf/*.bpf.c, and takes docs/rules/*.md as pages, into the package before its files are collected; puts
    lab/ beside them, where a checkout has it already."""

    def run(self) -> None:
        subprocess.run(["make", "--silent", "-C", str(ROOT / "bpf")], check=True)
        pages = ROOT / "src/whodunnet/pages"
        shutil.rmtree(pages, ignore_errors=True)
        shutil.copytree(ROOT / "docs/rules", pages, ignore=shutil.ignore_patterns("README.md"))
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "whodunnet/lab_files/lab")
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(ROOT / "lab", target, ignore=shutil.ignore_patterns(*LAB_LEFT_OUT))


MANUAL = "build/whodunnet.1"
"""Made by tools/manual.py, which imports the command line and so cannot run while the package is built."""

sys.path.insert(0, str(ROOT / "tools"))
setup(
    cffi_modules=["tools/build_libbpf.py:ffibuilder", "tools/build_conntrack.py:ffibuilder"],
    cmdclass={"build_py": BuildWithObjects},
    data_files=[("share/man/man1", [MANUAL])] if (ROOT / MANUAL).exists() else [],
)
