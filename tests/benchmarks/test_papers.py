"""The table of papers' headlines: its form, its arithmetic, and that misses and open rows say why."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def papers(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("papers", "papers_machines", "_papers_networks"):
        sys.modules.pop(name, None)
    return importlib.import_module("papers")


def test_every_row_has_its_form_and_every_open_one_its_reason(papers):
    found = papers.rows_of("papers_machines")
    assert len(found) >= 20
    assert len({(row["system"], row["headline"]) for row in found}) == len(found)
    for row in found:
        assert row["assumptions"]
        if row["simulated"] is None:
            assert row["ratio"] is None
            assert row["assumptions"].startswith("not expressible: ")
        elif row["published"]:
            assert row["ratio"] == pytest.approx(row["simulated"] / row["published"])


@pytest.mark.parametrize(("ratio", "said"), [(1.0, "near"), (1 / 1.5, "near"), (2.0, "same order"), (0.34, "same order"), (0.1, "miss"), (4.0, "miss"), (None, "open"), (0.0, "open")])
def test_verdicts(papers, ratio, said):
    assert papers.verdict({"ratio": ratio}) == said


def test_headlines_that_are_arithmetic_come_out(papers):
    # one reading of the weights per token: the 70B rate follows from the 7B one; 1:8 at twice plus 6:8 at four times the rate of FP16 is four times in all
    found = {(row["system"], row["headline"]): row for row in papers.rows_of("papers_machines")}
    assert found["Cambricon-LLM (MICRO 2024)", "Llama-2 70B, tok/s"]["ratio"] == pytest.approx(1.0, abs=0.06)
    assert found["SDQ (2024)", "effective compute throughput, times"]["ratio"] == pytest.approx(1.0, abs=0.05)
    assert found["SambaNova SN40L (Hot Chips 2024)", "switching to Llama 3.1 8B, s"]["ratio"] == pytest.approx(1.0, abs=0.02)


def test_an_unknown_part_is_refused(papers):
    with pytest.raises(ValueError, match="papers_clusters"):
        papers.rows_of("papers_moon")
