"""The sample of the resolvers collector: which name servers programs are told to ask, and how."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from whodunnet.model.bounds import Count, Seconds

Outcome = Literal[
    "waiting",  # no answer so far
    "answered",
    "refused",  # a message came back: nobody listens there, or a rule rejects (ICMP)
    "not-sent",  # this node has no way there
]


class ResolvConf(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One /etc/resolv.conf, as processes of one network namespace see it.

    pid: a process that sees it. servers: those that are asked, three at most, without scope; none means 127.0.0.1.
    search: domains that are tried behind a name. ndots: with so many dots a name is tried as it is first.
    timeout_seconds: until a server is asked again, or the next one; attempts: how often all of them are asked.
    left_out: servers and domains beyond the bounds, and servers that are no addresses.
    """

    netns: Count
    pid: Count
    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    ndots: Count = 1
    timeout_seconds: Count = 5
    attempts: Count = 2
    left_out: Count = 0

    @property
    def queries_for_one(self) -> int:
        """Queries for a name of elsewhere with fewer dots than ndots: each domain and the name itself, A and AAAA."""
        return 2 * (len(self.search) + 1)


class Lookup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A query of our own (--active), for the name servers of the root, from inside of a network namespace.

    sent: how often so far. seconds: since it was first sent. rcode: of the answer (0 no error, 2 server failure).
    inode: of its socket, so that it is not taken for somebody else's.
    """

    netns: Count
    server: str
    sent: Count
    seconds: Seconds
    outcome: Outcome
    rcode: Annotated[int, Meta(ge=0, le=15)] | None = None
    inode: Count = 0


class Resolvers(msgspec.Struct, frozen=True, tag="resolvers", kw_only=True, omit_defaults=True):
    """What processes of every reachable network namespace find in /etc/resolv.conf.

    netns_unread: namespaces none of whose processes' files could be read. left_out: files beyond the bounds.
    asked: whether queries of our own were wanted. lookups: these; unasked: beyond the bound.
    """

    files: tuple[ResolvConf, ...] = ()
    netns_unread: Count = 0
    left_out: Count = 0
    asked: bool = False
    lookups: tuple[Lookup, ...] = ()
    unasked: Count = 0
    read_seconds_ago: Seconds = 0.0

    @property
    def given_up_seconds(self) -> int:
        """After so long the least patient program stops asking its one server, and closes its socket."""
        return min((conf.timeout_seconds * max(conf.attempts, 1) for conf in self.files), default=0)
