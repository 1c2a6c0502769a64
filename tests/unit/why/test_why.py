"""The answer to an error on nodes made of a few words: explained, ruled out, not seen from here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rules.connects import node, opened, refused, silent, translated
from rules.endings import FAR_SERVER, SERVER, SERVER_PID, initiated, listening
from rules.tracking import DEAD, OTHER_POD, POD, REMOTE, connecting, table, tables

from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.finding import Cleared
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint, Sockets
from whodunnet.recording.reader import load
from whodunnet.rules.catalogue import catalogue
from whodunnet.why.document import Why, answer_why, ordered_rules
from whodunnet.why.flow import flow_of
from whodunnet.why.message import read_message
from whodunnet.why.subject import Subject, parse_endpoint, parse_pod

NODES = Path(__file__).parents[2] / "fixtures/nodes"
REFUSED = f"dial tcp {OTHER_POD}:8000: connect: connection refused"
IN_USE = f"Error: listen EADDRINUSE: address already in use {OTHER_POD}:8000"
FAR = f"dial tcp {FAR_SERVER.address}:443: connect: connection refused"


def ask(found: Recording, text: str | None = None, *, pod: str | None = None, endpoint: str | None = None) -> Why:
    subject = Subject(
        message=read_message(text) if text is not None else None,
        pod=parse_pod(pod) if pod is not None else None,
        endpoint=parse_endpoint(endpoint) if endpoint is not None else None,
    )
    return answer_why(subject, found, diagnose(found, ordered_rules(subject.kind, list(catalogue()))))


def said(why: Why) -> list[tuple[str, str]]:
    return [(e.rule, e.relation) for e in why.explained_by]


def test_a_refused_connect_is_explained_by_who_refuses() -> None:
    why = ask(node(refused(60)), REFUSED)
    assert (why.answer, said(why)) == ("explained", [("connect-refused", "endpoint")])
    assert why.next == ()


def test_connects_to_another_endpoint_that_are_refused_do_not_explain_it() -> None:
    why = ask(node(refused(60)), REFUSED.replace("8000", "8001"))
    assert (why.answer, said(why)) == ("not-explained", [])
    assert [i.partition(":")[0] for i in why.elsewhere] == ["connect-refused"]


def test_what_was_ruled_out_has_its_reading() -> None:
    why = ask(node(opened(60)), REFUSED)
    assert (why.answer, why.ruled_out) == ("not-explained", ("connect-refused",))
    assert [(e.statement, e.value) for e in why.seen] == [("Connects that were answered", 60)]


def test_without_the_rule_that_could_have_made_it_nothing_is_judged() -> None:
    why = ask(node(opened(60), method="counters"), REFUSED)
    assert (why.answer, why.not_checked) == ("not-judged", ("connect-refused",))
    assert why.not_seen[-1].startswith("how connections began and ended: ")


def test_who_is_at_both_ends_is_named() -> None:
    why = ask(node(opened(1)), f"read tcp {POD}:41234->{OTHER_POD}:8000: i/o timeout")
    assert why.source is not None
    assert why.destination is not None
    pods = [
        place.workload and place.workload.pod and place.workload.pod.name for place in (why.source, why.destination)
    ]
    assert (pods, why.source.here, why.destination.here) == (["web", "batch"], True, True)


def test_an_error_between_two_others_is_not_judged_here() -> None:
    why = ask(node(refused(60)), "read tcp 198.51.100.1:41234->198.51.100.2:443: i/o timeout")
    assert (why.answer, said(why)) == ("not-judged", [])
    assert [sentence.partition(":")[0] for sentence in why.not_seen[:1]] == ["either end"]
    assert why.next[0].command == "kubectl get pods -A -o wide --field-selector=status.podIP=198.51.100.2"
    assert why.next[1].command.startswith("whodunnet why 'read tcp 198.51.100.1:41234->198.51.100.2:443")


def test_what_is_not_seen_of_a_far_end_is_said_and_where_it_is() -> None:
    why = ask(node(opened(5, to=FAR_SERVER)), FAR)
    assert why.not_seen == (f"who listens there, its queues and its CPU: {FAR_SERVER.address}:443 is not on this node",)
    assert "kubectl" in why.next[0].command


def test_a_flow_of_which_nothing_was_seen_is_to_be_watched_for_longer() -> None:
    why = ask(node(opened(5)), FAR)
    assert why.not_seen[-1] == "a connection to it in this window of 10 s: none began, ended or failed"
    assert f"whodunnet why --for 5m '{FAR}'" in [step.command for step in why.next]


def test_queues_of_a_listener_elsewhere_are_not_ruled_out() -> None:
    for there, is_ruled_out in ((f"{OTHER_POD}:8000", True), (f"{FAR_SERVER.address}:443", False), ("db:443", False)):
        subject = Subject(message=read_message(f"read tcp {POD}:41234->{there}: i/o timeout"))
        recording = node(opened(5))
        judged = diagnose(recording, ordered_rules(subject.kind, list(catalogue())))
        queues = Cleared(rule="accept-queue", sensitivity="a full queue", evidence=())
        why = answer_why(subject, recording, replace(judged, cleared=(*judged.cleared, queues)))
        assert ("accept-queue" in why.ruled_out) is is_ruled_out
        assert "resets" in why.ruled_out


def test_of_a_flow_between_others_and_of_a_pod_elsewhere_nothing_is_ruled_out() -> None:
    assert ask(node(opened(5)), "read tcp 198.51.100.1:41234->198.51.100.2:443: i/o timeout").ruled_out == ()
    assert ask(node(opened(5)), "connection refused", pod="default/nobody").ruled_out == ()


def test_of_a_name_only_the_port_is_compared_and_that_is_said() -> None:
    why = ask(node(refused(60)), "curl: (7) Failed to connect to app.example port 8000 after 0 ms: Connection refused")
    assert (why.answer, said(why)) == ("perhaps", [("connect-refused", "port")])
    assert "names are not looked up" in why.not_seen[0]


def test_of_a_text_without_ends_every_finding_of_its_kind_may_be_it() -> None:
    why = ask(node(refused(60)), "ConnectionRefusedError: [Errno 111] Connection refused")
    assert (why.answer, said(why)) == ("perhaps", [("connect-refused", "kind")])
    assert why.not_seen[0].startswith("between whom it was")


def test_an_endpoint_said_by_hand_fills_what_the_text_leaves_open() -> None:
    why = ask(node(refused(60)), "connection refused", endpoint=f"{OTHER_POD}:8000")
    assert (why.answer, said(why)) == ("explained", [("connect-refused", "endpoint")])
    assert ask(node(refused(60)), "connection refused", endpoint=f"{OTHER_POD}:1").answer == "not-explained"


def test_a_service_is_followed_to_its_endpoints() -> None:
    asked = Endpoint("10.96.0.1", 80)
    found = node(refused(60), samples={"conntrack": translated(asked, SERVER)})
    assert said(ask(found, "dial tcp 10.96.0.1:80: connect: connection refused")) == [("connect-refused", "endpoint")]


@pytest.mark.parametrize(("pod", "answer"), [("default/web", "explained"), ("default/nobody", "not-judged")])
def test_a_pod_is_asked_about(pod: str, answer: str) -> None:
    assert ask(node(refused(60)), pod=pod).answer == answer


def test_a_pod_narrows_an_error_without_ends() -> None:
    found = node(refused(60))
    assert said(ask(found, "connection refused", pod="default/batch")) == [("connect-refused", "owner")]
    assert said(ask(found, "connection refused", pod="default/web")) == [("connect-refused", "owner")]
    assert said(ask(found, "connection refused", pod="default/nobody")) == []


def test_a_pod_that_is_not_here_is_said_not_to_be() -> None:
    why = ask(node(refused(60)), pod="default/nobody")
    assert said(why) == []
    assert why.not_seen[0] == "the pod default/nobody: nothing of it was met on this node"


def test_names_that_fail_are_explained_by_a_full_table_and_not_by_a_silent_server() -> None:
    found = load(NODES / "incident-3-conntrack/recording.jsonl")
    assert said(ask(found, "temporary failure in name resolution"))[0] == ("conntrack-table", "node")
    hang = tables(*[table(connecting(DEAD, 10 * i, idle=5)) for i in range(1, 5)])
    assert said(ask(hang, "dial tcp: lookup x on 10.96.0.10:53: i/o timeout")) == []


@pytest.mark.parametrize(
    ("incident", "text", "rule"),
    [
        ("incident-1-tcp-memory", "Read timed out. (read timeout=5)", "tcp-memory"),
        ("incident-2-stalls", "net/http: timeout awaiting response headers", "rx-stall"),
        ("incident-3-conntrack", "temporary failure in name resolution", "conntrack-table"),
        ("incident-5-keepalive", "RemoteDisconnected('Remote end closed connection')", "keepalive-mismatch"),
    ],
)  # fmt: skip
def test_each_incident_is_explained_from_the_error_that_people_had(incident: str, text: str, rule: str) -> None:
    why = ask(load(NODES / incident / "recording.jsonl"), text)
    assert why.answer in ("explained", "perhaps")
    assert said(why)[0][0] == rule


@pytest.mark.parametrize(
    ("text", "listeners", "answer", "who"),
    [
        (REFUSED, [], "perhaps", "nobody"),
        (REFUSED, [listening()], "not-explained", "default/batch (app8)"),
        (IN_USE, [listening()], "perhaps", "default/batch (app8)"),
        (IN_USE, [listening(at=FAR_SERVER)], "not-judged", "nobody"),
        ("listen tcp :8000: bind: address already in use", [listening()], "perhaps", "default/batch (app8)"),
        ("dial tcp 127.0.0.1:8000: connect: connection refused", [listening()], "perhaps", "nobody"),
        (FAR, [listening()], "not-explained", None),
    ],
)  # fmt: skip
def test_who_listens_there_is_said(text: str, listeners: list[Any], answer: str, who: str | None) -> None:
    found = node(opened(5), listeners=[*listeners, listening(at=Endpoint("10.9.9.9", 1))])
    why = ask(found, text)
    told = [e.value for e in (*why.signs, *why.seen) if e.statement.startswith("Who listens")]
    assert (why.answer, told) == (answer, [who] if who else [])


def test_how_many_wait_in_the_queue_of_who_listens_there_is_said() -> None:
    queues = [replace(listening(), waiting=n) for n in (2, 3)]
    why = ask(node(opened(5), listeners=queues), f"read tcp {POD}:41234->{OTHER_POD}:8000: i/o timeout")
    (told,) = [e for e in why.seen if e.statement.startswith("Connections in its accept queue")]
    assert (told.value, told.comparison, told.limit) == (3, "of", 128)
    assert "fullest queue of several" in told.statement


@pytest.mark.parametrize(
    ("endpoint", "at", "found"),
    [
        ("127.0.0.1:8000", Endpoint("127.0.0.1", 8000), True),
        ("localhost:8000", Endpoint("::", 8000), True),
        ("127.0.0.1:8001", Endpoint("127.0.0.1", 8000), False),
        ("127.0.0.1:8000", Endpoint("10.9.9.9", 8000), False),
        (f"{SERVER.address}:8000", Endpoint("::", 8000), False),
    ],
)
def test_of_a_loopback_whoever_listens_on_it_may_be_meant(endpoint: str, at: Endpoint, found: bool) -> None:
    subject = Subject(endpoint=parse_endpoint(endpoint))
    flow = flow_of(subject, node(opened(5), listeners=[listening(at=at)]))
    assert [w.process.pid for w in flow.listeners if w.process is not None] == ([SERVER_PID] if found else [])


@pytest.mark.parametrize("gap", [{"listeners_cut": True}, {"netns_unread": 1}, {"all_processes": False}])
def test_where_not_all_listeners_are_known_nobody_is_said_not_to_listen(gap: dict[str, Any]) -> None:
    found = node(opened(5), listeners=[listening(at=Endpoint("10.9.9.9", 1))])
    cut = replace(
        found,
        snapshots=tuple(
            replace(s, samples={n: replace(x, **gap) if isinstance(x, Sockets) else x for n, x in s.samples.items()})
            for s in found.snapshots
        ),
    )
    assert ask(found, REFUSED).signs
    assert ask(cut, REFUSED).signs == ()


def test_what_failed_is_counted_by_how_it_failed() -> None:
    why = ask(node(*silent(4), initiated("reset-received", 3), opened(9)), REFUSED)
    assert {e.statement: e.value for e in why.seen} == {
        "Connects that were answered": 9,
        "Connects that nobody answered until they were given up": 4,
        "SYNs that were sent again": 4,
        "Resets that came": 3,
    }


def test_an_error_that_no_rule_judges_says_so() -> None:
    why = ask(node(opened(5)), "upstream connect error or disconnect/reset before headers. reset reason: overflow")
    assert (why.answer, why.no_rule, why.ruled_out) == ("not-judged", True, ())


def test_rules_that_could_have_made_it_come_first_and_all_are_asked() -> None:
    kind = read_message(REFUSED)
    order = ordered_rules(Subject(message=kind).kind, list(catalogue()))
    assert order[0] == "connect-refused"
    assert sorted(order) == sorted(catalogue())


def test_hostile_words_stay_one_word_in_every_command() -> None:
    why = ask(node(opened(5)), "curl: (6) Could not resolve host: x'$(reboot)'; rm -rf /")
    for step in why.next:
        assert "$(reboot)" not in step.command.replace("'\"'\"'", "").split("'")[0]


def test_an_empty_window_is_no_reason_to_fail() -> None:
    one = node(opened(5), moments=1)
    assert ask(one, f"dial tcp {REMOTE}:443: i/o timeout").answer in ("not-judged", "not-explained")
