"""What was drawn from the catalogue, or fitted to it, stays what it was when the catalogue grows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from silicast.datasets import catalog
from silicast.datasets.catalog.drawn import DRAWN, LAWFUL
from silicast.datasets.catalog.transformers import keys as models
from silicast.datasets.generate import generate
from silicast.features import language_models


def test_the_lists_are_of_entries_that_exist() -> None:
    assert set(DRAWN) <= set(catalog.keys())
    assert set(LAWFUL) <= set(models())
    for keys in (DRAWN, LAWFUL):
        assert list(keys) == sorted(set(keys))


@pytest.mark.parametrize(("keys", "digest"), [(DRAWN, "6055"), (LAWFUL, "455a")])
def test_the_lists_are_as_the_results_in_the_docs_were_made_with(keys: tuple[str, ...], digest: str) -> None:
    assert hashlib.sha256(" ".join(keys).encode()).hexdigest()[:4] == digest


def test_a_table_is_made_on_the_machines_of_the_list(tmp_path: Path) -> None:
    manifest = generate(tmp_path / "out", count=2, families=["mlp"], per_workload=2, sampled=0, workers=1, say=lambda text: None, progress=False)
    assert manifest.plan.devices == DRAWN


def test_a_new_language_model_changes_no_law(monkeypatch: pytest.MonkeyPatch) -> None:
    before = language_models._laws()
    monkeypatch.setattr(language_models, "keys", lambda: ("gpt2",))
    assert np.array_equal(language_models._laws.__wrapped__(), before)
