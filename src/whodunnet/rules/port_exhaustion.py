"""Local ports towards one endpoint that run out: connects fail before their first packet, or soon will."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from whodunnet.model.connection_pairs import Pair, pairs_of
from whodunnet.model.connections import Connections
from whodunnet.model.finding import Answer, Cleared, Confidence, Evidence, NotChecked
from whodunnet.model.flow_owners import is_loopback
from whodunnet.model.ports import NamespacePorts, Ports, PortUse
from whodunnet.model.sample import Moment
from whodunnet.model.settings import NamespaceSettings, Settings
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import endpoint_text
from whodunnet.rules.port_binds import bound_first, compose_bound, fullest_source
from whodunnet.rules.port_findings import RULE, Case, Taken, compose, port_reading
from whodunnet.rules.queue_evidence import out_of_reach

Key = tuple[int, str, Endpoint]
"""Namespace, own address, and the endpoint."""
SUREST_FIRST: tuple[Confidence, ...] = ("proven", "likely", "possible")


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for each endpoint, as seen from one namespace; one for an address whose ports are bound first."""
    settings, series = recording.last(Settings), recording.series(Ports)
    assert settings is not None  # both collectors are required
    pairs = _watched_pairs(recording)
    every = [_taken(sample, settings) for _, sample in series]
    most = _fullest_of(every)
    cases = [*_failing(pairs or (), most, entry), *_near(every, entry)]
    binds = bound_first(series, settings, pairs or (), entry)
    # Whom failed connects ask does not matter there: ports that were bound first are taken for all.
    cases = [case for case in cases if case.shape != "unseen" or case.netns not in {one.netns for one in binds}]
    found: dict[tuple[int, Endpoint], Case] = {}
    for case in sorted(cases, key=_order):
        found.setdefault((case.netns, case.endpoint), case)
    if not found and not binds:
        return [_nothing(series[-1][0], series[-1][1], settings, most, pairs, recording, entry)]
    composed = [compose_bound(one, pairs or (), recording, entry) for one in binds]
    composed += [compose(case, pairs or (), recording, entry) for case in found.values()]
    composed.sort(key=lambda finding: SUREST_FIRST.index(finding.confidence))
    return composed[: int(entry.limit("listed_endpoints"))]


def _order(case: Case) -> tuple[int, float, int, int]:
    return -case.failed, -case.share, case.netns, case.endpoint.port or 0


def _watched_pairs(recording: Recording) -> tuple[Pair, ...] | None:
    """None where nobody watched connects fail."""
    last = recording.last(Connections)
    pairs = pairs_of(recording) if last is not None and last.method == "bpf" else None
    return pairs.pairs if pairs is not None and pairs.window.parts else None


def _taken(sample: Ports, settings: Settings) -> dict[Key, Taken]:
    """What of the range is taken towards each endpoint."""
    found = {}
    for netns, ports in sample.by_netns.items():
        known = settings.by_netns.get(netns)
        available = known.ports if known is not None else None
        if known is None or not available:
            continue
        for use in ports.uses or ():
            waiting = 0 if reusable(use, known) else use.time_wait
            blocked = min(use.open + use.closing + waiting + ports.bound, available)
            found[netns, use.source, use.destination] = Taken(use, blocked, available, ports.bound, waiting, known)
    return found


def reusable(use: PortUse, settings: NamespaceSettings) -> bool:
    """Whether a connect takes a port in TIME_WAIT, after a second of it (tcp_twsk_unique, net/ipv4/tcp_ipv4.c)."""
    mode = settings.number("net.ipv4.tcp_tw_reuse")
    return mode == 1 or (mode == 2 and is_loopback(use.destination.address or ""))


def _fullest_of(every: Sequence[Mapping[Key, Taken]]) -> dict[Key, Taken]:
    """Each at its fullest reading."""
    found: dict[Key, Taken] = {}
    for reading in every:
        for key, taken in reading.items():
            if key not in found or taken.blocked > found[key].blocked:
                found[key] = taken
    return found


