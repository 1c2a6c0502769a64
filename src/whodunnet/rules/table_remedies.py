"""What to do about a table that fills up, and what each of it costs. None is run by us."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from whodunnet.model.finding import Remedy
from whodunnet.model.text import shell_quote
from whodunnet.rules import remedies
from whodunnet.rules.flood_cases import Flood
from whodunnet.rules.flood_kinds import Kind
from whodunnet.rules.table_pods import ANTI_AFFINITY, Meeting
from whodunnet.rules.table_window import TableReading

ENTRY_BYTES: Final = 320
"""A struct nf_conn takes 256, its extensions 64 or more."""
BUCKET_BYTES: Final = 8
ENTRIES_PER_BUCKET: Final = 4
"""As kube-proxy sets it; each entry is in two buckets."""
HASHSIZE: Final = "/sys/module/nf_conntrack/parameters/hashsize"

SHORTER: Final[dict[Kind, tuple[str, int, str]]] = {
    "churn": (
        "tcp_timeout_time_wait", 30,
        "a packet that comes later than that belongs to no connection: behind NAT it is dropped or answered by a reset",
    ),
    "idle-established": (
        "tcp_timeout_established", 86_400,
        "a connection that is silent for longer and is translated or filtered by state hangs without a word to its "
        "ends; entries there are keep their old time until their next packet",
    ),
    "unreplied": ("tcp_timeout_syn_sent", 30, "a server that takes longer to answer is not reached"),
    "dns": ("udp_timeout", 10, "an answer that takes longer is lost, of every other protocol over UDP as well"),
}  # fmt: skip
"""Timeout of the entries of a kind, a shorter one in seconds, and its price."""


def enlarge(reading: TableReading, calm: float) -> Remedy | None:
    """A table in which the present number is calm; None without limit. calm: share of it that is no concern."""
    if reading.limit is None:
        return None
    entries = 2 * reading.limit
    while entries * calm < reading.count:
        entries *= 2
    buckets = max(entries // ENTRIES_PER_BUCKET, reading.table.buckets or 0)
    memory = (entries * ENTRY_BYTES + buckets * BUCKET_BYTES) / 2**20
    return Remedy(
        action="tune",
        do="Enlarge the table, with its buckets",
        command=f"sysctl -w net.netfilter.nf_conntrack_max={entries} && echo {buckets} > {HASHSIZE}",
        effect=f"room for {entries:,} entries in {buckets:,} buckets, at once, for every network namespace",
        risk=f"up to {memory:,.0f} MiB of kernel memory that is charged to no container when it is full; new buckets "
        "stop packets for some milliseconds; kube-proxy (conntrack.maxPerCore) or a reboot may set it back",
    )


def enlarge_buckets(reading: TableReading) -> Remedy:
    """Four times the buckets."""
    buckets = 4 * max(reading.table.buckets or 0, reading.count // ENTRIES_PER_BUCKET, 1024)
    return Remedy(
        action="tune",
        do="Give the table more buckets",
        command=f"echo {buckets} > {HASHSIZE}",
        effect=f"shorter chains: {buckets:,} buckets",
        risk=f"{buckets * BUCKET_BYTES / 2**20:,.1f} MiB of kernel memory; it stops packets for some milliseconds",
    )


def shorten(kind: Kind, reading: TableReading) -> Remedy | None:
    """A shorter timeout for entries of a kind; None where it is that short already, or not known."""
    name, seconds, price = SHORTER[kind]
    now = reading.table.timeouts.get(name)
    if now is None or now <= seconds:
        return None
    return Remedy(
        action="tune",
        do=f"Let such entries go earlier: nf_conntrack_{name}, from {now:,} to {seconds:,} s",
        command=f"sysctl -w net.netfilter.nf_conntrack_{name}={seconds}",
        effect=f"entries of this kind stay {now / seconds:,.0f} times shorter",
        risk=price,
    )


def do_not_track(flood: Flood) -> Remedy | None:
    """Only for what is not translated: without tracking there is no NAT."""
    if any(flow.translated for opener in flood.openers for flow in opener.flows if flow.kind == opener.kind):
        return None
    return Remedy(
        action="tune",
        do="Do not track these connections: a rule in table raw with target CT --notrack, in both directions",
        command=None,
        effect="they leave no entry",
        risk="rules by state (established, related) do not match them any more, so both directions have to be allowed "
        "by address and port; a connection that needs NAT breaks",
    )


def spread(meeting: Meeting) -> Remedy:
    """Pods of one workload onto nodes of their own."""
    pod = meeting.pods[0][0].pod
    command = None
    if pod is not None and pod.namespace and pod.name:
        command = f"kubectl get pod --namespace={shell_quote(pod.namespace)} --show-labels -- {shell_quote(pod.name)}"
    return Remedy(
        action="spread",
        do=f"Spread these pods over nodes; into the pod template, with a label that only they have: {ANTI_AFFINITY}",
        command=command,
        effect="each node's table has to hold the entries of one of them",
        risk="with fewer nodes than replicas the rest stays pending; preferredDuringScheduling only prefers",
    )


def steps(flood: Flood | None, fix: str, meeting: Meeting | None, reading: TableReading, calm: float) -> list[Remedy]:
    """Evidence first, then what buys time, then what ends it."""
    return [
        remedies.CAPTURE,
        *_stopgaps(flood, reading, calm),
        remedies.fix(fix),
        *([spread(meeting)] if meeting else []),
    ]


def _stopgaps(flood: Flood | None, reading: TableReading, calm: float) -> Iterator[Remedy]:
    found = [enlarge(reading, calm)]
    if flood is not None:
        found += [shorten(flood.shape, reading), do_not_track(flood)]
    yield from (remedy for remedy in found if remedy is not None)
