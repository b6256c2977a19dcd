"""One tree of errors, and messages that name the nearest."""

import inspect

import pytest

from silicast.datasets import errors
from silicast.datasets.errors import InputError, RegistryError, SilicastError, UnknownNameError


def test_one_tree_drawn_in_the_docstring():
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    assert all(issubclass(c, SilicastError) for c in classes)
    assert errors.__doc__ is not None
    for c in classes:
        assert c.__name__ in errors.__doc__
        assert issubclass(c, InputError) or c in (SilicastError, RegistryError)


def test_the_nearest_names_whatever_their_case():
    error = UnknownNameError("device", "A100-sxm", ["a100_sxm", "H100_SXM", "t4"], "Give a path")
    assert str(error) == "unknown device 'A100-sxm'; nearest: a100_sxm, H100_SXM; all: H100_SXM, a100_sxm, t4. Give a path"
    assert error.nearest == ("a100_sxm", "H100_SXM")


@pytest.mark.parametrize("got", ["zzz", 5, None, ["a"]])
def test_without_a_near_name_some_are_listed(got):
    assert "known: aaaa, bbbb" in str(UnknownNameError("thing", got, ["bbbb", "aaaa", "aaaa"]))
