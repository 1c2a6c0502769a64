"""What a case needs of the machine: read off its code and the code that it calls, so that no case has to list it."""

from __future__ import annotations

import dis
import inspect
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from types import CodeType, FunctionType, MethodType, ModuleType

PROGRAMS = {
    "apache2": "apache2-bin",
    "busybox": "busybox-static",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "ctr": "containerd",
    "curl": "curl",
    "dnsmasq": "dnsmasq-base",
    "ethtool": "ethtool",
    "gunicorn": "gunicorn",
    "haproxy": "haproxy",
    "ip": "iproute2",
    "iptables": "iptables",
    "mount": "mount",
    "nft": "nftables",
    "nginx": "nginx-light",
    "node": "nodejs",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "runc": "runc",
    "setpriv": "util-linux",
    "ss": "iproute2",
    "sysctl": "procps",
    "taskset": "util-linux",
    "tc": "iproute2",
    "unbound": "unbound",
    "unshare": "util-linux",
    "wrk": "wrk",
    "/usr/lib/systemd/systemd-journald": "systemd",
}
"""Program -> Debian's package of it."""
MODULES = {
    "aiohttp": "aiohttp",
    "cri_api": "container-runtime-interface-api",
    "grpc": "grpcio",
    "httpx": "httpx",
    "requests": "requests",
    "uvicorn": "uvicorn",
}
"""Module -> the package by which pip installs it."""
ONE_OF_TWO = ("lab.node", "iptables")
"""A node translates addresses by nft; a case that wants iptables there says so itself."""


class MissingNeedsError(Exception):
    """The machine lacks what a case needs; the text is a sentence that says how to get it."""


def check(name: str, case: type) -> None:
    """Raises MissingNeedsError."""
    absent = missing(needs(case))
    if absent:
        raise MissingNeedsError(f"{name} needs {how_to_get(absent)}")


def how_to_get(absent: Iterable[str]) -> str:
    """Names, and the command lines that install them."""
    absent = sorted(absent)
    packages = sorted({PROGRAMS[name] for name in absent if name in PROGRAMS})
    wheels = [MODULES[name] for name in absent if name in MODULES]
    ways = [f"apt-get install {' '.join(packages)}"] if packages else []
    ways += [f"{pip()} install {' '.join(wheels)}"] if wheels and not in_bundle() else []
    if in_bundle() and set(absent) - PROGRAMS.keys():
        ways.append("the one-file bundle has no packages of Python, the wheel can have them")
    return f"{' and '.join(absent)}: {'; '.join(ways) or 'this Python was built without it'}"


def pip() -> str:
    return f"{shlex.quote(sys.executable)} -m pip"


def in_bundle() -> bool:
    return "WHODUNNET_BUNDLE" in os.environ


def missing(needed: Iterable[str]) -> set[str]:
    """Of programs and modules those that are not here. ssl is of Python itself, where it was built with it."""
    gone = {name for name in needed if name in PROGRAMS and shutil.which(name) is None}
    return gone | {
        name for name in needed if name not in PROGRAMS and find_spec("_ssl" if name == "ssl" else name) is None
    }


def needs(case: type) -> set[str]:
    """Every program, and every module from outside, that is named in code which the case can come to."""
    return {word for thing in reached(case) for word in named(thing)}


def reached(first: object) -> list[object]:
    """Code and words, each once."""
    found: dict[int, object] = {}
    waiting = [first]
    while waiting:
        thing = waiting.pop()
        if id(thing) not in found:
            found[id(thing)] = thing
            waiting += parts(thing)
    return list(found.values())


def parts(thing: object) -> Iterator[object]:
    """What a function, a class or a value of the lab leads to."""
    thing = inspect.unwrap(thing) if callable(thing) else thing
    if isinstance(thing, staticmethod | classmethod | MethodType):
        yield thing.__func__
    elif isinstance(thing, property):
        yield thing.fget
    elif isinstance(thing, partial):
        yield from (thing.func, thing.args)
    elif isinstance(thing, tuple | list):
        yield from thing
    elif isinstance(thing, type) and ours(thing):
        yield from (value for kind in thing.__mro__ if ours(kind) for value in vars(kind).values())
    elif isinstance(thing, FunctionType) and ours(thing):
        yield from codes(thing.__code__)
        yield from (cell.cell_contents for cell in thing.__closure__ or ())
        yield from (value for code in codes(thing.__code__) for value in globals_of(thing, code))


def ours(thing: type | FunctionType) -> bool:
    return thing.__module__.partition(".")[0] == "lab"


def codes(code: CodeType) -> Iterator[CodeType]:
    """A function's and that of the functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def globals_of(function: FunctionType, code: CodeType) -> Iterator[object]:
    """What the names in it stand for, also by way of a module of the lab (host.read)."""
    for name in code.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType) and value.__name__.startswith("lab."):
            yield from (vars(value)[other] for other in code.co_names if other in vars(value))
        elif isinstance(value, ModuleType):
            yield value.__name__
        else:
            yield value


def named(thing: object) -> Iterator[str]:
    """Needs in one code object or word."""
    if isinstance(thing, str) and (thing in PROGRAMS or thing in MODULES or thing == "ssl"):
        yield thing
    if isinstance(thing, CodeType):
        where = thing.co_filename
        words = [constant for constant in thing.co_consts if isinstance(constant, str)]
        yield from (word for word in words if word in PROGRAMS and not optional(where, word))
        yield from imported(thing)


def optional(file: str, word: str) -> bool:
    return file.replace("/", ".").removesuffix(".py").endswith(ONE_OF_TWO[0]) and word == ONE_OF_TWO[1]


def imported(code: CodeType) -> Iterator[str]:
    if not MODULES.keys().isdisjoint(code.co_names):
        done = {str(step.argval) for step in dis.get_instructions(code) if step.opname == "IMPORT_NAME"}
        yield from done & MODULES.keys()
