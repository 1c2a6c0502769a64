"""Every target of the fuzzer, with a few inputs that are always the same; and that no decoder is without a target."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import whodunnet
from fuzz import run
from fuzz.__main__ import main, show
from fuzz.target import Target
from fuzz.targets import ROOMS, all_targets, find_target, targets_of
from fuzz.untargeted import UNTARGETED

PACKAGE = Path(whodunnet.__file__).parent
ROOMS_WITH_DECODERS = ("kernel", "attribution", "recording", "collectors/tree", "why")
NAMES = ("parse_", "decode_", "split_")
WHOLE_NAMES = ("parse", "decode", "split", "attributes", "unpack", "add_datagram", "read_names")
READS = {
    "read_bytes", "read_head", "read_users_file", "os.read", "readlink", "recv", "recvmsg_into", "getsockopt",
    "unpack", "unpack_from", "msgspec.json.decode",
}  # fmt: skip
"""What brings bytes from outside, or takes them apart, by name or with its module."""
TYPES = ("bytes", "bytes | memoryview", "memoryview", "bytes | str")
TARGETS = all_targets()
EXAMPLES = 30
SLOW_EXAMPLES = 5
SLOW = ("recordings-judged", "trees-whole", "attribution-whole")
"""What reads whole machines."""


def inputs(seeds: list[bytes], longest: int) -> st.SearchStrategy[bytes]:
    """Arbitrary bytes, or a seed with a piece of it replaced, taken out or repeated."""

    def changed(seed: bytes, start: int, length: int, piece: bytes, times: int) -> bytes:
        at = start % (len(seed) + 1)
        return (seed[:at] + piece + seed[at : at + length] * times + seed[at + length :])[:longest]

    piece = st.binary(max_size=24) | st.sampled_from([b"-1", b"9" * 25, b"\xff", b"\n", b" ", b"\0" * 8])
    place, length, times = st.integers(0, 4096), st.integers(0, 40), st.integers(0, 2)
    return st.binary(max_size=200) | st.builds(changed, st.sampled_from(seeds), place, length, piece, times)


@pytest.mark.parametrize("name", [target.name for target in TARGETS])
def test_any_bytes_are_taken_or_refused_as_the_decoder_says(name: str) -> None:
    target = find_target(name)
    seeds = target.kept_seeds()

    @settings(max_examples=SLOW_EXAMPLES if name in SLOW else EXAMPLES, derandomize=True, database=None, deadline=None)
    @given(inputs(seeds, max(target.max_bytes, *map(len, seeds))))
    def tried(data: bytes) -> None:
        target.try_bytes(data)

    tried()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_target_begins_from_bytes_that_are_taken(target: Target) -> None:
    taken = [target.try_bytes(seed) for seed in target.kept_seeds()]
    assert any(taken)


@pytest.mark.parametrize("room", ROOMS)
def test_names_begin_with_their_room_and_are_not_given_twice(room: str) -> None:
    names = [target.name for target in targets_of(room)]
    assert all(name.startswith(f"{room}-") for name in names)
    assert len(names) == len(set(names))


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions of a module, and methods as Class.method."""
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for each in inside:
            if isinstance(each, ast.FunctionDef):
                yield prefix + each.name, each


def is_decoder(name: str, node: ast.FunctionDef) -> bool:
    """One that anybody may call: by its name, or by what it takes."""
    arguments = [each for each in node.args.args if each.arg != "self"]
    first = arguments[0].annotation if arguments else None
    bare = name.rpartition(".")[2]
    return not bare.startswith("_") and (
        bare.startswith(NAMES) or bare in WHOLE_NAMES or (first is not None and ast.unparse(first) in TYPES)
    )


def called(node: ast.Call) -> set[str]:
    """The name of what is called, alone and with what it is of."""
    whole = ast.unparse(node.func)
    return {whole, whole.rpartition(".")[2]}


def reads(node: ast.FunctionDef) -> bool:
    """Whether it looks at what it reads, and does not only hand it to a decoder."""
    calls = [each for each in ast.walk(node) if isinstance(each, ast.Call)]
    decoders = (each for each in calls if any(name.startswith(NAMES) for name in called(each)))
    handed = {inner for each in decoders for argument in each.args for inner in ast.walk(argument)}
    return any(called(each) & READS and each not in handed for each in calls)


