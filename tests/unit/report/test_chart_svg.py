from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.report.chart import Chart, make_chart
from whodunnet.report.chart_plot import COLOURS, OTHERS_COLOUR
from whodunnet.report.chart_svg import render_page

from .histories import GIB, LIMITS, MIB, night, reading

VOID = {"meta", "rect", "line", "polygon", "polyline"}


class Page(HTMLParser):
    """Elements with their attributes, and all text; an element that is not closed is an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str, kind: str) -> list[dict[str, str | None]]:
        return [
            attrs for name, attrs in self.elements if name == tag and (attrs.get("class") or "").split()[:1] == [kind]
        ]


def chart(**rest: Any) -> Chart:
    return make_chart(night(every=120), **({"what": "tcp-memory", "by": "container", "top": 8} | rest))


def test_each_owner_is_an_area_in_each_stretch_and_a_row_of_numbers() -> None:
    page = Page(render_page(chart()))
    areas = page.of("polygon", "area")
    assert [a["fill"] for a in areas] == [c for c in (*COLOURS, OTHERS_COLOUR) for _ in range(3)]
    assert len(page.of("polyline", "kernel")) == 3
    assert [a["class"] for a in page.of("polyline", "limit")] == ["limit low", "limit pressure", "limit max"]
    assert {"payments/checkout-6f9d: app (checkout-6f9)", "others", "tcp_mem max", "reboot", "gap"} <= set(page.texts)
    assert "+1.4 GiB" in page.texts


def test_every_point_lies_on_the_canvas() -> None:
    for points in re.findall(r'points="([^"]*)"', render_page(chart())):
        for point in points.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 1060
            assert 0 <= y <= 460


def test_the_page_needs_nothing_from_elsewhere_and_allows_no_script() -> None:
    html = render_page(chart())
    page = Page(html)
    policy = next(a for n, a in page.elements if n == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert not {"script", "link", "img", "iframe", "object", "a"} & {name for name, _ in page.elements}
    assert not re.search(r"https?:|url\(|@import|javascript:", html)
    assert not [a for _, attrs in page.elements for a in attrs if a.startswith("on")]


@pytest.mark.parametrize("name", ["</title><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;b&gt;"])
def test_hostile_names_are_text_and_nothing_else(name: str) -> None:
    readings = [reading(n * 10, {name: GIB + n * MIB}, limits=LIMITS) for n in range(20)]
    page = Page(render_page(make_chart(readings, what="tcp-memory", by="pod", top=8)))
    assert not {"script", "img", "b"} & {tag for tag, _ in page.elements}
    assert f"payments/{name}" in page.texts


@given(name=st.text(max_size=40))
def test_no_name_breaks_the_page(name: str) -> None:
    harmless = make_chart([reading(0, {"x": GIB})], what="tcp-memory", by="pod", top=8)
    found = make_chart([reading(0, {name: GIB})], what="tcp-memory", by="pod", top=8)
    elements = [tag for tag, _ in Page(render_page(found)).elements]
    assert [tag for tag in elements if tag != "text"] == [
        tag for tag, _ in Page(render_page(harmless)).elements if tag != "text"
    ]


def test_the_pointer_finds_the_numbers_of_the_moment_it_is_on() -> None:
    page = Page(render_page(chart()))
    assert 50 < len(page.of("rect", "strip")) <= 180
    titles = [text for text in page.texts if text.startswith("2026-03-01 21:00:00 UTC\n")]
    assert len(titles) == 1
    assert "90.0 MiB  payments/checkout-6f9d: app (checkout-6f9)" in titles[0]


def test_a_recorded_day_is_a_page_of_a_few_hundred_kilobytes() -> None:
    page = render_page(make_chart(night(every=5), what="tcp-memory", by="container", top=16))
    assert len(page) < 1_000_000


def test_a_single_snapshot_has_an_area_that_can_be_seen() -> None:
    page = Page(render_page(make_chart([reading(0, {"a": GIB})], what="tcp-memory", by="pod", top=8)))
    (area,) = page.of("polygon", "area")
    xs = [float(point.split(",")[0]) for point in (area["points"] or "").split()]
    assert max(xs) - min(xs) > 50
