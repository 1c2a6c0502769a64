"""Collects what the bundle holds: interpreter, standard library, packages as pip installs them, and every library.

bin/whodunnet    the C library's loader, so that the process has this name
bin/python       the interpreter
lib/             shared libraries by the name they are asked for
lib/python3.X/   the standard library and site-packages, compiled; the lab in a zip of its own, as it is seldom run
licences/        of the Debian packages the files came from; those of Python packages are in their metadata
start.pyc        the entry point
"""

from __future__ import annotations

import importlib.util
import marshal
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import bundle_elf

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
START = """\
import os, sys
del os.environ["PYTHONHOME"]
sys.path.append(f"{sys.prefix}/lib/%s/site-packages")
sys.argv[0] = "whodunnet"
from whodunnet.cli.start import run
run()
"""
STANDARD_LEFT_OUT = (
    "*/__pycache__", "__phello__*", "_sysconfigdata*", "config-*", "curses", "dbm", "dist-packages", "distutils",
    "ensurepip", "idlelib", "lib2to3", "msilib", "pydoc_data", "site-packages", "sitecustomize.py", "test", "tkinter",
    "turtle.py", "turtledemo", "unittest", "venv", "wsgiref", "xmlrpc", "EXTERNALLY-MANAGED", "*.rst",
)  # fmt: skip
DYNLOAD_LEFT_OUT = (
    "_crypt.*", "_ctypes_test.*", "_curses*", "_dbm.*", "_gdbm.*", "_hashlib.*", "_ssl.*", "_test*", "_tkinter.*",
    "_xx*", "nis.*", "ossaudiodev.*", "readline.*", "spwd.*", "xx*",
)  # fmt: skip
"""OpenSSL is 6 MB; without it hashlib uses the interpreter's own functions."""
PACKAGES_LEFT_OUT = (
    "*/__pycache__", "bin", "*/PIL/_avif.*", "*/PIL/_imagingcms.*", "*/PIL/_imagingtk.*", "*/PIL/_webp.*", "*.pyi",
    "*.h", "*/PIL/*.c", "*/py.typed", "markdown_it/port.yaml", "pycparser/*.cfg", "markdown_it/*/README.md",
    "*.dist-info/RECORD", "*.dist-info/direct_url.json",
)  # fmt: skip
"""Of Pillow what reads formats that are not drawn here; its libraries then go as well."""

OPENED_BY_NAME = ("libfribidi.so.0",)
"""Pillow looks for it at run time, and would find that of the node."""


@dataclass
class Tree:
    """The directory that becomes the payload. sources: the files of this machine that went into it."""

    root: Path
    sources: set[Path] = field(default_factory=set)

    @property
    def standard(self) -> Path:
        return self.root / "lib" / PYTHON

    @property
    def packages(self) -> Path:
        return self.standard / "site-packages"


def collect(root: Path, wheel: Path, constraints: Path) -> Tree:
    """Fills an empty directory. constraints: versions of the dependencies. Raises MissingLibraryError."""
    tree = Tree(root)
    add_standard_library(tree)
    add_packages(tree, wheel, constraints)
    zip_lab(tree.packages / "whodunnet")
    zip_pure([tree.standard, tree.packages], root / "lib" / f"{PYTHON.replace('.', '')}.zip")
    write_compiled(START % PYTHON, "start.py", root / "start.pyc")
    add_interpreter(tree)
    return tree


def add_standard_library(tree: Tree) -> None:
    source = Path(sysconfig.get_path("stdlib"))
    copy_compiled(source, tree.standard, STANDARD_LEFT_OUT, tree.sources)
    for path in (tree.standard / "lib-dynload").iterdir():
        if any(fnmatch(path.name, pattern) for pattern in DYNLOAD_LEFT_OUT):
            path.unlink()
            tree.sources.discard(source / "lib-dynload" / path.name)


def add_packages(tree: Tree, wheel: Path, constraints: Path) -> None:
    """The wheel and its dependencies as pip installs them, compiled, without what is never imported here."""
    installed = tree.root / "installed"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile"]
    pip += ["--only-binary=:all:", "--target", str(installed), "--constraint", str(constraints), str(wheel)]
    subprocess.run(pip, check=True)
    copy_compiled(installed, tree.packages, PACKAGES_LEFT_OUT, set())
    shutil.rmtree(installed)
    drop_unneeded(tree.packages)


def drop_unneeded(packages: Path) -> None:
    """Libraries that a wheel carries for parts of it that were left out."""
    carried = set(packages.glob("*.libs/*"))
    needed = bundle_elf.libraries(path for path in elf_files(packages) if path not in carried)
    for path in carried - {path.resolve() for path in needed.values()}:
        path.unlink()


def add_interpreter(tree: Tree) -> None:
    """The interpreter, its loader, and whatever shared library anything in the tree needs."""
    executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    loader = bundle_elf.read(executable).interpreter
    if loader is None:
        raise bundle_elf.MissingLibraryError(f"{executable} is a static program: it cannot load extensions")
    add_file(tree, executable, tree.root / "bin/python")
    add_file(tree, Path(loader), tree.root / "bin/whodunnet")
    for name, path in bundle_elf.libraries([executable, *elf_files(tree.root)], OPENED_BY_NAME).items():
        if not path.is_relative_to(tree.root) and name != Path(loader).name:
            add_file(tree, path, tree.root / "lib" / name)


def add_file(tree: Tree, source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)
    tree.sources.add(source)


def zip_pure(directories: Iterable[Path], target: Path) -> None:
    """Moves the modules and packages that are nothing but .pyc files."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for directory in directories:
            for path in sorted(directory.iterdir()):
                files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
                if path.name == "site-packages" or any(file.suffix != ".pyc" for file in files):
                    continue
                for file in files:
                    archive.writestr(zipfile.ZipInfo(str(file.relative_to(directory))), file.read_bytes())
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def zip_lab(package: Path) -> None:
    """`whodunnet lab` finds it there."""
    files = package / "lab_files"
    zip_pure([files], package / "lab.zip")
    files.rmdir()


def elf_files(root: Path) -> list[Path]:
    return sorted(
        p for p in root.rglob("*") if p.is_file() and re.search(r"\.so(\.|$)", p.name) and bundle_elf.is_elf(p)
    )


def copy_compiled(source: Path, target: Path, left_out: Iterable[str], copied: set[Path]) -> None:
    """A directory with each .py file as its .pyc in the same place; patterns match names and paths."""
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        ways = [Path(*relative.parts[: n + 1]) for n in range(len(relative.parts))]
        if path.is_dir() or any(fnmatch(str(w), p) or fnmatch(f"/{w}", p) for w in ways for p in left_out):
            continue
        place = target / relative
        place.parent.mkdir(parents=True, exist_ok=True)
        copied.add(path)
        if path.suffix == ".py":
            write_compiled(path.read_bytes(), str(relative), place.with_suffix(".pyc"))
        else:
            shutil.copyfile(path, place)


def write_compiled(source: str | bytes, name: str, target: Path) -> None:
    """A .pyc that is imported without its source; the same bytes whenever and wherever it is made."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    content = source.encode() if isinstance(source, str) else source
    unchecked = (0b01).to_bytes(4, "little")
    target.write_bytes(
        importlib.util.MAGIC_NUMBER + unchecked + importlib.util.source_hash(content) + marshal.dumps(code)
    )