@cache
def modules() -> dict[str, ast.Module]:
    """All of the package."""
    paths = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    return {
        ".".join(("whodunnet", *path.with_suffix("").parts)): ast.parse((PACKAGE / path).read_text()) for path in paths
    }


def every_function(*rooms: str) -> list[tuple[str, str, ast.FunctionDef]]:
    """Module, name and tree of each; of the whole package without rooms."""
    prefixes = tuple(f"whodunnet.{room.replace('/', '.')}." for room in rooms) or "whodunnet."
    found = ((module, tree) for module, tree in modules().items() if module.startswith(prefixes))
    return [(module, *each) for module, tree in found for each in functions(tree)]


def every_decoder() -> list[str]:
    found = every_function(*ROOMS_WITH_DECODERS)
    return [f"{module}:{name}" for module, name, node in found if is_decoder(name, node)]


def every_reader() -> list[str]:
    """Functions of the whole package, private ones too, that decode what they read where they read it."""
    return [f"{module}:{name}" for module, name, node in every_function() if reads(node)]


@cache
def entered() -> frozenset[CodeType]:
    """Code of every function that is called while the targets run on their seeds."""
    found: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            found.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        for target in TARGETS:
            for seed in target.kept_seeds():
                target.try_bytes(seed)
    finally:
        sys.setprofile(before)
    return frozenset(found)


@pytest.mark.parametrize("decoder", sorted({*every_decoder(), *every_reader()}))
def test_a_decoder_is_reached_by_a_target_or_it_is_said_why_not(decoder: str) -> None:
    module, _, name = decoder.partition(":")
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    reached = inspect.unwrap(getattr(found, "fget", found)).__code__ in entered()
    assert reached != (decoder in UNTARGETED)


def test_nothing_is_excused_that_is_not_there() -> None:
    assert set(UNTARGETED) <= {*every_decoder(), *every_reader()}


def failing(data: bytes) -> object:
    return data.decode("ascii")


def test_what_a_decoder_does_not_say_that_it_raises_comes_through() -> None:
    target = Target(name="procfs-x", run=failing, seeds=(b"a",))
    assert target.try_bytes(b"a")
    with pytest.raises(UnicodeDecodeError):
        target.try_bytes(b"\xff")
    assert not msgspec.structs.replace(target, raises=(UnicodeDecodeError,)).try_bytes(b"\xff")


def test_a_run_keeps_what_it_found_for_the_next(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has no wheel for this Python")
    found = run.fuzz_one(find_target("procfs-integer"), 1.0, tmp_path)
    assert (found.failed, found.crashes) == (False, ())
    assert found.runs > 0 < found.coverage
    assert found.new_entries == len(list((tmp_path / "procfs-integer/corpus").iterdir())) > 0


def test_an_input_that_fails_is_shown_with_what_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ran(name: str, place: Path, _: float) -> tuple[int, str]:
        (place / "crashes/crash-1").write_bytes(b"\xff")
        return 77, f"INFO: {name}\n === Uncaught Python exception: ===\nUnicodeDecodeError: x\n"

    monkeypatch.setattr(run, "_ran", ran)
    assert show(run.fuzz([find_target("procfs-integer")], 1.0, tmp_path))
    said = capsys.readouterr().out
    path = tmp_path / "procfs-integer/crashes/crash-1"
    assert f"-m fuzz --replay {path} --target procfs-integer" in said
    assert "UnicodeDecodeError: x" in said
    assert main(["--replay", str(path), "--target", "procfs-integer"]) == 0


def test_an_input_that_failed_before_is_not_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "procfs-integer/crashes").mkdir(parents=True)
    (tmp_path / "procfs-integer/crashes/crash-1").write_bytes(b"x")
    monkeypatch.setattr(run, "_ran", lambda *_: (0, "stat::number_of_executed_units: 5\n#5 DONE cov: 3 ft: 3\n"))
    found = run.fuzz_one(find_target("procfs-integer"), 1.0, tmp_path)
    assert (found.failed, found.runs, found.coverage) == (False, 5, 3)
