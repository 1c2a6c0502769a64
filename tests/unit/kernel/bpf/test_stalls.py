import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError
from whodunnet.kernel.bpf.objects import split_records
from whodunnet.kernel.bpf.stall_records import (
    STALL_KINDS,
    Record,
    decode_record,
    functions,
    softirq_name,
    summed,
)
from whodunnet.model import stalls as model

HEADER = (Path(__file__).parents[4] / "bpf/stalls.h").read_text()
libbpf = pytest.importorskip("whodunnet.kernel.bpf._libbpf", reason="the binding to libbpf is not built")
FFI = libbpf.ffi
MS = 1_000_000
NAMES = {100: "inner", 199: "caller", 299: "do_syscall_64", 399: "bpf_trace_run1", 499: "handle_softirqs"}


def constant(name: str) -> int:
    found = re.search(rf"#define {name} (\d+)", HEADER)
    assert found is not None
    return int(found[1])


def test_words_stand_in_the_order_of_the_header() -> None:
    listed = re.search(r"enum stall_kind \{([^}]+)\}", re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL))
    assert listed is not None
    names = [part.strip() for part in listed[1].split(",") if part.strip()]
    assert [name.removeprefix("STALL_").lower() for name in names] == list(STALL_KINDS)


def test_bounds_are_those_of_the_header() -> None:
    assert constant("DELAY_CLASSES") == model.DELAY_CLASSES
    assert constant("STALL_FRAMES") == model.FUNCTIONS_MAX


def test_what_all_cpus_write_to_does_not_share_cache_lines() -> None:
    """Values of an array that is mapped begin at a page, others at any multiple of 8 bytes."""
    assert FFI.sizeof("struct softirq_cpu") % 64 == 0
    assert FFI.offsetof("struct softirq_state", "padding") + 64 <= FFI.sizeof("struct softirq_state")


def seen(of: object, **fields: object) -> None:
    values: Mapping[str, object] = {"priority": 120, "syscall": -1, "comm": b"reader", "thread": b"worker", **fields}
    for name, value in values.items():
        setattr(of, name, value)


def record(
    *samples: Mapping[str, object], kind: int = 0, since: int = 10 * MS, until: int = 30 * MS, traced: bool = True
) -> bytes:
    stall = FFI.new("struct stall *")
    stall.kind, stall.since_ns, stall.until_ns, stall.cpu, stall.taken = kind, since, until, 3, len(samples)
    seen(stall.end, pid=7, tid=8, at_ns=until, softirq=4, frames=3, traced=traced)
    stall.end.stack[0:3] = [399, 500, 200]
    for place, fields in zip(stall.samples, samples, strict=False):
        seen(place, **fields)
    size = FFI.offsetof("struct stall", "samples") + len(samples) * FFI.sizeof("struct seen")
    return bytes(FFI.buffer(stall, size))


def sample(ms: int, **fields: object) -> dict[str, object]:
    return {
        "at_ns": ms * MS,
        "pid": 7,
        "tid": 8,
        "switches": 5,
        "syscall": 0,
        "stack": [100, 200],
        "frames": 2,
        **fields,
    }


def decoded(*samples: Mapping[str, object], kind: int = 0) -> Record:
    return decode_record(FFI, record(*samples, kind=kind))


def test_a_record_becomes_words() -> None:
    stall = summed(decoded(*(sample(ms) for ms in (12, 16, 20, 24, 28))), NAMES.get, 250, 100.0)
    assert (stall.kind, stall.cpu, stall.wait_seconds, stall.ended_boot_seconds) == ("late", 3, 0.02, 100.03)
    assert (stall.samples, stall.samples_cut, stall.expected_samples) == (5, False, 5)
    (holder,) = stall.holders
    assert (holder.task.pid, holder.task.tid, holder.task.comm, holder.task.thread) == (7, 8, "reader", "worker")
    assert (holder.mode, holder.softirq, holder.samples, holder.seconds) == ("kernel", None, 5, 0.02)
    assert holder.stayed is True
    assert holder.stacks == (model.Stack(functions=("inner", "caller"), samples=5),)


def test_the_stack_at_the_end_is_without_the_functions_that_took_it() -> None:
    assert summed(decoded(), NAMES.get, 250, 0.0).end.stacks[0].functions == ("handle_softirqs", "caller")


def test_the_stack_at_the_end_is_whole_where_a_sample_took_it() -> None:
    stall = summed(decode_record(FFI, record(traced=False, kind=1)), NAMES.get, 250, 0.0)
    assert stall.end.stacks[0].functions == ("bpf_trace_run1", "handle_softirqs", "caller")


