"""A model folder saved small: the same answers but for rounding, a fraction of the size, and nothing a stranger's file can do with it."""

from __future__ import annotations

import hashlib
import json
import lzma
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import FormatError
from silicast.datasets.table import FeatureQuestions, Table
from silicast.features import FEATURE_VERSION
from silicast.surrogates import store
from silicast.surrogates.boosted import Boosted
from silicast.surrogates.card import ModelCard
from silicast.surrogates.conformal import Conformal
from silicast.surrogates.ensemble import Ensemble

CARD = ModelCard("m", "1", "features", ("latency_s",), {"latency_s": "s"}, FEATURE_VERSION, "", "made up", "d", 400, "none", 0.9)


def _table() -> Table:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.uniform(1, 10, 400), "b": rng.uniform(1, 10, 400), "kind": rng.choice(["x", "y", "z"], 400)})
    truth = frame["a"] ** 2 * frame["b"] * (1.0 + (frame["kind"] == "y"))
    return Table(FeatureQuestions(frame), {"latency_s": truth.to_numpy() * 1e-6}, np.arange(400).astype(str).astype(object), pd.DataFrame(index=range(400)), "made up")


@pytest.fixture(scope="module")
def model() -> Conformal:
    members = [Boosted(targets=("latency_s",), trees=60, leaves=15, threads=1)]
    try:
        import torch  # noqa: F401
    except ImportError:
        pass
    else:
        from silicast.surrogates.neural import Neural

        members.append(Neural(targets=("latency_s",), hidden=32, blocks=1, samples=4000, batch=32))  # type: ignore[arg-type]
    return Conformal(Ensemble(members), 0.9).fit(_table()).conformalize(_table())


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.iterdir() if p.name not in ("card.json", "model.json"))


def test_small_folders_answer_the_same(model: Conformal, tmp_path: Path) -> None:
    whole, small = store.save(model, CARD, tmp_path / "whole"), store.save(model, CARD, tmp_path / "small", small=True)
    assert _size(small) < 0.35 * _size(whole)
    q = _table().questions
    again = store.load(small)[0]
    np.testing.assert_allclose(again.predict(q).point, model.predict(q).point, rtol=3e-3)
    saved_again = store.save(again, CARD, tmp_path / "again")  # from small to whole
    np.testing.assert_allclose(store.load(saved_again)[0].predict(q).point, again.predict(q).point, rtol=1e-6)


def test_the_same_model_makes_the_same_bytes(model: Conformal, tmp_path: Path) -> None:
    one, other = (store.save(model, CARD, tmp_path / name, small=True) for name in ("one", "other"))
    assert (one / "model.json").read_bytes() == (other / "model.json").read_bytes()


@pytest.mark.parametrize("content", [b"", b"not xz at all", lzma.compress(b"x" * 5000)[:-8], lzma.compress(b"not trees")], ids=["empty", "other", "cut", "wrong"])
def test_damaged_compressed_files_are_refused(model: Conformal, tmp_path: Path, content: bytes) -> None:
    folder = store.save(model, CARD, tmp_path / "m", small=True)
    document = json.loads((folder / "model.json").read_text())
    name = next(n for n in document["files"] if n.endswith(".txt.xz"))
    (folder / name).write_bytes(content)
    with pytest.raises(FormatError, match="digest"):
        store.load(folder)
    document["files"][name] = hashlib.sha256(content).hexdigest()  # a stranger who knows the format
    (folder / "model.json").write_text(json.dumps(document))
    with pytest.raises(FormatError):
        store.load(folder)


def test_a_compressed_file_that_grows_without_end_is_refused(model: Conformal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.save(model, CARD, tmp_path / "m", small=True)
    monkeypatch.setattr(store, "_MOST_BYTES", 1000)
    with pytest.raises(FormatError, match="more than"):
        store.load(folder)
