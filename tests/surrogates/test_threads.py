"""One thread per product of matrices inside, and as many as before after the last has left."""

from __future__ import annotations

import numpy as np
import pytest

from silicast.surrogates.threads import one_blas_thread

threadpoolctl = pytest.importorskip("threadpoolctl")


def threads() -> list[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return [one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]


def test_the_last_to_leave_restores() -> None:
    before = threads()
    first, second = one_blas_thread(), one_blas_thread()
    first.__enter__()
    second.__enter__()
    assert set(threads()) <= {1}
    first.__exit__(None, None, None)
    assert set(threads()) <= {1}
    second.__exit__(None, None, None)
    assert threads() == before
