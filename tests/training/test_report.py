from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd

from silicast.training import pictures
from silicast.training.report import Facts, Gallery, Heading, Listing, MetricTable, Picture, Text, Tiles, write_report

PNG = b"\x89PNG\r\n\x1a\n"


class Links(HTMLParser):
    """Everything a page would fetch or point to, and whether its tags are closed."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [v or "" for k, v in attrs if k in ("src", "href", "action", "data")]
        if tag in ("script", "link", "iframe", "object"):
            self.found.append(f"<{tag}>")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def picture() -> bytes:
    return pictures.error_distribution({"latency_s": {"m": np.array([0.01, 0.1, 0.3, np.nan])}})


def test_a_report_is_one_file_that_links_to_nothing(tmp_path: Path) -> None:
    frame = pd.DataFrame({"model": ["a<b>", "c"], "rows": [1234, 5], "median_ape": [0.0312, np.nan], "r2_log": [0.98765, 1.0]})
    path = write_report(tmp_path / "deep" / "r.html", [
        Tiles((("latency_s", "3 %", "well"),)), Heading("One & only", "note"), Text("t", ("p <script>alert(1)</script>",)), Facts("f", {"k": "v"}), Heading("Two"),
        MetricTable("m", frame, most=1), Gallery("g", (Picture(picture(), 'a "caption"'),)), Listing("file", "a: <b>")], "Title", "sub")
    text = path.read_text()
    links = Links()
    links.feed(text)
    assert links.open == []
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in links.found), links.found
    assert not re.search(r"https?://|@import|url\(", re.sub(r"base64,[^\"]*", "", text))
    assert "<script" not in text
    assert "a&lt;b&gt;" in text
    assert "3.1 %" in text
    assert "1,234" in text
    assert "1 more rows" in text
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]


def test_figures_are_written_for_readers() -> None:
    assert [pictures.percent(v) for v in (0.0312, 0.00042, 0.0, 1.0, 2.5, float("nan"))] == ["3.1 %", "0.042 %", "0.0 %", "100 %", "250 %", "–"]


def test_wilson_interval_against_hand_arithmetic() -> None:
    # share 1/2 of 4, z = 2: middle (.5 + .5) / 2 = .5; half = 2/2 * sqrt(.25/4 + 4/64) = sqrt(.125)
    low, high = pictures.wilson(np.array([0.5]), np.array([4.0]), z=2.0)
    np.testing.assert_allclose([low[0], high[0]], [0.5 - 0.125**0.5, 0.5 + 0.125**0.5])


def test_pictures_survive_poor_data() -> None:
    one = pd.DataFrame([{"slice": s, "value": v, "target": "latency_s", "rows": 1, "median_ape": e, "p90_ape": e, "coverage": c}
                        for s, v, e, c in (("all", "", 0.1, 1.0), ("family", "f" * 60, 0.0, 1.0), ("family", "g", np.nan, np.nan), ("device", "d", 0.2, 0.0))])
    truth = {"latency_s": np.array([1.0, 0.0, np.nan]), "lut": np.array([0.0, 0.0, 0.0])}
    answers = {"latency_s": {"point": np.array([1.0, 1.0, 1.0]), "median_ape": 0.1}, "lut": {"point": np.zeros(3), "median_ape": np.nan}}
    drawn = [pictures.parity(truth, answers, np.array(["gpu", "cpu", "cpu"], dtype=object)), pictures.parity(truth, answers), pictures.error_by_slice(one, "family"),
             pictures.coverage_by_slice(one, 0.9), pictures.error_distribution({"latency_s": {"m": np.array([np.nan])}})]
    assert all(png.startswith(PNG) for png in drawn)
