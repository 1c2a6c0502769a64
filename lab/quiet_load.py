"""A node at its ordinary work: it builds, downloads and serves, names are asked for, and short-lived pods come and go.

Each part counts what it did, what failed and what took longest, so that it can be said whether anybody suffered.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from threading import Lock, Thread

import msgspec

from lab.actor import rest
from lab.load import A, question
from lab.node import BRIDGE, GATEWAY, Node
from lab.servers import dnsmasq, nginx, uvicorn
from lab.stage import NAMESPACES, ROOT, Player, Stage, drop_namespace, ip

SERVICE, API = "10.96.0.10", "10.96.0.20"
KEEP_ALIVE_SECONDS = 75
PARTS = ("build", "download", "web", "api", "names", "pods")


class Tally(msgspec.Struct):
    """What one part has done so far. longest_seconds: of a single build, download, request, question or pod."""

    done: int = 0
    failed: int = 0
    longest_seconds: float = 0.0


class Work:
    """Keeps the tally of a part in a file of the directory it runs in."""

    def __init__(self, part: str) -> None:
        self._path, self._tally, self._lock = Path(f"{part}.tally"), Tally(), Lock()

    @contextmanager
    def one(self) -> Iterator[None]:
        """One piece; an error of the network or of a command makes it a failed one."""
        begin, failed = time.monotonic(), False
        try:
            yield
        except (OSError, subprocess.CalledProcessError) as error:
            failed = True
            print(f"{time.strftime('%H:%M:%S')} {error!r}", flush=True)
        with self._lock:
            tally = self._tally
            tally.done, tally.failed = tally.done + (not failed), tally.failed + failed
            tally.longest_seconds = max(tally.longest_seconds, round(time.monotonic() - begin, 3))
            beside = self._path.with_suffix(".new")
            beside.write_bytes(msgspec.json.encode(tally))
            beside.rename(self._path)


def tallies(directory: Path) -> dict[str, Tally]:
    """Of every part that has done something."""
    files = ((part, directory / f"{part}.tally") for part in PARTS)
    return {part: msgspec.json.decode(file.read_bytes(), type=Tally) for part, file in files if file.exists()}


def start(stage: Stage) -> None:
    """Everything of it; wait with `tallies` until each part has done something."""
    node = Node(stage, "web", "api", "client", "builder", "dns")
    web, api, client, builder, dns = node.pods
    nginx(stage, web, keep_alive=f"{KEEP_ALIVE_SECONDS}s")
    uvicorn(stage, api, 8000, KEEP_ALIVE_SECONDS)
    nginx(stage, node.outside)
    dnsmasq(stage, dns)
    node.service(SERVICE, 80, (web.address, 80))
    node.service(API, 80, (api.address, 8000))
    stage.play(client, "browser", browse, "web", SERVICE, 20, 0.25)
    stage.play(client, "caller", browse, "api", API, 10, 0.25)
    stage.play(client, "asker", ask_names, dns.address, 20)
    stage.play(builder, "fetcher", download, node.outside.address)
    runner = stage.play(builder, "builder", build, str(sources(stage)), os.cpu_count() or 1, under=("nice", "-n", "19"))
    let_others_go_first(runner)
    short = f"{stage.label}-short"
    stage.tell_guard(f"namespace {short}")
    stage.undo.callback(drop_if_there, short)
    stage.play(node.host, "starter", start_pods, short, "10.77.0.200", SERVICE)


def let_others_go_first(player: Player) -> None:
    """Its session too, without which its niceness counts among its own processes only (sched(7), autogroup)."""
    group = Path(f"/proc/{player.pid}/autogroup")
    if group.exists():
        group.write_text("19")


def sources(stage: Stage) -> Path:
    """A copy of what there is to build."""
    tree = stage.directory / "tree"
    for name in ("bpf", "src"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.o"))
    return tree


def build(tree: str, jobs: int) -> None:
    """With as many jobs as there are CPUs, over and over; that it goes last is what keeps the node healthy."""
    work = Work("build")
    compile_c = ["make", "-s", "-B", "-C", f"{tree}/bpf", "-j", str(jobs), f"OUT={tree}/objects"]
    compile_python = [sys.executable, "-m", "compileall", "-q", "-f", "-j", str(jobs), f"{tree}/src"]
    while True:
        with work.one():
            subprocess.run(compile_c, check=True)
            subprocess.run(compile_python, check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
        time.sleep(1)


def download(address: str) -> None:
    """A large file as fast as it comes, one at a limited rate, and small ones, each by a curl of its own."""
    work = Work("download")
    ways = (["large"], ["--limit-rate", "10M", "large"], *[["small"]] * 10)
    while True:
        for *options, name in ways:
            with work.one():
                url = f"http://{address}/{name}"
                subprocess.run(["curl", "-sf", "-o", "/dev/null", "-m", "60", *options, url], check=True)
        time.sleep(1)


def browse(part: str, address: str, connections: int, pause_seconds: float) -> None:
    """Requests on connections that stay, each read to its end; a new one when the old was closed."""
    work = Work(part)

    def go_on(number: int) -> None:
        time.sleep(pause_seconds * number / connections)
        while True:
            connection = HTTPConnection(address, 80, timeout=10)
            with suppress(OSError):
                ask(connection)

    def ask(connection: HTTPConnection) -> None:
        while True:
            with work.one():
                connection.request("GET", "/small")
                connection.getresponse().read()
            if connection.sock is None:
                return
            time.sleep(pause_seconds)

    for number in range(connections):
        Thread(target=go_on, args=(number,), daemon=True).start()
    rest()


def ask_names(address: str, per_second: int) -> None:
    """As `lab.load.look_up`, and counted."""
    import socket

    work, begin = Work("names"), time.monotonic()
    for number in count():
        with work.one(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(5)
            asker.sendto(question(A), (address, 53))
            asker.recv(512)
        time.sleep(max(0.0, begin + number / per_second - time.monotonic()))


def start_pods(namespace: str, address: str, server: str) -> None:
    """On the node: a pod that asks a few times, by a process each, and ends, over and over, as a CronJob does."""
    work = Work("pods")
    place = NAMESPACES / namespace
    asking = ["nsenter", f"--net={place}", "curl", "-sf", "-o", "/dev/null", "-m", "10", f"http://{server}/small"]
    while True:
        with work.one():
            attach(namespace, address)
            for _ in range(5):
                subprocess.run(asking, check=True)
            ip("netns", "del", namespace)
        drop_if_there(namespace)
        time.sleep(5)


def attach(namespace: str, address: str) -> None:
    """As a CNI plugin does."""
    ip("netns", "add", namespace)
    ip("link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", "veth-short")
    ip("link", "set", "veth-short", "master", BRIDGE, "up")
    ip("-n", namespace, "link", "set", "lo", "up")
    ip("-n", namespace, "addr", "add", f"{address}/32", "dev", "eth0")
    ip("-n", namespace, "link", "set", "eth0", "up")
    ip("-n", namespace, "route", "add", GATEWAY, "dev", "eth0")
    ip("-n", namespace, "route", "add", "default", "via", GATEWAY)


def drop_if_there(namespace: str) -> None:
    if (NAMESPACES / namespace).exists():
        drop_namespace(namespace)
