"""Copies of an answer among the inputs are told; honest inputs that go with it are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.measured import read_measured
from silicast.datasets.table import Table
from silicast.training.leaks import leaks
from silicast.training.quarantine import quarantine


def table(**columns: np.ndarray) -> Table:
    """300 rows: work on two machines, timed with noise of 2 %, and what else is given."""
    rng = np.random.default_rng(0)
    work, machine = rng.uniform(1, 1000, 300), rng.integers(0, 2, 300)
    frame = pd.DataFrame({"work": work, "machine": np.where(machine == 0, "slow", "fast"), "s": (0.1 + work / (1 + machine)) * np.exp(rng.normal(0, 0.02, 300))})
    frame = frame.assign(**{name: made(frame) for name, made in columns.items()})  # type: ignore[operator]
    return read_measured(frame, {"targets": {"latency_s": {"column": "s", "unit": "s"}}})


def test_honest_inputs_are_not_told_of() -> None:
    assert leaks(table()) == []
    assert leaks(table(option=lambda f: pd.Series(["a", None, "c"] * 100, dtype=object), level=lambda f: pd.Series([1.0, None, 2.0] * 100))) == []
    assert leaks(table(batch=lambda f: f["work"].round(-2), noisy=lambda f: f["s"] * np.exp(np.random.default_rng(1).normal(0, 0.05, len(f))))) == []


@pytest.mark.parametrize(("made", "said"), [
    (lambda f: f["s"], "copy equals latency_s"), (lambda f: (f["s"] * 1e3).round(3), "copy is proportional to latency_s:"),
    (lambda f: f["s"] * np.where(f["machine"] == "slow", 1.0e9, 1.4e9), "copy is proportional to latency_s for each machine"),
    (lambda f: (f["s"] * 1.0e9).where(np.arange(300) % 7 > 0), "copy is proportional to latency_s:"),
    (lambda f: 1.0 / f["s"] ** 0.5, "copy orders the rows in the reverse of latency_s"), (lambda f: np.log(f["s"]), "copy orders the rows as latency_s (Spearman 1.0000)"),
])
def test_a_copy_is_told_of_and_stays(made: object, said: str) -> None:
    data = table(copy=made)  # type: ignore[arg-type]
    told = quarantine(data)
    assert len(told) == len(data)
    assert [note for note in told.notes if said in note]
    assert all(note.startswith(("warning: copy", "copy is empty")) for note in told.notes)


def test_the_only_input_may_order_the_rows() -> None:
    frame = pd.DataFrame({"bytes": np.arange(1.0, 201.0), "us": 5.0 + np.arange(1.0, 201.0) ** 0.9})
    assert leaks(read_measured(frame, {"targets": {"latency_s": {"column": "us", "unit": "us"}}})) == []
    assert leaks(read_measured(frame.assign(kind=list("ab") * 100), {"targets": {"latency_s": {"column": "us", "unit": "us"}}})) != []  # may be honest, and the words say so


@pytest.mark.parametrize("name", ["size{kB}", "a{}", "{0}"])
def test_any_name_of_a_column_may_be_told(name: str) -> None:
    frame = table(copy=lambda f: f["s"] * np.where(f["machine"] == "slow", 1.0e9, 1.4e9)).questions.frame.rename(columns={"machine": name})  # type: ignore[arg-type, attr-defined]
    told = leaks(read_measured(frame.assign(s=frame["copy"] / np.where(frame[name] == "slow", 1.0e9, 1.4e9)), {"targets": {"latency_s": {"column": "s", "unit": "s"}}}))
    assert any(f"copy is proportional to latency_s for each {name}: a copy" in line for line in told)


def test_many_columns_are_looked_at_in_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each input is sorted out once, not once for every other one and target."""
    rng, factorized = np.random.default_rng(0), []
    frame = pd.DataFrame({f"c{i}": rng.integers(1, 9, 500) if i % 2 else rng.uniform(1, 9, 500) for i in range(20)}).assign(s=rng.uniform(1, 2, 500), w=rng.uniform(1, 2, 500))
    data, factorize = read_measured(frame, {"targets": {"latency_s": {"column": "s", "unit": "s"}, "power_w": {"column": "w", "unit": "W"}}}), pd.factorize
    monkeypatch.setattr(pd, "factorize", lambda values, **how: (factorized.append(1), factorize(values, **how))[1])
    assert leaks(data) == []
    assert len(factorized) == 20
