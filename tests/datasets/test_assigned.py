"""Columns of any name are set, the frame given stays as it was."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.assigned import assigned
from silicast.surrogates.reach import carried


def test_a_column_called_self() -> None:
    frame = pd.DataFrame({"self": [1.0, 2.0], "n": [3, 4]}, index=[5, 7])
    out = assigned(frame, {"self": 8.0, "new": ["a", "b"]})
    pd.testing.assert_frame_equal(out, pd.DataFrame({"self": [8.0, 8.0], "n": [3, 4], "new": ["a", "b"]}, index=[5, 7]))
    assert list(frame.columns) == ["self", "n"]
    assert list(frame["self"]) == [1.0, 2.0]
    with pytest.raises(ValueError, match=r"[Ll]ength"):
        assigned(frame, {"n": [1, 2, 3]})


def test_a_size_called_self_is_carried_on() -> None:
    out = carried(pd.DataFrame({"self": [8.0]}), {"self": 4.0}, lambda f: f["self"].to_numpy(dtype=np.float64)[:, None])
    assert out[0, 0] == pytest.approx(8.0)
