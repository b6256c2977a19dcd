"""Is this text trees that LightGBM can be given? Its own reader ends the process on a text cut short, and follows whatever index a text names.

The format (LightGBM's model text, v3 and v4): a header of `key=value` lines, `tree_sizes` with the bytes of each tree, a blank line, the trees, `end of trees`. Checked: sizes lead
from tree to tree; each tree has as many entries as splits and leaves; features exist; children come after their split, and every one is there; category sets lie inside theirs.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from ..datasets.errors import FormatError

_SPLITS = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
#: columns a tree may lack; one that is there must have its length
_SPLITS_TOO, _LEAVES_TOO = ("split_gain", "internal_value", "internal_weight", "internal_count"), ("leaf_weight", "leaf_count")
_CATEGORICAL = 1
_DIGITS = str.maketrans("", "", "0123456789.+-e ")


def checked(text: str) -> str:
    """The text, once it is known to be whole. Raises FormatError."""
    head, found, rest = text.partition("\n\n")
    if not found or not text.isascii():
        raise FormatError("trees: not a LightGBM model text")
    header = dict(line.partition("=")[::2] for line in head.splitlines())
    body, ended, _ = rest.partition("end of trees")
    before, *texts = body.split("Tree=")
    if not ended or before.strip() or not texts:
        raise FormatError("trees: the text ends before its trees do")
    try:
        sizes = [int(size) for size in header.get("tree_sizes", "").split()]
        if sizes and sizes != [len("Tree=") + len(one) for one in texts]:
            raise FormatError("trees: a tree was cut short or altered")
        features = int(header["max_feature_idx"]) + 1
        if not (0 < features < 1_000_000 and 0 < int(header["num_tree_per_iteration"]) <= len(texts)):
            raise FormatError("trees: a header that makes no sense")
        trees = [_read(number, one) for number, one in enumerate(texts)]
        _numbers("leaf_value", trees)
        split = [tree for tree in trees if tree["num_leaves"] != "1"]
        if split:
            _lead(split, features)
    except (KeyError, ValueError, OverflowError) as error:
        raise FormatError(f"trees: damaged ({type(error).__name__}: {str(error)[:80]})") from None
    return text


def _read(number: int, text: str) -> dict[str, str]:
    """A tree as key -> text, every column with as many entries as it must have."""
    first, _, rest = text.partition("\n")
    told = {key: value for key, found, value in (line.partition("=") for line in rest.splitlines()) if found}
    leaves, sets = int(told["num_leaves"]), int(told["num_cat"])
    if first != str(number) or not 1 <= leaves <= 1_000_000 or not 0 <= sets < leaves or told["num_leaves"] != str(leaves):
        raise FormatError(f"trees: tree {number} is numbered {first[:20]}, of {leaves} leaves and {sets} category sets")
    if told.get("is_linear", "0").strip() not in ("0", ""):
        raise FormatError("trees: linear leaves are not read")
    if leaves > 1:
        lengths = {**dict.fromkeys(_SPLITS, leaves - 1), **dict.fromkeys([n for n in _SPLITS_TOO if n in told], leaves - 1), **dict.fromkeys([n for n in _LEAVES_TOO if n in told], leaves)}
        for name, count in lengths.items():
            if told[name].strip().count(" ") + 1 != count:
                raise FormatError(f"trees: tree {number} has another number of {name} than {count}")
    if told["leaf_value"].strip().count(" ") + 1 != leaves:
        raise FormatError(f"trees: tree {number} has another number of leaf_value than {leaves}")
    return told


def _lead(trees: Sequence[Mapping[str, str]], features: int) -> None:
    """Raises FormatError unless every split asks for a feature there is and leads on, and every leaf is reached once."""
    leaves = np.array([int(tree["num_leaves"]) for tree in trees])
    feature, decision, left, right, which = (_numbers(name, trees) for name in ("split_feature", "decision_type", "left_child", "right_child", "threshold"))
    for name in (*_SPLITS_TOO, *_LEAVES_TOO):  # nothing is looked up by them; that they are made of numbers' characters is enough, and five times as quick
        if any(tree.get(name, "").translate(_DIGITS) for tree in trees):
            raise FormatError(f"trees: {name} holds something that is no number")
    splits = leaves - 1
    tree = np.repeat(np.arange(len(trees)), splits)
    start, start_leaf = np.cumsum(splits) - splits, np.cumsum(leaves) - leaves
    at = np.arange(splits.sum()) - start[tree]
    if (feature < 0).any() or (feature >= features).any() or (feature % 1).any() or (decision % 1).any():
        raise FormatError(f"trees: a split asks for a feature that is none of {features}")
    reached, reached_leaf = np.zeros(splits.sum(), dtype=np.int64), np.zeros(leaves.sum(), dtype=np.int64)
    for child in (left, right):
        inner = child >= 0
        if (child % 1).any() or (child[inner] <= at[inner]).any() or (child[inner] >= splits[tree][inner]).any() or (child[~inner] < -leaves[tree][~inner]).any():
            raise FormatError("trees: a split leads nowhere")
        reached += np.bincount((start[tree] + child)[inner].astype(np.int64), minlength=len(reached))
        reached_leaf += np.bincount((start_leaf[tree] - child - 1)[~inner].astype(np.int64), minlength=len(reached_leaf))
    reached[start] += 1
    if (reached != 1).any() or (reached_leaf != 1).any():
        raise FormatError("trees: a split leads twice to one place")
    categorical = (decision.astype(np.int64) & _CATEGORICAL) > 0
    sets = np.array([int(one["num_cat"]) for one in trees])
    if not np.array_equal(np.bincount(tree[categorical], minlength=len(trees)), sets) or (which[categorical] < 0).any() or (which[categorical] >= sets[tree][categorical]).any():
        raise FormatError("trees: categorical splits and their sets do not fit")
    for one in (trees[i] for i in np.flatnonzero(sets).tolist()):
        bounds, words = _numbers("cat_boundaries", [one]), _numbers("cat_threshold", [one])
        if len(bounds) != int(one["num_cat"]) + 1 or bounds[0] != 0 or (np.diff(bounds) < 0).any() or bounds[-1] != len(words) or (bounds % 1).any():
            raise FormatError("trees: category sets do not fit")


def _numbers(name: str, trees: Sequence[Mapping[str, str]]) -> np.ndarray:
    """The entries of a column, tree after tree. Raises FormatError where one is no number, or not where it should be."""
    given = [tree[name].strip() for tree in trees if name in tree]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns of what it cannot read; the count says so as well
        found = np.fromstring(" ".join(given), dtype=np.float64, sep=" ") if given else np.empty(0)
    if len(found) != sum(one.count(" ") + 1 for one in given if one):
        raise FormatError(f"trees: {name} holds something that is no number")
    return found
