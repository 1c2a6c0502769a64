"""docs/why.md against the kinds of errors."""

from __future__ import annotations

from whodunnet.why.forms import forms, kinds

from .pages import code_of, rows, section, text_of

PAGE = "docs/why.md"


def test_every_kind_is_there_with_what_it_means_and_its_rules() -> None:
    table = [(row[0].strip("`"), row[1], tuple(code_of(row[2]))) for row in rows(section(text_of(PAGE), "Kinds"))]
    assert table == [(name, kind.means, kind.rules) for name, kind in kinds().kinds.items()]


def test_every_product_that_is_read_is_named() -> None:
    others = {"C library": "the C library", "database": "databases", "kernel": "the kernel", "OpenSSL": "C library"}
    products = {form.product for form in forms().forms} - {"dig", "SSH", "ping"}
    assert not [product for product in products if others.get(product, product) not in text_of(PAGE)]
