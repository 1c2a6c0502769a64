"""A proxy that has handed a close on waits for whoever does not close, and has forgotten nothing."""

from __future__ import annotations

import pytest

from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint, SocketGroup

from .nodes import LEAK, MIN, findings, group, limit, memory_of, named, pids, recording

N, AGE = 4 * MIN, limit("close_wait_age")
FRONT, BACK = Endpoint(None, 9100), Endpoint("10.99.0.2", 9200)
PROXY, SERVER = 7, 8


def proxy(half_closed: int = N, to: Endpoint = BACK, holding: str = "descriptor") -> list[list[SocketGroup]]:
    """CLOSE_WAIT in front that grows, and so many connections behind of which it has closed its half."""
    return [
        [
            group("close-forgotten", n, pid=PROXY, age=AGE, role="accepted", endpoint=FRONT),
            group("held-open", half_closed, pid=PROXY, age=AGE, state="fin-wait-2", endpoint=to, holding=holding),
        ]
        for n in (N // 2, N)
    ]


def node(of_proxy: list[list[SocketGroup]], server_port: int | None = BACK.port) -> Recording:
    """server_port: of a server here that does not close; None: it is elsewhere."""
    servers = [
        [group("close-forgotten", n, pid=SERVER, age=AGE, role="accepted", endpoint=Endpoint(None, server_port))]
        for n in (N // 2, N)
    ]
    both = [a + b for a, b in zip(of_proxy, servers, strict=True)] if server_port else of_proxy
    return recording(both, workloads=named(PROXY, SERVER), memory=memory_of(10))


def told(of: Recording) -> dict[str | None, tuple[str, str, list[int]]]:
    return {f.shape: (f.severity, f.confidence, pids(f, "culprit")) for f in findings(of)}


def test_the_server_that_does_not_close_is_the_culprit_and_its_proxy_a_holder() -> None:
    both = node(proxy())
    assert told(both) == {
        "close-forgotten": ("warning", "proven", [SERVER]),
        "close-handed-on": ("info", "likely", []),
    }
    (handed_on,) = (f for f in findings(both) if f.shape == "close-handed-on")
    assert (pids(handed_on, "holder"), handed_on.claim) == ([PROXY], "holds")
    assert [p.endpoint for p in handed_on.parties if p.role == "peer"] == [BACK]


@pytest.mark.parametrize("port", [None, 9300])
def test_where_nobody_here_is_seen_not_to_close_it_is_a_warning_about_the_address(port: int | None) -> None:
    severity, confidence, culprits = told(node(proxy(), port))["close-handed-on"]
    assert (severity, confidence, culprits) == ("warning", "likely", [])


def test_it_is_the_same_when_the_client_does_not_close() -> None:
    """The server has closed first: what the client should close is known by the proxy's own port."""
    client = node(proxy(to=Endpoint(None, 9100)), 9100)
    assert told(client)["close-handed-on"][0] == "info"


@pytest.mark.parametrize(
    ("of_proxy", "shape"),
    [
        (proxy(round(0.8 * N)), "close-handed-on"),
        (proxy(round(0.8 * N) - 1), "close-forgotten"),
        (proxy(holding="orphan"), "close-forgotten"),
    ],
)
def test_it_has_to_have_handed_on_as_many_and_to_have_them_open(of_proxy: list[list[SocketGroup]], shape: str) -> None:
    assert list(told(node(of_proxy, None))) == [shape]


def test_nobody_is_told_to_restart_it() -> None:
    (handed_on,) = findings(node(proxy(), None))
    assert "restart" not in [remedy.action for remedy in handed_on.remedies]
    assert "10.99.0.2:9200" in handed_on.title
    assert LEAK.shapes["close-handed-on"].fix in [remedy.do for remedy in handed_on.remedies]
