"""What to do about connects that fail."""

from __future__ import annotations

from whodunnet.model.finding import Remedy
from whodunnet.model.text import shell_quote
from whodunnet.rules.connect_failures import Case
from whodunnet.rules.connect_place import Place
from whodunnet.rules.identity import endpoint_text

RULES = "{ nft list ruleset; iptables-save; ip6tables-save; } | grep -niwF -e reject -e drop -e"
BACK_OFF = Remedy(
    action="fix-application",
    do="Let the callers wait longer after each failure, with some chance in it, and try another endpoint",
    command=None,
    effect="less load on what is down, and no herd when it is back",
    risk="a server that is back is noticed a little later",
)
AT_ONCE = Remedy(
    action="fix-application",
    do="Let the callers give up sooner: a time-out for connects of a second or two, above the 1 s of the first repeat",
    command=None,
    effect="callers fail fast instead of hanging, and can try another endpoint",
    risk="a slow server that would have answered counts as failed",
)


def refused_remedies(case: Case, shape: str) -> tuple[Remedy, ...]:
    """Find out who refuses; then wait between tries."""
    if shape in ("rejected", "closed-at-once", "reset-by-rule") or case.at_own_end:
        return _find_rule(case), BACK_OFF
    return _find_endpoint(case), BACK_OFF


def timeout_remedies(case: Case, shape: str, place: Place | None) -> tuple[Remedy, ...]:
    """Find out where it ends; callers should not hang meanwhile."""
    if shape == "queue-full":
        return *queue_remedies(place), AT_ONCE
    if shape == "table-full":
        return (AT_ONCE,)
    if shape in ("only-some-clients", "rejected-too-seldom") or case.at_own_end:
        return _find_rule(case), AT_ONCE
    return _find_endpoint(case), AT_ONCE


def queue_remedies(place: Place | None) -> tuple[Remedy, ...]:
    """Look where the accepting thread waits; a longer queue only for moments."""
    port = place.endpoint.port if place is not None else None
    return (
        Remedy(
            action="fix-application",
            do="See whether its queue stays full (Recv-Q above Send-Q): then it does not accept; find out why",
            command=f"ss -ltn sport = {port}" if port is not None else None,
            effect="tells a server that hangs from one that is only too slow for moments",
            risk="none",
        ),
        Remedy(
            action="tune",
            do="If it is full for moments only: a longer backlog in listen(), and net.core.somaxconn as long",
            command=None,
            effect="bursts wait instead of being dropped, without the second that a repeated SYN takes",
            risk="in a server that is too slow all the time it only makes everybody wait",
        ),
    )


def _find_rule(case: Case) -> Remedy:
    address = shell_quote(case.endpoints[0].address or "")
    return Remedy(
        action="fix-application",
        do="Find the rule or route that does it, here, and in the namespaces of both (nsenter -t PID -n)",
        command=f"{RULES} {address}; ip route get {address}",
        effect="says which policy, filter or route to change; a Service without endpoints is one of them",
        risk="none",
    )


def _find_endpoint(case: Case) -> Remedy:
    address = shell_quote(case.endpoints[0].address or "")
    return Remedy(
        action="fix-application",
        do="Find out who is behind that address, and whether each of them is ready and listens",
        command=f"kubectl get services,endpointslices,pods -A -o wide | grep -wF -- {address}",
        effect="says whom to start, or which endpoint to take out",
        risk="none",
    )


def slow_remedies(case: Case) -> tuple[Remedy, ...]:
    """Find where SYNs are lost."""
    where, port = shell_quote(case.endpoints[0].address or ""), case.endpoints[0].port or 0
    return (
        Remedy(
            action="fix-application",
            do="Find where it is lost: is the SYN seen twice at the server, or the answer twice at the client?",
            command=f"tcpdump -nli any host {where} and port {port} | grep -F 'Flags [S'",
            effect="says whether to look at the way there, at the server, or at the way back",
            risk="a capture sees the packets of all others too",
        ),
        Remedy(
            action="fix-application",
            do="Keep connections open and use them again",
            command=None,
            effect="fewer connects, so fewer that wait; what loses the SYNs remains",
            risk="a client has to expire idle connections before the server does",
        ),
    )


def port_remedies(case: Case) -> tuple[Remedy, ...]:
    """More ports buy time; fewer connections are the cure."""
    where = shell_quote(endpoint_text(case.endpoints[0]))
    return (
        Remedy(
            action="fix-application",
            do="See who has the ports, in the network namespace of who connects: each connection has one",
            command=f"ss -tan dst {where} | awk '{{print $1}}' | sort | uniq -c; sysctl net.ipv4.ip_local_port_range",
            effect="says whether they are open connections or such that have just been closed",
            risk="none",
        ),
        Remedy(
            action="tune",
            do="Widen the range there",
            command='sysctl -w net.ipv4.ip_local_port_range="16384 65535"  # in its network namespace',
            effect="almost twice as many connections to each endpoint at a time",
            risk="a port that a server listens on later may be taken then: in the node's own namespace reserve those "
            "first (net.ipv4.ip_local_reserved_ports; NodePorts are 30000-32767)",
        ),
    )
