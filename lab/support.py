"""`python -m lab.support`: which collectors and BPF programs work on which kernel under which rights.

This machine's, and Debian's in virtual machines, each also locked down. Needs root, and qemu for those. Writes
build/support.json, and from it, once every machine is in it, docs/support-matrix.json and its page.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from lab import kernel_packages, machine
from lab.commit import commit
from lab.support_inside import Machine
from lab.support_page import Run, Support, page
from whodunnet import __version__

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build/support.json"
DOCUMENT = ROOT / "docs/support-matrix.json"
PAGE = ROOT / "docs/support-matrix.md"
INSIDE = [sys.executable, "-m", "lab.support_inside"]
MODULES = (*machine.COMMON_MODULES, "crc32c_generic", "nf_conntrack_netlink")
Lockdown = Literal["none", "integrity", "confidentiality"]
LOCKDOWNS: tuple[Lockdown, ...] = ("none", "integrity", "confidentiality")
HOST = "host"
NAMES = (HOST, *(f"{kernel} {lockdown}" for kernel in kernel_packages.PACKAGES for lockdown in LOCKDOWNS))


def run(name: str) -> Machine:
    """Of this very machine, or of a virtual one. Raises MachineError, NoKernelError or CalledProcessError."""
    if name == HOST:
        text = subprocess.run(INSIDE, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    else:
        release, lockdown = name.split()
        kernel = kernel_packages.kernel(release)
        arguments = f"{kernel.arguments} lockdown={lockdown}"
        done = machine.run(kernel, INSIDE, ROOT, kernel_arguments=arguments, modules=MODULES)
        if done.status:
            raise machine.MachineError(f"{name}: exit {done.status}\n{done.stderr}\n{done.console[-2000:]}")
        text = done.stdout
    return msgspec.json.decode(text.replace(f"{ROOT}/", ""), type=Machine)


def read(path: Path) -> Support:
    """What earlier calls left; nothing if there is none."""
    return msgspec.json.decode(path.read_bytes(), type=Support) if path.exists() else Support()


def write(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def publish(support: Support) -> None:
    """Both files, once no machine is missing."""
    missing = [name for name in NAMES if name not in support.runs]
    if missing:
        print(f"not published before these are run as well: {', '.join(missing)}")
        return
    write(DOCUMENT, msgspec.json.format(msgspec.json.encode(support)) + b"\n")
    write(PAGE, page(support))
    print(f"{PAGE.relative_to(ROOT)} and {DOCUMENT.relative_to(ROOT)} are written")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.support", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all without any")
    parser.add_argument("--render", action="store_true", help="only write the page, from what is beside it")
    options = parser.parse_args()
    if options.render:
        write(PAGE, page(read(DOCUMENT)))
        return
    if unknown := [name for name in options.names if name not in NAMES]:
        parser.error(f"no such machine: {', '.join(unknown)}")
    support = read(BUILD)
    for name in options.names or NAMES:
        print(name, flush=True)
        date = f"{datetime.now(UTC):%Y-%m-%d}"
        support.runs[name] = Run(date=date, version=__version__, commit=commit(), machine=run(name))
        support.runs = {one: support.runs[one] for one in NAMES if one in support.runs}
        write(BUILD, msgspec.json.encode(support))
    publish(support)


if __name__ == "__main__":
    main()
