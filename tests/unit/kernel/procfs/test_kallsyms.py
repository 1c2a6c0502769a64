from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.kallsyms import parse_symbols, read_symbols
from whodunnet.kernel.roots import Roots

TEXT = b"""ffffffff81000000 T _stext
ffffffff81000000 T startup
ffffffff81000100 t inner
ffffffff81000200 D data
ffffffffc0000000 t ct_dump\t[nf_conntrack]
"""


def test_an_address_is_in_the_function_that_begins_before_it() -> None:
    symbols = parse_symbols(TEXT, "kallsyms")
    assert symbols.name(0xFFFFFFFF81000010) == "_stext"
    assert symbols.name(0xFFFFFFFF81000100) == "inner"
    assert symbols.name(0xFFFFFFFF81000250) == "inner"
    assert symbols.name(0xFFFFFFFFC0000001) == "ct_dump [nf_conntrack]"


def test_an_address_far_from_any_function_is_in_none() -> None:
    symbols = parse_symbols(TEXT, "kallsyms")
    assert symbols.name(0x1000) is None
    assert symbols.name(0xFFFFFFFF90000000) is None


def test_hidden_addresses_are_said_so() -> None:
    with pytest.raises(UnreadableError, match="hides the addresses of its functions") as raised:
        parse_symbols(b"0000000000000000 T one\n0000000000000000 t two\n", "kallsyms")
    assert (raised.value.code, raised.value.missing_capability) == ("missing-capability", "CAP_SYSLOG")


def test_a_file_without_functions_is_malformed() -> None:
    with pytest.raises(MalformedError, match="kallsyms: no line is a function"):
        parse_symbols(b"hello\n", "kallsyms")


def test_a_kernel_without_the_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="does not exist here"):
        read_symbols(Roots.below(tmp_path))


@given(st.binary(max_size=200))
def test_any_bytes_are_symbols_or_an_error(data: bytes) -> None:
    try:
        symbols = parse_symbols(TEXT + data, "kallsyms")
    except UnreadableError:
        return
    assert all(c.isprintable() for c in symbols.name(0xFFFFFFFFC0000001) or "")
