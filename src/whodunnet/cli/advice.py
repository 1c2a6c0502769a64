"""What is kept from us where we run, and the command line by which nothing would be."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from whodunnet.kernel.host import HOST, Place
from whodunnet.kernel.support import Support
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.model.text import shell_quote

NEEDED = ("CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_SYSLOG", "CAP_DAC_READ_SEARCH")
"""docs/architecture.md, Privileges."""
_ADMIN_STANDS_FOR = frozenset({"CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG"})  # bpf_capable(), perfmon_capable(), syslog.c
_NODE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")  # DNS-1123 subdomain, as names of nodes are
_BUNDLE = "WHODUNNET_BUNDLE"


def advice(
    place: Place,
    support: Support,
    argv: Sequence[str],
    environment: Mapping[str, str],
    refused: str | None = None,
    also: Sequence[str] = (),
) -> list[str]:
    """The command line with everything whodunnet can use, and what is missing without it; empty if nothing is.

    argv, environment: as we were started. refused: why BPF did not load, if it was tried. also: capabilities that this
    command needs beyond NEEDED.
    """
    missing = missing_rights(place, support, refused, also)
    if not missing:
        return []
    lacking = f"Missing here: {_listed(missing)}."
    if place.container is None and support.euid == 0 and place.host_user:
        return [f"{lacking} This is root already: start it where nothing was taken from root, as in a login shell."]
    command, placeholders = _command(place, support, argv, environment)
    begin = "On the machine itself more" if place.container == "other" else "More"
    return [f"{begin} would be seen with: {command}", *placeholders, lacking]


def missing_rights(place: Place, support: Support, refused: str | None = None, also: Sequence[str] = ()) -> list[str]:
    """What we lack, in the words of capabilities(7) and of container runtimes."""
    held = support.capabilities if place.host_user else frozenset[str]()
    held = held | _ADMIN_STANDS_FOR if "CAP_SYS_ADMIN" in held else held
    missing = [name for name in (*also, *NEEDED) if name not in held]
    if not place.host_user:
        missing.append("rights outside of our user namespace")
    if not place.host_pids:
        missing.append("the host's pid namespace")
    if place.host is None:
        missing.append(f"the host's root directory at {HOST}")
    if not place.host_network and ("CAP_SYS_ADMIN" in missing or not place.whole_machine):
        missing.append("the host's network namespace")
    may_load = place.host_pids and not {"CAP_BPF", "CAP_PERFMON"} & set(missing)
    if refused is not None and may_load and place.filtered and place.container is not None:
        missing.append("system calls that a seccomp filter forbids (bpf)")
    return missing


def refusal(recording: Recording) -> str | None:
    """Why BPF did not load although the rights for it are there, if it was tried."""
    sockets = recording.last(Sockets)
    return None if sockets is None or sockets.missing_capability is not None else sockets.fallback_reason


def show_advice(place: Place, support: Support, refused: str | None = None, also: Sequence[str] = ()) -> list[str]:
    """Advice for this very command."""
    return advice(place, support, [_program(), *sys.argv[1:]], os.environ, refused, also)


def _command(
    place: Place, support: Support, argv: Sequence[str], environment: Mapping[str, str]
) -> tuple[str, list[str]]:
    """A command line, and what its words in capitals stand for."""
    bundle = environment.get(_BUNDLE)
    words = " ".join(shell_quote(word) for word in argv[1:])
    if place.container is None:
        return _joined("sudo", shell_quote(bundle or argv[0]), words), []
    if place.container == "other":
        return _joined("sudo whodunnet", words), []
    on_host = bundle is not None and PurePath(bundle).is_relative_to(HOST)
    program = shell_quote(bundle) if bundle is not None and on_host else "whodunnet"
    image = "IMAGE: any" if on_host else "IMAGE: one with whodunnet in it"
    if place.container == "pod":
        name = support.hostname if place.host is not None or place.host_network else ""
        node = name if _NODE_NAME.fullmatch(name) else "NODE"
        start = f"kubectl debug node/{node} -it --image=IMAGE --profile=sysadmin --"
        unknown = ["NODE: by kubectl get nodes"] if node == "NODE" else []
        return _joined(start, program, words), [f"  {'; '.join([*unknown, image])}"]
    runtime = "sudo podman" if place.container == "podman" else "docker"
    start = f"{runtime} run --rm -it --privileged --pid=host --network=host --cgroupns=host --volume=/:{HOST}:ro IMAGE"
    return _joined(start, program, words), [f"  {image}"]


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _program() -> str:
    """How we were called, as another user's shell would find it."""
    called = Path(sys.argv[0])
    return os.path.abspath(called) if os.sep in sys.argv[0] else "whodunnet"  # noqa: PTH100 - keeps a link's name
