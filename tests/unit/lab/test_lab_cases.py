"""Every case says what it is, without being started."""

from __future__ import annotations

import pytest

from lab.catalogue import find, names
from lab.look import parse


@pytest.mark.parametrize("name", names())
def test_a_case_has_a_story_and_a_kind(name: str) -> None:
    case = find(name)()
    assert case.name == name
    assert case.story
    assert case.kind in ("fault", "look-alike")
    assert case.window_seconds > 0


def test_one_line_of_ss() -> None:
    line = (
        "ESTAB 74128 0 [fd77::1]:44906 [fd77::2]:80 "
        "skmem:(r128000,rb131072,t0,tb87040,f3072,w64,o0,bl0,d3) cubic wscale:7,7 bytes_acked:103 segs_out:9"
    )
    connection = parse(line)
    assert (connection.state, connection.unread, connection.unsent) == ("ESTAB", 74128, 0)
    assert (connection.local_port, connection.peer_port) == (44906, 80)
    assert connection.memory == 128000 + 3072 + 64
    assert connection.acked == 103
