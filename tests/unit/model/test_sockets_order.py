"""One pass over the sockets looks the same, in whatever order the kernel's maps gave it."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model.sockets import Endpoint, Sockets, in_order

from ..rules.nodes import NETNS, group, held, listener

PIDS = (None, 7, 8, 9)
ENDS = (None, Endpoint(None, 80), Endpoint("10.0.0.1", None), Endpoint("::1", 80))


@given(st.randoms(use_true_random=False))
def test_a_pass_in_any_order_is_the_same_in_order(dice: Random) -> None:
    groups = [
        group(kind, 3, pid=pid, netns=netns, endpoint=end)
        for kind in ("held-open", "orphans") for pid in PIDS for netns in (None, NETNS) for end in ENDS
    ]  # fmt: skip
    queues = [listener(pid, port) for pid in PIDS for port in (80, 443)]
    stuck = [held(7, Endpoint("10.0.0.1", port), Endpoint("10.0.0.2", 80)) for port in range(5)]
    pass_ = Sockets(method="bpf", groups=tuple(groups), accept_queues=tuple(queues), stuck=tuple(stuck))
    turned = replace(
        pass_,
        groups=tuple(dice.sample(groups, len(groups))),
        accept_queues=tuple(dice.sample(queues, len(queues))),
        stuck=tuple(dice.sample(stuck, len(stuck))),
    )
    assert in_order(turned) == in_order(pass_)
    assert set(in_order(turned).groups) == set(groups)
