"""Uploads that nobody reads: one pod accepts them, hands each over a unix socket to another pod, and that one hangs.

The gate accepts and passes the descriptor on (SCM_RIGHTS), as socket activation and some servers' masters do, and has
no socket left. The worker takes each one and then waits for a lock for ever. The sockets are in the gate's network
namespace and their owner is in another; the uploading clients hold most of the memory, in their send queues.
"""

from __future__ import annotations

import socket
from pathlib import Path
from threading import Lock, Thread

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, connections, descriptors, wait_until
from lab.servers import up

PORT, UPLOADS, BODY_BYTES = 8080, 40, 3_000_000
HEAD = b"PUT /backup HTTP/1.1\r\nHost: lab\r\nContent-Length: %d\r\n\r\n"


def take_uploads(path: str) -> None:
    database = Lock()
    database.acquire()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        gate, _ = listener.accept()
    while True:
        _, passed, _, _ = socket.recv_fds(gate, 1, 1)
        Thread(target=store, args=(socket.socket(fileno=passed[0]), database)).start()


def store(upload: socket.socket, database: Lock) -> None:
    with database:  # nobody ever gives it back
        upload.recv(65536)


def let_in(path: str) -> None:
    worker = socket.socket(socket.AF_UNIX)
    worker.connect(path)
    with socket.create_server(("", PORT), backlog=100) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                socket.send_fds(worker, [b"x"], [connection.fileno()])


def upload(address: str) -> None:
    def put() -> None:
        with socket.create_connection((address, PORT)) as connection:
            connection.sendall(HEAD % BODY_BYTES + bytes(BODY_BYTES))
            connection.recv(4096)

    for _ in every(0.1, times=UPLOADS):
        Thread(target=put).start()
    rest()


class LeakHandedToWorker(Case):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        client, self.gate_pod, worker = self.stage.pods("client", "gate", "worker")
        self.client_pod = client
        path = self.stage.directory / "worker.sock"
        self.worker = self.stage.play(worker, "uploads", take_uploads, str(path))
        wait_until(Path(path).exists, 10, self.stage.logs)
        self.gate = self.stage.play(self.gate_pod, "gate", let_in, str(path))
        up(self.stage, self.gate_pod, self.gate, PORT)
        self.client = self.stage.play(client, "backup", upload, self.gate_pod.address)

    def look(self) -> Sight:
        unread = connections(self.gate_pod.netns).where("ESTAB", local_port=PORT).unread
        unsent = connections(self.client_pod.netns).where("ESTAB", peer_port=PORT).unsent
        of_gate, of_worker = (descriptors(one.who().pids, "socket:") for one in (self.gate, self.worker))
        there = len(unread) == len(unsent) == UPLOADS and of_gate <= 2 and of_worker >= UPLOADS
        return Sight(there, f"{unread} unread, {unsent} unsent; sockets of gate: {of_gate}, of worker: {of_worker}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            severities=("info", "warning"),  # forty, and they become no more
            culprits=(self.worker.who(),),
            innocent=(self.gate.who(), self.client.who()),
        )
