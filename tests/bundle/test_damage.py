"""A file that did not arrive whole says so, and does nothing else."""

from __future__ import annotations

import tarfile

import pytest

from .foreign import NO_MOUNTS, Foreign
from .payload import with_entry

TRAILER_BYTES = 32
LAUNCHER_BYTES = 2**21
"""More than the launcher has; what is cut off before its end is no program any more."""


def damaged(foreign: Foreign, content: bytes) -> None:
    copy = foreign.root / "copy"
    copy.write_bytes(content)
    copy.chmod(0o755)
    foreign.bundle = copy
    for rights in ((), NO_MOUNTS):
        answer = foreign.run("--version", rights=rights)
        assert answer.status == 2
        assert answer.out == ""
        assert answer.err.startswith("whodunnet: /opt/whodunnet")
        assert answer.err.endswith("copy it again, and compare its SHA-256 sum\n")
        assert answer.err.count("\n") == 1


@pytest.mark.parametrize("missing", [1, TRAILER_BYTES, TRAILER_BYTES + 1, 2**20, 10 * 2**20])
def test_a_truncated_file_is_refused(bare: Foreign, missing: int) -> None:
    damaged(bare, bare.bundle.read_bytes()[:-missing])


def test_a_file_with_something_behind_it_is_refused(bare: Foreign) -> None:
    damaged(bare, bare.bundle.read_bytes() + b"\n")


@pytest.mark.parametrize("share", [0.15, 0.5, 0.9, 0.999])
def test_one_changed_bit_is_found(bare: Foreign, share: float) -> None:
    content = bytearray(bare.bundle.read_bytes())
    content[int(len(content) * share)] ^= 0x10
    damaged(bare, bytes(content))


def test_a_hole_in_the_middle_is_refused(bare: Foreign) -> None:
    content = bare.bundle.read_bytes()
    damaged(bare, content[:LAUNCHER_BYTES] + content[LAUNCHER_BYTES + 4096 :])


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "a/../../escaped", "a/.."])
def test_a_payload_that_leads_out_of_its_place_is_refused(bare: Foreign, name: str) -> None:
    damaged(bare, with_entry(bare.bundle, tarfile.TarInfo(name)))
    assert not list(bare.root.rglob("escaped"))


def test_a_payload_with_a_link_is_refused(bare: Foreign) -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/bin"
    damaged(bare, with_entry(bare.bundle, link))
