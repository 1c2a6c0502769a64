"""What to do about a table that fills up, and what each of it costs. None is run by us."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from whodunnet.model.finding import Remedy
from whodunnet.model.text import shell_quote
from whodunnet.model.workload import Workloads
from whodunnet.rules import remedies
from whodunnet.rules.flood_cases import Flood
from whodunnet.rules.table_pods import ANTI_AFFINITY, Meeting
from whodunnet.rules.table_window import TableReading

ENTRY_BYTES: Final = 320
"""A struct nf_conn takes 256, its extensions 64 or more."""
BUCKET_BYTES: Final = 8
ENTRIES_PER_BUCKET: Final = 4
"""As kube-proxy sets it; each entry is in two buckets."""
HASHSIZE: Final = "/sys/module/nf_conntrack/parameters/hashsize"

SHORTER: Final[dict[str, tuple[int, str]]] = {
    "tcp_timeout_time_wait": (
        30,
        "a packet that comes later than that belongs to no connection: behind NAT it is dropped or answered by a reset",
    ),
    "tcp_timeout_fin_wait": (
        30, "a connection that one side has closed, and over which the other is silent for longer, is lost"
    ),
    "tcp_timeout_established": (
        86_400,
        "a connection that is silent for longer and is translated or filtered by state hangs without a word to its "
        "ends; entries there are keep their old time until their next packet",
    ),
    "tcp_timeout_syn_sent": (30, "a server that takes longer to answer is not reached"),
    "udp_timeout": (10, "an answer that takes longer is lost, of every protocol over UDP"),
    "udp_timeout_stream": (60, "an exchange over UDP that is silent for longer is lost, of every protocol"),
    "icmp_timeout": (10, "an answer that takes longer is lost"),
    "icmpv6_timeout": (10, "an answer that takes longer is lost"),
}  # fmt: skip
"""A shorter timeout in seconds, and its price, where that is worth while."""
FITS: Final = 0.5
"""A timeout is shortened that more than this share of the wasteful entries have."""


def enlarge(reading: TableReading, calm: float) -> Remedy | None:
    """A table in which the present number is calm; None without limit. calm: share of it that is no concern."""
    if reading.limit is None:
        return None
    entries = 2 * reading.limit
    while entries * calm < reading.count:
        entries *= 2
    there, wanted = reading.table.buckets or 0, entries // ENTRIES_PER_BUCKET
    buckets, more = max(wanted, there), there < wanted
    memory = (entries * ENTRY_BYTES + buckets * BUCKET_BYTES) / 2**20
    return Remedy(
        action="tune",
        do="Enlarge the table, with its buckets" if more else "Enlarge the table; it has enough buckets",
        command=f"sysctl -w net.netfilter.nf_conntrack_max={entries}" + (f" && echo {buckets} > {HASHSIZE}" * more),
        effect=f"room for {entries:,} entries in {buckets:,} buckets, at once, for every network namespace",
        risk=f"up to {memory:,.0f} MiB of kernel memory that is charged to no container when it is full; "
        + ("new buckets stop packets for some milliseconds; " if more else "")
        + "kube-proxy (conntrack.maxPerCore) or a reboot may set it back",
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


def shorten(flood: Flood, reading: TableReading) -> Remedy | None:
    """A shorter timeout for the entries of the flood; None where they have several, or it is short or not known."""
    entries: Counter[str] = Counter()
    for opener in flood.culprits or flood.openers:
        for (kind, name), n in opener.timeouts.items():
            entries[name] += n if kind == flood.shape else 0
    (name, most), total = max(entries.items(), key=lambda item: item[1], default=("", 0)), entries.total()
    now = reading.table.timeouts.get(name)
    if name not in SHORTER or most <= FITS * total or now is None:
        return None
    seconds, price = SHORTER[name]
    if now <= seconds:
        return None
    return Remedy(
        action="tune",
        do=f"Let such entries go earlier: nf_conntrack_{name}, from {now:,} to {seconds:,} s",
        command=f"sysctl -w net.netfilter.nf_conntrack_{name}={seconds}",
        effect=f"{most:,} of these {total:,} entries would stay {now / seconds:,.1f} times shorter",
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


def look_inside(netns: int, workloads: Workloads) -> Remedy | None:
    """Our own question, asked in another namespace; None where no process of it is known."""
    inside = [w.process for w in (workloads.sole_by_netns.get(netns), *workloads.by_pid.values())
              if w is not None and w.netns == netns and w.process is not None]  # fmt: skip
    alive = [process.pid for process in inside if process.state not in remedies.GONE]
    if not alive:
        return None
    return Remedy(
        action="capture",
        do="Ask in that namespace, whose entries are not read from here",
        command=f"nsenter -t {shell_quote(str(min(alive)))} -n whodunnet diagnose",
        effect="who opens its entries",
        risk="none",
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
        found += [shorten(flood, reading), do_not_track(flood)]
    yield from (remedy for remedy in found if remedy is not None)
