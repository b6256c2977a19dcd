"""The pages of docs: their Python runs as it stands, and their links lead somewhere."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
#: pages whose examples run elsewhere, beside the tests of what they tell about (some need files of their own)
ELSEWHERE = {"clusters.md", "mlir.md", "chakra.md", "hf.md", "llm.md", "fpga.md", "hardware.md", "encodings.md", "search.md"}


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in ELSEWHERE and ">>>" in p.read_text(encoding="utf-8")], ids=lambda p: p.name)
def test_examples_run(page: Path) -> None:
    failed, tried = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert tried
    assert not failed


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing, f"{page.name} links to {missing}"
