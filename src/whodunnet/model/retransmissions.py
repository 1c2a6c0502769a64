"""The sample of the retransmissions collector: segments of TCP that were sent again, by where they went."""

from __future__ import annotations

import msgspec

from whodunnet.model.bounds import Count, Port, Seconds
from whodunnet.model.sockets import Endpoint


class RepeatOwner(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A process with open connections to a destination. repeated, again_full: as there, by these connections."""

    pid: Count
    repeated: Count
    again_full: Count = 0


class Destination(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Connections of one network namespace to one server, or from one client to a server here. Numbers only grow.

    remote: address of the other end. port: of the server. accepted: the server is at this end.
    fast, timeouts, probes: segments repeated because the receiver told of a gap; because nothing did, and a timer ran
        out, and what was found lost then; the last ones, before that timer runs out (tail loss probe).
    closed: segments repeated beyond the window, which the receiver has made smaller meanwhile, as it has no room; in
        no other sum.
    full: of fast, timeouts and probes those of the largest size that the connection sends.
    sent: segments with data, repeated ones included, of all its connections, since the collector was started;
        docs/collectors/retransmissions.md says what is missing.
    duplicates: segments that the receiver said it had twice (DSACK): their repeats were needless.
    sockets: that repeated anything.
    again_full, again_small: repeats after the third time-out of the same segment or a later one, by size.
    heard: of these, those where data came from the peer since the first repeat. refused: those where acknowledgements
        came since then, and no data: the peer gets the segments, and has no room for them.
    sacked: of again_full, those where the peer has something that was sent later.
    stuck: sockets with again_full. passed: full-size segments that were repeated, and acknowledged without being made
        smaller.
    mss: bytes of data in the largest full-size repeat. path_mtu, device, device_mtu: of the newest repeat: the size of
        packets that the kernel believes the path to take, and where it was sent out. None: not known.
    owners: processes whose connections repeated anything, as far as they were open when it was read afterwards.
    first_seconds, last_seconds: of its repeats, on the boot clock.
    """

    netns: Count
    remote: str
    port: Port
    accepted: bool = False
    fast: Count = 0
    timeouts: Count = 0
    probes: Count = 0
    closed: Count = 0
    full: Count = 0
    sent: Count = 0
    duplicates: Count = 0
    sockets: Count = 0
    again_full: Count = 0
    again_small: Count = 0
    heard: Count = 0
    refused: Count = 0
    sacked: Count = 0
    stuck: Count = 0
    passed: Count = 0
    mss: Count | None = None
    path_mtu: Count | None = None
    device: str | None = None
    device_mtu: Count | None = None
    owners: tuple[RepeatOwner, ...] = ()
    first_seconds: Seconds = 0.0
    last_seconds: Seconds = 0.0

    @property
    def repeated(self) -> int:
        """Segments, without those into a closed window."""
        return self.fast + self.timeouts + self.probes

    @property
    def key(self) -> tuple[int, str, int, bool]:
        """The same in every sample."""
        return self.netns, self.remote, self.port, self.accepted

    @property
    def endpoint(self) -> Endpoint:
        """The far end: of a client its address alone."""
        return Endpoint(self.remote, None if self.accepted else self.port)


class Retransmissions(msgspec.Struct, frozen=True, tag="retransmissions", kw_only=True, omit_defaults=True):
    """Segments repeated on the whole node since the collector was started, SYNs not counted.

    watched_seconds: for how long. started_seconds: since when, on the boot clock: numbers of two samples compare only
    if it is the same in both. other: segments repeated to destinations that found no room, here or in the program.
    elsewhere: segments with data that were sent to other namespaces and machines where nothing was repeated.
    inside: segments repeated within one namespace (loopback), which are in no destination.
    untracked: times that a socket found no room: what it sent may be counted with what it had sent before.
    forgotten: destinations without repeats of late that made room for others; they may come again, from 0 on.
    missed: repeats not seen because the program was running on that CPU already.
    """

    destinations: tuple[Destination, ...]
    watched_seconds: Seconds
    started_seconds: Seconds = 0.0
    elsewhere: Count = 0
    inside: Count = 0
    other: Count = 0
    untracked: Count = 0
    forgotten: Count = 0
    missed: Count = 0