def _failing(pairs: Sequence[Pair], most: Mapping[Key, Taken], entry: Entry) -> list[Case]:
    """Endpoints to which connects found no port."""
    failed: Counter[tuple[int, Endpoint]] = Counter()
    for pair in pairs:
        if pair.here and pair.client.netns is not None:
            failed[pair.client.netns, pair.server] += pair.count("not-sent")
    found = []
    for (netns, endpoint), n in failed.items():
        if n < entry.limit("min_failed"):
            continue
        of_it = [taken for (place, _, to), taken in most.items() if (place, to) == (netns, endpoint)]
        fullest = max(of_it, key=lambda taken: taken.blocked, default=None)
        if fullest is not None and fullest.share >= entry.limit("min_share"):
            found.append(Case(netns, endpoint, _shape(fullest), "proven", fullest, n))
        else:
            found.append(Case(netns, endpoint, "unseen", "likely", fullest, n))
    return found


def _near(every: Sequence[Mapping[Key, Taken]], entry: Entry) -> list[Case]:
    """Endpoints towards which hardly a port is left at the end of the window; surer if it was so before."""
    least = entry.limit("min_share")
    seen = Counter(key for reading in every for key, taken in reading.items() if taken.share >= least)
    return [
        Case(netns, endpoint, _shape(taken), "likely" if seen[netns, source, endpoint] > 1 else "possible", taken, 0)
        for (netns, source, endpoint), taken in every[-1].items()
        if taken.share >= least
    ]


def _shape(taken: Taken) -> str:
    """By what most of the ports are taken by."""
    if 2 * taken.bound > taken.blocked:
        return "bound"
    return "time-wait" if taken.waiting > taken.use.open + taken.use.closing else "open"


def _nothing(
    at: Moment, newest: Ports, settings: Settings, most: Mapping[Key, Taken], pairs: Sequence[Pair] | None,
    recording: Recording, entry: Entry,
) -> Cleared | NotChecked:  # fmt: skip
    unread = [netns for netns, ports in newest.by_netns.items() if ports.unread]
    if unread:
        reason = f"{len(unread):,} network namespaces have sockets enough to take all ports, which could not be read"
        return NotChecked(rule=RULE, code="unreadable", reason=f"{reason} ({newest.by_netns[unread[0]].unread})")
    known = [netns for netns in newest.by_netns if netns in settings.by_netns and settings.by_netns[netns].ports]
    unknown = newest.netns_unread + len(newest.by_netns) - len(known)
    if not known:
        reason = f"the sockets or the settings of none of {unknown:,} network namespaces could be read"
        return NotChecked(rule=RULE, code="unreadable", reason=reason)
    hidden = min(sample.netns_unread for _, sample in recording.series(Ports))
    if unreached := out_of_reach(RULE, hidden):
        return unreached
    reach = (
        f"{100 * entry.limit('min_share'):g} % of the ports towards one endpoint taken, or from one address and hardly "
        f"one of them shared, in each of "
        f"{len(known):,} namespaces, and {entry.limit('min_failed'):.0f} connects within "
        f"{recording.seconds:.1f} s that find none"
    )
    if pairs is None:
        reach += "; whether any did was not watched (BPF)"
    if unknown:
        reach += f"; {unknown:,} namespaces were not read, or are new"
    evidence = [_fullest(at, newest, settings, most), *fullest_source(at, newest, settings)]
    if pairs is not None:
        failed = sum(pair.count("not-sent") for pair in pairs if pair.here)
        evidence.append(port_reading(at, "Connects that found no free port", failed, "connects"))
    return Cleared(rule=RULE, sensitivity=reach, evidence=tuple(evidence))


def _fullest(at: Moment, newest: Ports, settings: Settings, most: Mapping[Key, Taken]) -> Evidence:
    """The reading that comes nearest to a finding."""
    taken = max(most.items(), key=lambda item: item[1].share, default=None)
    if taken is not None:
        (_, _, endpoint), one = taken
        statement = f"Most ports taken towards one endpoint, {endpoint_text(endpoint)}"
        return port_reading(at, statement, one.blocked, "ports", limit=one.available, comparison="of")
    filled = [(_sockets(ports), known.ports) for netns, ports in newest.by_netns.items()
              if (known := settings.by_netns.get(netns)) is not None and known.ports]  # fmt: skip
    n, of = max(filled, key=lambda pair: pair[0] / (pair[1] or 1), default=(0, None))
    statement = "Sockets of the namespace with most of them for its ports, whatever their endpoints"
    return port_reading(at, statement, n, "sockets", limit=of, comparison=None if of is None else "of")


def _sockets(ports: NamespacePorts) -> int:
    return ports.sockets + ports.time_wait
