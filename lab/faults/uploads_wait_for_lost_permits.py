"""Uploads that a server takes four at a time, and has not taken since it lost the fourth permit: nobody reads them.

It takes a permit (a semaphore), looks what comes, and refuses what is no photograph; there it forgets to give the
permit back. After four such refusals each upload waits for a permit before a byte of it is read, and the camera, which
sets no limit (requests has none as shipped), waits with its send queue full: it holds nearly all the memory. The server
answers its probe at once. It is in a pod, which has to be named with it.
"""

from __future__ import annotations

import asyncio
from threading import Thread

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.connects import ANSWERED, call, calls
from lab.containers import PodCgroup
from lab.host import short_of_tcp_memory
from lab.load import ANSWER_BYTES
from lab.look import Sight, connections
from lab.servers import up
from lab.stage import inside
from lab.who import Who

PORT, PERMITS, UPLOADS, PHOTOGRAPH = 8080, 4, 40, bytes(2_000_000)


def take_photographs() -> None:
    from aiohttp import web

    permits = asyncio.Semaphore(PERMITS)

    async def put(request: web.Request) -> web.Response:
        await permits.acquire()
        if request.content_type != "image/jpeg":
            return web.Response(status=415)
        async for _ in request.content.iter_any():
            pass
        permits.release()
        return web.Response()

    async def probed(_: web.Request) -> web.Response:
        return web.Response(body=bytes(ANSWER_BYTES))

    application = web.Application()
    application.add_routes([web.put("/photographs", put), web.get("/small", probed)])
    web.run_app(application, port=PORT, print=None, backlog=1024)


def upload(address: str) -> None:
    import requests

    def put(kind: str, photograph: bytes) -> None:
        to, head = f"http://{address}:{PORT}/photographs", {"Content-Type": kind}
        answer = requests.put(to, photograph, headers=head)  # noqa: S113  as shipped
        print("status", answer.status_code, flush=True)

    for _ in range(PERMITS):
        put("image/gif", b"GIF89a")
    for _ in every(0.2, times=UPLOADS):
        Thread(target=put, args=("image/jpeg", PHOTOGRAPH)).start()
    rest()


class UploadsWaitForLostPermits(Case):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.camera_pod, probe_pod, self.server_pod = self.stage.pods("camera", "probe", "server")
        inside(self.server_pod, "sysctl", "-qw", "net.ipv4.tcp_rmem=4096 131072 262144")  # less than a photograph
        self.pod = PodCgroup(self.stage)
        self.server = self.stage.play(self.server_pod, "photographs", take_photographs)
        up(self.stage, self.server_pod, self.server, PORT)
        self.pod.add(self.server.pid)
        at = self.server_pod.address
        self.probe = self.stage.play(probe_pod, "probe", call, [(at, PORT)], 2, 5)
        self.camera = self.stage.play(self.camera_pod, "camera", upload, at)

    def look(self) -> Sight:
        unread = connections(self.server_pod.netns).where("ESTAB", local_port=PORT).unread
        unsent = connections(self.camera_pod.netns).where("ESTAB", peer_port=PORT).unsent
        told, made = self.camera.log.read_text(), calls(self.probe)
        refused = told.count("status 415")
        there = len(unread) == len(unsent) == UPLOADS and refused == told.count("status ") == PERMITS
        answered = len(made) >= 10 and made.share(ANSWERED) > 0.9
        return Sight(there and answered, f"{unread} unread, {unsent} unsent; {refused} refused before; probe: {made}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            also=("tcp-memory",) if short_of_tcp_memory() else (),
            severities=("info", "warning"),  # forty, and they become no more
            culprits=(Who(self.server.comm, self.server.who().pids, pod=self.pod.uid),),
            innocent=(self.camera.who(), self.probe.who()),
            bystanders=(self.probe.who(),),
        )