def test_a_stack_of_the_clock_is_whole() -> None:
    assert functions((399, 200), NAMES.get, traced=False) == ("bpf_trace_run1", "caller")
    assert functions((100, 12345), NAMES.get, traced=False) == ("inner", None)


def test_samples_from_before_the_stall_are_not_of_it() -> None:
    stall = summed(decoded(sample(5), sample(12), sample(20)), NAMES.get, 250, 0.0)
    assert stall.samples == 2


@pytest.mark.parametrize("loop", ["handle_softirqs", "__do_softirq", "handle_softirqs.isra.0"])
def test_a_sample_between_two_softirqs_is_of_nobody(loop: str) -> None:
    """As where interrupts come back on after a pause: the softirq that ran last may have ended long ago."""
    between, within = sample(12, softirq=4, stack=[500, 200]), sample(16, softirq=4, stack=[100, 500], frames=2)
    names = {**NAMES, 500: loop, 499: loop}.get
    stall = summed(decoded(between, within, between), names, 250, 0.0)
    assert (stall.samples, [(h.softirq, h.samples) for h in stall.holders]) == (3, [("NET_RX", 1)])
    begins = summed(decoded(sample(12, stack=[500, 200])), names, 250, 0.0)
    assert (begins.samples, begins.holders) == (1, ())


def test_whoever_was_taken_off_the_cpu_did_not_stay() -> None:
    (holder,) = summed(decoded(sample(12), sample(20, switches=6)), NAMES.get, 250, 0.0).holders
    assert holder.stayed is False
    (once,) = summed(decoded(sample(12)), NAMES.get, 250, 0.0).holders
    assert once.stayed is None


def test_the_longest_holder_comes_first_and_modes_are_apart() -> None:
    samples = [sample(12), sample(14, user=1, frames=0, syscall=-1), sample(16, user=1, frames=0, syscall=-1)]
    stall = summed(decoded(*samples), NAMES.get, 500, 0.0)
    assert [(h.mode, h.system_call, h.samples) for h in stall.holders] == [
        ("user", None, 2),
        ("kernel", stall.holders[1].system_call, 1),
    ]
    assert stall.holders[0].stacks == ()


def test_real_time_is_told_from_the_priority() -> None:
    (holder,) = summed(decoded(sample(12, priority=49)), NAMES.get, 250, 0.0).holders
    assert holder.task.real_time_priority == 50
    (fair,) = summed(decoded(sample(12, priority=139)), NAMES.get, 250, 0.0).holders
    assert fair.task.real_time_priority is None


def test_more_holders_than_fit_are_not_kept() -> None:
    many = [sample(12, tid=n + 1) for n in range(40)]
    stall = summed(decoded(*many), NAMES.get, 250, 0.0)
    assert (stall.samples, len(stall.holders)) == (40, model.HOLDERS_MAX)


def test_a_stall_longer_than_the_recorder_is_known_to_be() -> None:
    room = constant("STALL_SAMPLES")
    assert summed(decoded(*[sample(12)] * room), NAMES.get, 250, 0.0).samples_cut
    assert not summed(decoded(sample(5), *[sample(12)] * (room - 1)), NAMES.get, 250, 0.0).samples_cut


@pytest.mark.parametrize(("number", "name"), [(0, None), (4, "NET_RX"), (10, "RCU"), (11, "softirq 10")])
def test_softirqs_are_counted_from_one(number: int, name: str | None) -> None:
    assert softirq_name(number) == name


@given(st.binary(max_size=2048))
def test_any_bytes_are_a_record_or_malformed(data: bytes) -> None:
    try:
        found = decode_record(FFI, data)
    except MalformedError:
        return
    stall = summed(found, lambda _: None, 250, 0.0)
    assert all(c.isprintable() for c in stall.end.task.comm + stall.end.task.thread)


@given(st.data())
def test_any_content_of_a_record_is_decoded_or_malformed(data: st.DataObject) -> None:
    size = len(record(sample(12)))
    test_any_bytes_are_a_record_or_malformed.hypothesis.inner_test(data.draw(st.binary(min_size=size, max_size=size)))  # type: ignore[attr-defined]


@pytest.mark.parametrize(("kind", "since", "until"), [(5, 1, 2), (0, 2, 1)])
def test_what_cannot_be_is_malformed(kind: int, since: int, until: int) -> None:
    with pytest.raises(MalformedError, match=r"a stall is of kind \d"):
        decode_record(FFI, record(kind=kind, since=since, until=until))


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_records_are_found_behind_their_lengths(records: list[bytes]) -> None:
    import sys

    padded = (len(r).to_bytes(8, sys.byteorder) + r + bytes(-len(r) % 8) for r in records)
    assert list(split_records(b"".join(padded))) == records
