"""Filters of a watch: what matches, and what is said of a filter that does not exist."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import UsageError
from whodunnet.model.flow_event import FlowEvent
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Pod
from whodunnet.report.flow_filter import FlowFilter

from .flow_changes import as_it_is, translated

ASKED = translated(40000, 40001)
SIX = as_it_is("icmpv6", None, None, replied=True)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("address=10.1.0.2",),
        ("address=10.96.0.1",),
        ("address=10.2.0.2",),
        ("address=10.2.0.1",),
        ("address=10.96.0.0/16",),
        ("address=10.96.7.7/16",),
        ("address=::/0", "address=0.0.0.0/0"),
        ("port=40000",),
        ("port=80",),
        ("port=8080",),
        ("port=40001",),
        ("protocol=tcp",),
        ("protocol=6",),
        ("protocol=udp", "protocol=tcp"),
        ("state=syn-sent",),
        ("state=unreplied",),
        ("port=80", "address=10.1.0.2", "state=established", "state=syn-sent"),
    ],
)
def test_what_matches(words: tuple[str, ...]) -> None:
    assert FlowFilter(words).matches(ASKED)


@pytest.mark.parametrize(
    "words",
    [
        ("address=10.1.0.3",),
        ("address=::/0",),
        ("address=10.96.0.2/31", "address=10.3.0.0/16"),
        ("port=53",),
        ("protocol=udp",),
        ("protocol=17",),
        ("state=established",),
        ("state=replied",),
        ("port=80", "protocol=udp"),
        ("port=53", "address=10.1.0.2"),
    ],
)
def test_what_does_not_match(words: tuple[str, ...]) -> None:
    assert not FlowFilter(words).matches(ASKED)


def test_entries_without_ports_and_states_match_by_what_they_have() -> None:
    assert FlowFilter(("address=fd00:2::/64", "protocol=icmpv6", "state=replied")).matches(SIX)
    assert FlowFilter(("state=none",)).matches(SIX)
    assert not FlowFilter(("port=0",)).matches(SIX)


def test_a_pod_is_one_of_those_at_the_ends() -> None:
    chosen = FlowFilter(("pod=payments/foo", "pod=shop/db-0", "port=80"))
    assert chosen.matches(ASKED)
    assert chosen.matches_pods([Pod(uid="1"), Pod(namespace="shop", name="db-0", uid="2")])
    assert not chosen.matches_pods([Pod(namespace="shop", name="foo")])
    assert not chosen.matches_pods([])
    assert FlowFilter(("port=80",)).matches_pods([])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("prot=tcp", "'prot=tcp' is no filter; possible are, for example: address=10.2.0.0/16, port=53, protocol=udp"),
        ("tcp", "'tcp' is no filter; possible are"),
        ("address=", "write for example 10.2.3.4, 10.2.0.0/16 or fd00::1"),
        ("address=example.org", "'example.org' is no address and no network"),
        ("address=10.0.0.0/33", "is no address and no network"),
        ("port=65536", "a port is a number from 0 to 65535"),
        ("port=-1", "a port is a number"),
        ("port=http", "a port is a number"),
        ("port=\u0665", "a port is a number"),
        ("protocol=igmpx", "possible are ah,"),
        ("protocol=256", "possible are ah, dccp, esp, gre, icmp, icmpv6, igmp, ipip,"),
        ("protocol=TCP", "possible are"),
        ("state=SYN_SENT", "possible are unreplied, replied, none, syn-sent"),
        ("pod=foo", "a pod is written NAMESPACE/NAME"),
        ("pod=a/b/c", "a pod is written NAMESPACE/NAME"),
        ("pod=/b", "a pod is written NAMESPACE/NAME"),
    ],
)
def test_a_wrong_filter_says_what_is_possible(word: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        FlowFilter(("port=80", word))
    assert said in str(caught.value)


@given(st.lists(st.text(max_size=30) | st.from_regex(r"(address|port|protocol|state|pod)=.{0,20}"), max_size=4))
def test_any_words_make_a_filter_or_a_clean_sentence(words: list[str]) -> None:
    said = ""
    try:
        assert FlowFilter(words).matches(ASKED) in (True, False)
    except UsageError as error:
        said = str(error)
    assert said.isprintable()


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_networks_are_those_of_the_standard_library(address: ipaddress.IPv4Address, length: int) -> None:
    inside = ipaddress.ip_address("10.1.0.2") in ipaddress.ip_network(f"{address}/{length}", strict=False)
    only = FlowEvent(
        kind="new", family=4, protocol="tcp", **dict.fromkeys(("source", "destination", "answered_by", "source_as"),
        Endpoint("10.1.0.2", 1)),
    )  # fmt: skip
    assert FlowFilter((f"address={address}/{length}",)).matches(only) == inside


def test_pods_that_are_asked_for_and_that_nobody_has_are_told() -> None:
    chosen = FlowFilter(["pod=shop/web-0", "pod=shop/gone"])
    assert chosen.strangers([Pod(namespace="shop", name="web-0"), Pod(namespace="other", name="gone")]) == ["shop/gone"]
    assert FlowFilter(["port=53"]).strangers([]) == []


def test_a_protocol_is_asked_for_by_the_name_that_is_printed() -> None:
    igmp = msgspec.structs.replace(ASKED, protocol="2")
    assert FlowFilter(["protocol=igmp"]).matches(igmp)
    assert not FlowFilter(["protocol=esp"]).matches(igmp)
