"""A voice mixer in a pod, with real-time priority, computes for 80 ms in each 300 ms where a thread receives packets.

What the device of another pod receives is taken up by a thread (threaded NAPI) on the same CPU, which has no such
priority: it waits until the mixer sleeps, and every packet with it.
"""

from __future__ import annotations

from lab.arrivals import StallCase, used
from lab.case import Expected
from lab.containers import PodCgroup
from lab.look import Sight
from lab.node import Node
from lab.real_time import PRIORITY, policy, spin, thread_napi
from lab.who import Who

BUSY_SECONDS, EVERY_SECONDS = 0.08, 0.3


class StallRealTimeOverNapiThread(StallCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "probe", "shop", "voice")
        probe, shop, voice = self.node.pods
        self.ping_all_the_time(probe, shop)
        self.thread = thread_napi(shop, "eth0", self.node.host, "veth2", self.receiver)
        self.pod = PodCgroup(self.stage)
        self.mixer = self.stage.play(voice, "mixer", spin, self.receiver, PRIORITY, BUSY_SECONDS, EVERY_SECONDS)
        self.pod.add(self.mixer.pid)

    def look(self) -> Sight:
        seen = f"mixer: policy and priority {policy(self.mixer.pid)}, {used(self.mixer.pid)}; {policy(self.thread)}"
        return self.late(at_least=20, seconds=BUSY_SECONDS / 2, seen=seen)

    def expected(self) -> Expected:
        mixer = Who(self.mixer.comm, self.mixer.who().pids, pod=self.pod.uid)
        return self.stalled("starved-thread", mixer)
