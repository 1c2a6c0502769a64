from __future__ import annotations

import io
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor

from whodunnet.errors import UsageError
from whodunnet.report.chart import make_chart
from whodunnet.report.chart_plot import COLOURS
from whodunnet.report.chart_png import WIDTH, render_picture, require_pillow

from .histories import GIB, LIMITS, night, reading


def picture(readings: Any, **rest: Any) -> Image.Image:
    content = render_picture(make_chart(readings, **({"what": "tcp-memory", "by": "container", "top": 8} | rest)))
    image = Image.open(io.BytesIO(content))
    assert image.format == "PNG"
    return image.convert("RGB")


def near(colour: tuple[int, ...], name: str) -> bool:
    return all(abs(a - b) <= 12 for a, b in zip(colour, ImageColor.getrgb(name), strict=False))


def test_the_largest_owner_is_the_largest_area_and_each_owner_can_be_seen() -> None:
    image = picture(night(every=60))
    assert image.width == WIDTH
    pixels: Counter[int] = Counter()
    for number, colour in image.getcolors(1 << 20) or []:
        for level, name in enumerate(COLOURS):
            if isinstance(colour, tuple) and near(colour, name):
                pixels[level] += number
    assert pixels.most_common(1)[0][0] == 0
    assert all(pixels[level] > 500 for level in range(8))


def test_a_gap_has_no_owner_in_it() -> None:
    image = picture(night(every=60))
    left, right = 130 + 1360 * 1.45 / 6, 130 + 1360 * 1.65 / 6
    column = {image.getpixel((int(x), y)) for x in (left, right) for y in range(160, 700)}
    assert not [c for c in column if isinstance(c, tuple) and near(c, COLOURS[0])]
    beside = image.getpixel((130 + 1360 // 6, 700))
    assert isinstance(beside, tuple)
    assert near(beside, COLOURS[0])


def test_a_longer_legend_makes_a_higher_picture() -> None:
    assert picture(night(every=300), top=16).height > picture(night(every=300), top=2).height


@settings(max_examples=5, deadline=None)
@given(name=st.text(max_size=400))
def test_no_name_breaks_the_picture(name: str) -> None:
    assert picture([reading(0, {name: GIB}, limits=LIMITS)], by="pod").width == WIDTH


def test_without_pillow_the_other_forms_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_pillow()
    monkeypatch.setitem(sys.modules, "PIL.ImageFont", None)
    with pytest.raises(UsageError, match=r"needs Pillow.*FILE\.html and -"):
        require_pillow()
