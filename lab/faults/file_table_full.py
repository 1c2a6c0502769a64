"""An indexer has most of the machine's open files (fs.file-max), and who is not root can open no socket any more.

It opens segment after segment and closes none, and has never come near a limit of its own. Then a shop cannot connect
("Too many open files in system"), and an nginx cannot accept: its callers are connected by the kernel, and nobody
answers. Each of these two has a handful of descriptors, and the network is well. For this fs.file-max is made small,
and put back whatever happens; who has CAP_SYS_ADMIN is not held to it.
"""

from __future__ import annotations

from pathlib import Path

from lab import host
from lab.actor import rest
from lab.case import LIMIT_RULES, Case, Expected, Named
from lab.connects import ANSWERED, GAVE_UP, call, calls, named
from lab.look import Sight, connections, descriptors, wait_until
from lab.servers import NGINX, documents, up
from lab.stage import Player, Pod

FILE_NR = Path("/proc/sys/fs/file-nr")
ROOM = 4000
"""Files that may be opened beyond those which the machine has open already."""

UNPRIVILEGED = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--pdeathsig", "KILL")
NO_ROOM = "ENFILE"
PORT = 80


def index(segment: str) -> None:
    """Until there is no room; then it keeps what it has."""
    files = []
    try:
        while True:
            files.append(Path(segment).open("rb"))  # noqa: SIM115
    except OSError as error:
        print(f"{len(files)} open: {error}", flush=True)
    rest()


def open_files() -> int:
    return int(FILE_NR.read_text().split()[0])


class FileTableFull(Case):
    kind = "fault"
    rules_unread = True
    rules = LIMIT_RULES
    changes_global = True
    age_seconds = 5

    def start(self) -> None:
        """The servers and callers work for a while before there is no room."""
        shop, browser, search, self.server_pod = self.stage.pods("shop", "browser", "search", "server")
        self.server = self.serve(self.server_pod)
        target = [(self.server_pod.address, PORT)]
        self.client = self.stage.play(shop, "shop", call, target, 10, 2, under=UNPRIVILEGED)
        self.browser = self.stage.play(browser, "browser", call, target, 2, 2)
        wait_until(lambda: self.work(self.client) and self.work(self.browser), 20, self.stage.logs)
        self.segment = self.stage.directory / "segment"
        self.segment.write_bytes(bytes(4096))
        self.limit = open_files() + ROOM
        self.stage.undo.enter_context(host.changed(host.FILE_MAX, str(self.limit)))
        self.indexer = self.stage.play(search, "indexer", index, str(self.segment), under=UNPRIVILEGED)

    def work(self, caller: Player) -> bool:
        return len(calls(caller).where(ANSWERED)) >= 3

    def serve(self, pod: Pod) -> Player:
        """nginx, of which the worker is not root."""
        directory = documents(self.stage, "shop")
        text = NGINX.format(directory=directory, port=PORT, keep_alive="1h", files=16_000)
        assert "user root" in text
        (directory / "nginx.conf").write_text(text.replace("user root", "user www-data"))
        command = ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
        return up(self.stage, pod, self.stage.run(pod, "nginx", *command), PORT)

    def look(self) -> Sight:
        held = descriptors(self.indexer.who().pids, str(self.segment))
        (listener, *_) = connections(self.server_pod.netns).where("LISTEN", local_port=PORT)
        refused, unanswered = calls(self.client).where(NO_ROOM), calls(self.browser).where(GAVE_UP)
        seen = f"{open_files()} files open of {self.limit}, {held} of them the indexer's"
        seen += f"; shop: {calls(self.client)}; browser: {calls(self.browser)}; {listener.unread} wait to be accepted"
        return Sight(held > ROOM / 2 and len(refused) >= 20 and len(unanswered) >= 5, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="descriptor-limit",
            also=("accept-queue", "socket-leak", "connect-timeout"),
            severities=("warning", "critical"),
            tolerated=(self.indexer.who(),),
            innocent=(self.client.who(), self.browser.who(), self.server.who()),
            others=(Named(self.indexer.who(), ("culprit", "holder")), named(self.client)),
            mentions=("file-max",),
        )
