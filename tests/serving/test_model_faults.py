"""Model folders that were truncated, altered, made by a newer silicast or by somebody hostile, given to real processes: one line, exit code 2, and no code of theirs runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

WORDS = {"serve": ("serve", "--port", "9", "--model"), "predict": ("predict", "rows.csv", "--model")}


def fit_digests(folder: Path) -> None:
    """Makes the digests in model.json those of the files as they are: what a stranger would do."""
    document = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    document["files"] = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file() and p.name != "model.json"}
    (folder / "model.json").write_text(json.dumps(document), encoding="utf-8")


def weights(folder: Path) -> Path:
    return next(p for p in sorted(folder.iterdir()) if p.suffix not in (".json",))


def truncated(folder: Path, mark: Path) -> None:
    weights(folder).write_bytes(weights(folder).read_bytes()[:-200])


def truncated_and_signed(folder: Path, mark: Path) -> None:
    weights(folder).write_bytes(weights(folder).read_bytes()[:300])
    fit_digests(folder)


def bit_flipped(folder: Path, mark: Path) -> None:
    content = bytearray(weights(folder).read_bytes())
    content[len(content) // 2] ^= 4
    weights(folder).write_bytes(content)


def newer_format(folder: Path, mark: Path) -> None:
    document = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps({**document, "format": "silicast-surrogate/99"}), encoding="utf-8")


def newer_features(folder: Path, mark: Path) -> None:
    document = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps({**document, "feature_version": "9999"}), encoding="utf-8")


def hostile(folder: Path, mark: Path) -> None:
    """A pickle for weights, digests made to fit, and files that Python or MLflow would run if they were looked for here."""
    code = f"import pathlib; pathlib.Path({str(mark)!r}).write_text('ran')\n"
    weights(folder).write_bytes(f"cposix\nsystem\n(Vtouch {mark}\ntR.".encode())
    for name in ("sitecustomize.py", "usercustomize.py", "silicast.py", "silicast_model.py", "conftest.py", "lightgbm.py", "model.pth"):
        (folder / name).write_text(code, encoding="utf-8")
    (folder / "MLmodel").write_text(f"flavors: !!python/object/apply:os.system ['touch {mark}']\n", encoding="utf-8")
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    card["schema"] = {"__reduce__": f"os.system('touch {mark}')", "op": f"!!python/object/apply:os.system ['touch {mark}']"}
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    fit_digests(folder)


FAULTS: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "truncated": (truncated, "does not match its digest"), "truncated and signed": (truncated_and_signed, "damaged"), "bit flipped": (bit_flipped, "does not match its digest"),
    "newer format": (newer_format, "silicast-surrogate/99"), "newer features": (newer_features, "9999"), "hostile": (hostile, "damaged")}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_real_process_refuses_it(fault: str, table_model: Path, tmp_path: Path) -> None:
    spoil, said = FAULTS[fault]
    folder, mark = tmp_path / "model", tmp_path / "mark"
    shutil.copytree(table_model, folder)
    spoil(folder, mark)
    (tmp_path / "rows.csv").write_text("reuse,width,strategy\n4,100,latency\n", encoding="utf-8")
    for words in WORDS.values() if fault == "hostile" else (WORDS["serve"],):
        done = subprocess.run([sys.executable, "-P", "-m", "silicast", *words, str(folder)], cwd=folder if fault == "hostile" else tmp_path, capture_output=True, text=True, timeout=120,
                              env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert (said in done.stderr) or words is WORDS["predict"], done.stderr  # there the table is looked for first
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert not mark.exists()


def test_a_registered_stranger_runs_no_code_when_it_is_served(table_model: Path, tmp_path: Path) -> None:
    """MLflow's own loader runs the script beside a model; silicast reads the folder and never that script."""
    code = """
import sys
from pathlib import Path
from silicast.serving.predictor import Predictor
from silicast.training import registry
from silicast.training.tracking import Run
folder, mark, uri = sys.argv[1:]
with Run("test", uri=uri) as run:
    registry.register(folder, "stranger", run)
registry.promote("stranger", 1, uri, force=True)
root = registry.resolve("models:/stranger@champion", uri).parent.parent
(root / "silicast_model.py").write_text(f"open({mark!r}, 'w').write('ran')")
text = (root / "MLmodel").read_text()
(root / "MLmodel").write_text(text + "strange: here\\n")
print(Predictor.load("models:/stranger@champion").version)
(root / "MLmodel").write_text(text + f"strange: !!python/object/apply:os.system ['touch {mark}']\\n")
try:
    Predictor.load("models:/stranger@champion")
except Exception as error:
    print(type(error).__name__)
"""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    done = subprocess.run([sys.executable, "-P", "-c", code, str(table_model), str(tmp_path / "mark"), uri], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": uri}, check=False)
    assert done.stdout.split() == ["1", "RegistryError"], done.stderr[-1500:]
    assert not (tmp_path / "mark").exists()
