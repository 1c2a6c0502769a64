"""connect-refused by client: second addresses of a name, scans, one client refused everywhere, many together."""

from __future__ import annotations

from typing import Any

from whodunnet.model.sockets import Endpoint
from whodunnet.rules.connect_failures import NOT_KNOWN_WHOSE_END, OWN_END

from .connects import (
    cleared,
    limit,
    named,
    node,
    opened,
    refused,
    said,
)
from .endings import FAR_SERVER, initiated
from .nodes import finding, findings
from .tracking import OTHER_NETNS, OTHER_POD

RULE = "connect-refused"


def test_a_name_with_two_addresses_is_tried_at_the_second() -> None:
    first, second = Endpoint("::1", 8080), Endpoint("127.0.0.1", 8080)
    found = node(refused(60, to=first), opened(60, to=second))
    assert findings(found, RULE) == []
    assert "60 were refused at one address of a name" in cleared(found, RULE).sensitivity
    for other in (Endpoint("127.0.0.1", 8081), Endpoint("127.0.0.2", 8080)):
        asked = Endpoint("127.0.0.1", 8080) if other.address == "127.0.0.2" else first
        assert findings(node(refused(60, to=asked), opened(60, to=other)), RULE)


def test_a_scan_tries_each_port_once() -> None:
    ports = (refused(1, to=Endpoint(OTHER_POD, port)) for port in range(1, 200))
    hosts = (refused(1, to=Endpoint(f"203.0.113.{n}", 22)) for n in range(1, 200))
    assert findings(node(*ports), RULE) == []
    assert findings(node(*hosts), RULE) == []


def test_one_client_that_is_refused_everywhere_is_one_finding() -> None:
    n = int(limit(RULE, "many_addresses"))
    many = [refused(10, to=Endpoint(f"203.0.113.{i}", 443)) for i in range(n)]
    found = finding(node(*many), RULE)
    assert (found.shape, found.confidence) == ("many-addresses", "likely")
    assert f"at {n} addresses" in found.title
    assert named(found, "victim") == ["web"]
    assert NOT_KNOWN_WHOSE_END in found.explanation
    assert said(node(*many[1:]), RULE) == []


def test_a_client_has_the_cause_at_its_end_if_its_addresses_have_nothing_else_in_common() -> None:
    other: dict[str, Any] = {"netns": OTHER_NETNS, "client": OTHER_POD, "owner_pid": 8, "comm": "app8"}
    many = [Endpoint(f"203.0.113.{i}", 443) for i in range(int(limit(RULE, "many_addresses")))]
    ports = [Endpoint(e.address, 440 + i) for i, e in enumerate(many)]
    of_one = [refused(10, to=e) for e in many]
    for groups, own in (
        ([*of_one, *(opened(10, to=e, **other) for e in many[:3])], True),
        ([*of_one, *(opened(10, to=e, **other) for e in many[:2])], False),
        ([*of_one, *(refused(10, to=e, **other) for e in many)], False),
        ([refused(10, to=e) for e in ports], True),
        ([*(refused(10, to=e) for e in ports), opened(10, to=FAR_SERVER)], False),
        ([*(refused(10, to=e) for e in ports), refused(10, to=ports[0], **other)], False),
    ):
        found = findings(node(*groups), RULE)[0]
        assert found.shape == "many-addresses"
        assert [OWN_END in found.explanation, NOT_KNOWN_WHOSE_END in found.explanation] == [own, not own]
        assert ("nft list ruleset" in (found.remedies[1].command or "")) == own


def test_clients_with_few_connects_are_judged_together() -> None:
    """Of many that connect a few times, those that failed are no group of their own."""

    def clients(first: int, n: int) -> list[dict[str, Any]]:
        return [
            {"netns": first + i, "client": f"10.9.{i // 250}.{i % 250 + 1}", "owner_pid": first + i} for i in range(n)
        ]

    bad, good = clients(5000, 40), clients(6000, 400)
    groups = [refused(3, to=FAR_SERVER, **each) for each in bad] + [opened(3, to=FAR_SERVER, **each) for each in good]
    found = finding(node(*groups), RULE)
    assert (found.shape, len(named(found, "victim"))) == ("refuses-some", 3)
    assert "120 of 1,320 connects (9 %)" in found.title
    more = [opened(3, to=FAR_SERVER, **each) for each in clients(7000, 500)]
    assert said(node(*groups, *more), RULE) == []


def test_all_clients_of_an_endpoint_are_in_one_finding() -> None:
    other: dict[str, Any] = {"netns": OTHER_NETNS, "client": OTHER_POD, "owner_pid": 8, "comm": "app8"}
    found = finding(node(refused(40, to=FAR_SERVER), refused(30, to=FAR_SERVER, **other)), RULE)
    assert named(found, "victim") == ["web", "batch"]
    assert "70 of 70 connects (100 %) of 2 clients" in found.title or "of 2 clients: 70 of 70" in found.title


def test_loopback_addresses_of_two_namespaces_are_two_endpoints() -> None:
    here = Endpoint("127.0.0.1", 8080)
    other: dict[str, Any] = {"netns": OTHER_NETNS, "client": "127.0.0.1", "owner_pid": 8, "comm": "app8"}
    found = findings(node(refused(40, to=here, client="127.0.0.1"), refused(30, to=here, **other)), RULE)
    assert [named(f, "victim") for f in found] == [["web"], ["batch"]]
    assert len({f.id for f in found}) == 2


def test_merged_clients_are_counted_all_the_same() -> None:
    merged = initiated("refused", 40, client=None, owner_pid=None, comm="")
    assert said(node(merged), RULE)[0][0] == "refuses-all"
