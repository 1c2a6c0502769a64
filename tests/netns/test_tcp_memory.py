"""The tcp_memory collector and the walk over namespaces on a real kernel, each number by a second way."""

import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from whodunnet.collectors.tcp_memory import COUNTERS, TcpMemoryCollector
from whodunnet.kernel import namespaces
from whodunnet.kernel.procfs.sockstat import read_sockstat
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.tcp_memory import TcpMemory

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces"),
]


def command(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def netns() -> Iterator[str]:
    """The name of a network namespace with loopback up, without any process."""
    name = f"whodunnet-{uuid.uuid4().hex[:8]}"
    command("ip", "netns", "add", name)
    command("ip", "-n", name, "link", "set", "lo", "up")
    yield name
    command("ip", "netns", "del", name)


@pytest.fixture
def sleeper(netns: str) -> Iterator[int]:
    """The pid of a process in `netns`, there until its input ends."""
    with subprocess.Popen(
        ["ip", "netns", "exec", netns, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"x")
        child.stdin.flush()
        child.stdout.read(1)  # cat runs, so `ip` has entered the namespace
        yield child.pid
        child.stdin.close()


def collect() -> TcpMemory:
    return TcpMemoryCollector(Roots(), read_support(Roots())).collect()


def mount(netns: str) -> Path:
    return Path("/run/netns") / netns


def inum(netns: str) -> int:
    return mount(netns).stat().st_ino


def overflow(netns: str, connects: int) -> None:
    """Connect to a listener whose accept queue holds one; the kernel drops the SYN of every later one."""

    def play() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            with socket.create_connection(listener.getsockname()):
                for _ in range(connects):
                    with socket.socket() as client:
                        client.setblocking(False)
                        client.connect_ex(listener.getsockname())

    namespaces.inside(mount(netns), None, play)


def nstat(netns: str) -> dict[str, int]:
    """The counters as iproute2 reads them: absolute (-a), with zeros (-z), leaving its history file alone (-s)."""
    table = json.loads(command("ip", "netns", "exec", netns, "nstat", "-a", "-s", "-z", "-j"))
    return {name.removeprefix("TcpExt"): value for name, value in table["kernel"].items() if name.startswith("TcpExt")}


def test_counters_of_a_namespace_without_process_are_those_of_nstat(netns: str) -> None:
    overflow(netns, connects=7)
    mine, theirs = collect().counters[inum(netns)], nstat(netns)
    assert mine["ListenOverflows"] == mine["ListenDrops"] == 7
    assert mine == {name: theirs[name] for name in COUNTERS}


@pytest.mark.usefixtures("sleeper")
def test_counters_of_a_namespace_with_a_process_are_those_of_nstat(netns: str) -> None:
    overflow(netns, connects=3)
    mine, theirs = collect().counters[inum(netns)], nstat(netns)
    assert mine["ListenOverflows"] == 3
    assert mine == {name: theirs[name] for name in COUNTERS}


def test_a_namespace_is_reached_by_its_process_and_its_mount(netns: str, sleeper: int) -> None:
    way = namespaces.find(Roots()).ways[inum(netns)]
    assert (way.pid, way.mount) == (sleeper, mount(netns))


def test_a_namespace_that_only_a_mount_holds_is_reached_by_it(netns: str) -> None:
    way = namespaces.find(Roots()).ways[inum(netns)]
    assert (way.pid, way.mount) == (None, mount(netns))


def test_the_calling_thread_never_changes_its_namespace(netns: str) -> None:
    link: Callable[[], str] = partial(os.readlink, "/proc/thread-self/ns/net")
    before = link()
    assert namespaces.inside(mount(netns), inum(netns), link) == f"net:[{inum(netns)}]"
    assert link() == before


def test_an_error_inside_a_namespace_comes_out(netns: str) -> None:
    with pytest.raises(ZeroDivisionError):
        namespaces.inside(mount(netns), None, lambda: 1 // 0)


HOST = ("nsenter", "--net=/proc/2/ns/net")
"""kthreadd lives in the initial network namespace, also where these tests run in another."""


def of_the_host(*command: str) -> str:
    return subprocess.run([*HOST, *command], check=True, capture_output=True, text=True).stdout


def test_limits_and_use_are_those_of_the_files_at_rest(netns: str) -> None:
    sample = collect()
    limits = [int(word) for word in of_the_host("cat", "/proc/sys/net/ipv4/tcp_mem").split()]
    assert [sample.low_pages, sample.pressure_pages, sample.max_pages] == limits
    assert sample.page_size_bytes == os.sysconf("SC_PAGE_SIZE")
    assert inum(netns) in sample.counters


def test_sockets_of_a_namespace_are_counted_where_they_are(netns: str) -> None:
    def play() -> tuple[int, int]:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            with socket.create_connection(listener.getsockname()):
                value = read_sockstat(Roots(), "thread-self")
                return value.tcp_inuse, value.tcp_alloc

    inuse, alloc = namespaces.inside(mount(netns), None, play)
    assert inuse == 3  # the listener, both ends of the connection
    assert alloc >= 3


SAMPLE_AS_JSON = """
import concurrent.futures.thread, ctypes, msgspec, os, sys
from whodunnet.collectors.tcp_memory import TcpMemoryCollector
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
if "nobody" in sys.argv:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
print(msgspec.json.encode(TcpMemoryCollector(Roots(), read_support(Roots())).collect()).decode())
"""


def sampled(*before: str, user: str = "root") -> dict[str, object]:
    """A sample taken by a process that `before` (ip netns exec, setpriv, ...) starts, as root or nobody."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [*before, sys.executable, "-c", SAMPLE_AS_JSON, user]
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_in_a_child_namespace_without_rights_the_global_limits_are_unknown(netns: str) -> None:
    sample = sampled("ip", "netns", "exec", netns, "setpriv", "--bounding-set=-all", "--inh-caps=-all")
    assert sample["max_pages"] is None
    assert sample["max_orphans"] is None
    assert isinstance(sample["used_pages"], int)
    assert str(inum(netns)) in sample["counters"]  # type: ignore[operator]


def test_in_a_child_namespace_the_limits_come_by_way_of_the_first_process(netns: str) -> None:
    # A first process of our own, in the initial network namespace: this machine's may be closed to us.
    as_container = (*HOST, "unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", '"$@"; exit $?', "sh")
    sample = sampled(*as_container, "ip", "netns", "exec", netns)
    assert sample["max_pages"] == collect().max_pages
    assert sample["max_orphans"] == collect().max_orphans


@pytest.mark.usefixtures("sleeper")
def test_without_root_other_namespaces_are_counted_as_unread(netns: str) -> None:
    sample = sampled(user="nobody")
    assert str(inum(netns)) not in sample["counters"]  # type: ignore[operator]
    assert sample["netns_unread"] >= 1  # type: ignore[operator]
    assert sample["netns_read"] >= 1  # type: ignore[operator]
