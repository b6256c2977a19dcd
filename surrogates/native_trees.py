"""Boosted trees as machine code of this processor, by lleaves (LLVM): one row in about two thirds of what ONNX Runtime takes, the same answers to the last digit.

The code is made in the process that asks, from the model's text, and never stored: a model folder holds none. Making it takes time, about 0.3 s per tree of 63 leaves, so this is
for a process that asks for long. Needs lleaves (extra `compiled`) and an llvmlite below 0.45, which lleaves 1.3 was written for.
"""

from __future__ import annotations

import ctypes
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.errors import InputError


class NativeTrees:
    """A booster as machine code, one thread. `predict`: (n, d) -> (n,). Raises InputError where lleaves, or an llvmlite it works with, is not installed."""

    def __init__(self, booster: Any) -> None:
        try:
            import lleaves  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise InputError("trees as machine code need lleaves, which is not installed; run: pip install 'silicast[compiled]'") from None
        with tempfile.TemporaryDirectory() as place:
            text = Path(place) / "trees.txt"
            text.write_text(booster.model_to_string(), encoding="utf-8")
            self._model = lleaves.Model(model_file=str(text))
            try:
                self._model.compile()
            except AttributeError as error:  # parts of LLVM's interface that newer ones have dropped
                raise InputError(f"trees as machine code: lleaves does not work with the llvmlite installed ({error}); run: pip install 'silicast[compiled]'") from None
        self._columns = int(booster.num_feature())
        self._run = getattr(self._model, "_c_entry_func", None)
        self._mine = threading.local()  # each thread has a row of its own

    def predict(self, values: np.ndarray, num_threads: int = 1) -> np.ndarray:
        """(n,) sums of leaves for (n, d) features, on the learned scale; in one thread, whatever is asked for. Raises ValueError for another number of features."""
        if values.shape != (1, self._columns) or self._run is None:
            return np.asarray(self._model.predict(np.ascontiguousarray(values, dtype=np.float64), n_jobs=1), dtype=np.float64)
        try:
            row, answer, where, into = self._mine.row
        except AttributeError:
            row, answer = np.zeros((1, self._columns)), np.zeros(1)
            where, into = (x.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for x in (row, answer))
            self._mine.row = row, answer, where, into
        row[:] = values
        self._run(where, into, 0, 1)
        return answer.copy()
