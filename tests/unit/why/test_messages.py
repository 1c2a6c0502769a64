"""Errors as programs write them: what they mean and between whom, and that no text does harm."""

from __future__ import annotations

import random
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import UsageError
from whodunnet.model.text import clean
from whodunnet.why.forms import forms, kinds
from whodunnet.why.message import LIMIT_BYTES, SHOWN, Message, read_message
from whodunnet.why.sides import PORT_MAX

from .messages import CASES, Case

ALLOWED_SECONDS = 3.0
"""Of CPU, for the longest text there may be; it takes a tenth of that."""
MEANINGLESS = (
    "",
    "\n\n",
    "it works",
    "permission denied: /etc/shadow",
    "Segmentation fault (core dumped)",
    "404 page not found",
    "SyntaxError: unexpected EOF while parsing",
    "KeyError: 'timeout'",
    "[   12.3] usb 1-1: USB disconnect, device number 2",
    "10.0.0.1:80 -> 10.0.0.2:443",
)
PIECES = sorted({word for case in CASES for word in case.text.split()})
texts = st.text() | st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.text[:60])
def test_what_a_program_writes_is_read_as_it_is_meant(case: Case) -> None:
    found = read_message(case.text)
    assert (found.kind, found.product) == (case.kind, case.product)
    ends = [str(side) if side is not None else "" for side in (found.source, found.destination)]
    assert (*ends, found.name or "") == (case.source, case.destination, case.name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.text[:60])
def test_what_stands_around_a_line_changes_nothing(case: Case) -> None:
    alone = read_message(case.text)
    found = read_message(f"2026-03-01T12:00:00Z worker\n{case.text}\n    and so on\n")
    assert (found.kind, found.source, found.destination) == (alone.kind, alone.source, alone.destination)


def test_there_are_enough_of_each() -> None:
    assert len({case.text for case in CASES}) == len(CASES) >= 60
    assert {case.kind for case in CASES} == set(kinds().kinds)
    products = {"Go", "Python", "Java", "Node", "curl", "nginx", "Envoy", "gRPC", "HAProxy", "Ruby", ".NET", "Rust"}
    assert products < {case.product for case in CASES}


@pytest.mark.parametrize("text", MEANINGLESS)
def test_a_text_that_means_nothing_is_told_which_forms_are_known(text: str) -> None:
    with pytest.raises(UsageError, match=r"no error of the network.*Go, Python, Java.*connection refused.*--endpoint"):
        read_message(text)


def test_a_text_that_is_too_long_is_refused() -> None:
    longest = "x" * (LIMIT_BYTES - len("ECONNRESET") - 1) + " ECONNRESET"
    assert read_message(longest).kind == "reset"
    with pytest.raises(UsageError, match="longer than 64 KiB"):
        read_message(longest + " ")


def test_only_the_line_that_says_what_failed_is_kept() -> None:
    found = read_message("secret=1\ncurl: (52) Empty reply from server\nsecret=2")
    assert found.text == "curl: (52) Empty reply from server"


def test_further_addresses_of_one_name_are_kept_too() -> None:
    text = "[Errno 111] Connect call failed ('::1', 5432, 0, 0), [Errno 111] Connect call failed ('127.0.0.1', 5432)"
    assert [str(side) for side in read_message(text).also] == ["127.0.0.1:5432"]


def test_the_client_of_a_proxy_is_not_taken_for_its_server() -> None:
    found = read_message(
        "[error] 31#31: *47 connect() failed (111: Connection refused) while connecting to upstream, "
        'client: 192.0.2.7, server: shop.example, request: "GET http://192.0.2.8/ HTTP/1.1", upstream: "http://10.0.0.9:8080/"'
    )
    assert str(found.destination) == "10.0.0.9:8080"
    assert found.source is None


@given(texts)
def test_any_text_has_an_answer_or_a_clear_refusal(text: str) -> None:
    with suppress(UsageError):
        assert_harmless(read_message(text))


def assert_harmless(found: Message) -> None:
    """Nothing in it is longer than a line, or does anything to a terminal."""
    sides = [side for side in (found.source, found.destination, *found.also) if side is not None]
    for said in (found.text, found.name or "", *map(str, sides)):
        assert clean(said, 1024) == said
        assert len(said) <= 2 * SHOWN + 300
    assert all(side.port is None or 0 < side.port <= PORT_MAX for side in sides)
    assert found.kind in kinds().kinds


BEGINNINGS = (
    "dial tcp ",
    "lookup ",
    "a",
    "a:",
    "1.1.1.1:",
    "::",
    "[",
    "(",
    "/",
    "connect to ",
    "http://",
    "failed ",
    " ",
)
EVIL = (
    *(begin * (LIMIT_BYTES // len(begin)) for begin in BEGINNINGS),
    "\n" * LIMIT_BYTES,
    "a.b-c:%" * (LIMIT_BYTES // 7),
    "lookup a on a: " * (LIMIT_BYTES // 15),
    "UnknownHostException: DNS resolution failed for " * (LIMIT_BYTES // 48),
    "Connecting to Connection to could not connect " * (LIMIT_BYTES // 46),
    "http://" + "a" * (LIMIT_BYTES - 7),
    "10.0.0.1:80->" * (LIMIT_BYTES // 13),
)


@pytest.mark.parametrize("text", EVIL, ids=lambda text: text[:12])
def test_no_text_is_slow(text: str) -> None:
    whole = text[: LIMIT_BYTES - 11] + " ECONNRESET"  # so that who is named is looked for as well
    begin = time.process_time()
    assert_harmless(read_message(whole))
    assert time.process_time() - begin < ALLOWED_SECONDS


def test_no_mixture_of_what_the_forms_look_for_is_slow() -> None:
    mixed = random.Random(7)
    for _ in range(10):
        text = "".join(mixed.choice((" ", "")) + mixed.choice(PIECES) for _ in range(20_000))[: LIMIT_BYTES // 4]
        begin = time.process_time()
        assert_harmless(read_message(text))
        assert time.process_time() - begin < ALLOWED_SECONDS


def test_every_form_is_the_one_that_reads_some_text() -> None:
    """None stands behind another that takes all of its texts."""
    used = {next(form for form in forms().forms if form.pattern.search(case.text)) for case in CASES}
    assert [(form.product, form.kind) for form in forms().forms if form not in used] == []


def test_colours_of_a_terminal_are_no_part_of_an_address() -> None:
    found = read_message("\x1b[31mERROR\x1b[0m dial tcp \x1b[1;4m10.0.0.1:80\x1b[0m: connect: connection refused")
    assert str(found.destination) == "10.0.0.1:80"
    assert "\x1b" not in found.text


@pytest.mark.parametrize(
    "text",
    [
        "dial unix /run/app.sock: connect: connection refused",
        "connect() to unix:/run/php.sock failed (111: Connection refused)",
    ],
)
def test_a_socket_of_the_file_system_is_no_network(text: str) -> None:
    with pytest.raises(UsageError, match="unix"):
        read_message(text)
