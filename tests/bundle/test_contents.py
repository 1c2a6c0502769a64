"""What is in the bundle and beside it: all that is imported, nothing from outside, listed and summed."""

from __future__ import annotations

import json
import pkgutil
import re
import subprocess
from pathlib import Path

import pytest

import whodunnet

from . import payload

PROJECT = Path(__file__).parents[2]
MOST_BYTES = 60_000_000
VALIDATE = (str(PROJECT / ".venv/bundle/bin/python"), str(PROJECT / "tools/sbom.py"))
DRAWING = ("PIL.Image", "PIL.ImageDraw", "PIL.ImageFont")
IMPORT_ALL = """
import importlib, sys
sys.path.append(sys.prefix + "/lib/python%d.%d/site-packages" % sys.version_info[:2])
for name in sys.argv[1:]:
    importlib.import_module(name)
for line in open("/proc/self/maps"):
    print(line[line.index("/"):].strip() if "/" in line else "")
"""


@pytest.fixture(scope="module")
def tree(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("tree")
    payload.unpack(bundle, target)
    return target


@pytest.fixture(scope="module")
def parts(dist: Path) -> dict[str, str]:
    """Name and version of each component of the bill of materials."""
    document = json.loads(next(dist.glob("*.cdx.json")).read_text())
    return {part["name"].lower(): part["version"] for part in document["components"]}


def normal(name: str) -> str:
    """As packaging.python.org compares names."""
    return re.sub("[-_.]+", "-", name).lower()


def test_every_module_is_imported_and_no_file_of_this_machine_is_used(tree: Path) -> None:
    names = [m.name for m in pkgutil.walk_packages(whodunnet.__path__, "whodunnet.") if not m.name.endswith("__main__")]
    loader = [str(tree / "bin/whodunnet"), "--inhibit-cache", "--library-path", str(tree / "lib")]
    run = [*loader, str(tree / "bin/python"), "-BPS", "-Xutf8", "-c", IMPORT_ALL, *DRAWING, *names]
    environment = {"PYTHONHOME": str(tree), "LC_ALL": "C"}
    done = subprocess.run(run, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    mapped = set(done.stdout.splitlines()) - {""}
    assert len(mapped) > 10
    assert not [path for path in mapped if not path.startswith(str(tree))]


def test_what_is_compiled_here_is_compiled_there(tree: Path) -> None:
    here = Path(whodunnet.__file__).parent
    compiled = {path.relative_to(here).as_posix() for path in here.rglob("*.so")}
    assert {"kernel/bpf/_libbpf.abi3.so", "kernel/netlink/_conntrack.abi3.so"} <= compiled
    (package,) = tree.glob("lib/python*/site-packages/whodunnet")
    assert {path.relative_to(package).as_posix() for path in package.rglob("*.so")} == compiled


def test_no_path_of_the_build_machine_is_in_it(tree: Path) -> None:
    words = (b"whodunnet-build-", str(PROJECT).encode() + b"/")
    found = [path for path in tree.rglob("*") if path.is_file() and any(w in path.read_bytes() for w in words)]
    assert found == []


def test_it_is_small_enough_to_carry(bundle: Path) -> None:
    assert bundle.stat().st_size < MOST_BYTES


def test_the_sums_hold_and_cover_all(dist: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=dist, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = re.findall(r"^(.*): OK$", done.stdout, re.MULTILINE)
    assert set(names) == {path.name for path in dist.glob("whodunnet*")}
    assert len(names) == 4


def test_the_bill_of_materials_is_cyclonedx(dist: Path, tmp_path: Path) -> None:
    sbom = next(dist.glob("*.cdx.json"))
    subprocess.run([*VALIDATE, str(sbom)], check=True)
    foreign = tmp_path / "not.json"
    foreign.write_text(sbom.read_text().replace('"components"', '"parts"'))
    refused = subprocess.run([*VALIDATE, str(foreign)], check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert refused.stderr.startswith("not CycloneDX 1.6")


def test_the_bill_of_materials_is_of_this_bundle(dist: Path, bundle: Path) -> None:
    component = json.loads(next(dist.glob("*.cdx.json")).read_text())["metadata"]["component"]
    digest = subprocess.run(["sha256sum", str(bundle)], check=True, capture_output=True, text=True).stdout.split()[0]
    assert component["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert component["version"] == whodunnet.__version__


def test_the_bill_of_materials_names_every_python_package(tree: Path, parts: dict[str, str]) -> None:
    metadata = [path.name.removesuffix(".dist-info") for path in tree.rglob("*.dist-info")]
    installed = {normal(name) for name in metadata} - {normal(f"whodunnet-{whodunnet.__version__}")}
    assert len(installed) > 5
    assert installed <= {normal(f"{name}-{version}") for name, version in parts.items()}


def test_the_bill_of_materials_names_the_package_of_every_library(tree: Path, parts: dict[str, str]) -> None:
    libraries = list((tree / "lib").glob("*.so*"))
    assert len(libraries) > 5
    for library in libraries:
        found = subprocess.run(["dpkg-query", "-S", f"*/{library.name}"], capture_output=True, text=True).stdout
        owners = set(re.findall(r"^([^:]+):", found, re.MULTILINE))
        assert owners & set(parts), f"{library.name} of {owners}"
        assert all((tree / "licences" / owner).exists() for owner in owners & set(parts))
