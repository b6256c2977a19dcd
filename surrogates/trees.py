"""Grown trees as flat columns: a third of their text's size, and a few rows are answered in NumPy without loading LightGBM.

`Trees.of_text` reads LightGBM's model text, `text` writes it again (for many rows, and whatever else LightGBM can do with it), `pack` and
`Trees.unpack` are its bytes. Thresholds are rounded down to float32, which changes no decision, for features are float32; leaf values are
rounded to 16 significant bits (the first tree's, which hold the mean, to 24), gains to 8.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..datasets.errors import FormatError

MAGIC = b"silicast-trees/1\n"
#: column -> (LightGBM's name, type it is kept in)
_KEPT = {"feature": ("split_feature", "<u2"), "threshold": ("threshold", "<f4"), "decision": ("decision_type", "u1"), "gain": ("split_gain", "<f4"), "left": ("left_child", "<i2"),
         "right": ("right_child", "<i2"), "value": ("leaf_value", "<f4"), "rows": ("leaf_count", "<u4")}
#: columns with one entry per leaf; the others have one per split
_OF_LEAVES = ("value", "rows")
_CATEGORICAL, _DEFAULT_LEFT, _NAN = 1, 2, 2  # bits of LightGBM's decision_type: 0, 1, and the missing type in bits 2 and 3
#: bits of a word of a category set
_WORD = 32


@dataclass(frozen=True)
class Trees:
    """T trees, their splits and leaves one after the other. `head`: LightGBM's header; `leaves`: (T,) leaves of each; then a column per split
    (children as LightGBM numbers them inside a tree: splits from 0, leaf i as ~i) and per leaf; `words`: bit sets of categories, `bounds`: where
    each begins, tree by tree. Raises FormatError when they do not fit together."""

    head: str
    leaves: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    decision: np.ndarray
    gain: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    rows: np.ndarray
    bounds: np.ndarray
    words: np.ndarray

    def __post_init__(self) -> None:
        splits, leaves = int(self.leaves.sum()) - len(self.leaves), int(self.leaves.sum())
        if not len(self.leaves) or (self.leaves < 1).any() or any(len(getattr(self, c)) != (leaves if c in _OF_LEAVES else splits) for c in _KEPT):
            raise FormatError("trees: columns of the wrong length")
        at, most = _places(self.leaves)
        for child in (self.left, self.right):  # a split's children come after it: no walk can go round
            if ((child >= 0) & ((child <= at) | (child >= most - 1)) | (child < -most)).any():
                raise FormatError("trees: a split leads nowhere")
        categorical = (self.decision & _CATEGORICAL) > 0
        per_tree = np.bincount(np.repeat(np.arange(len(self.leaves)), self.leaves - 1)[categorical], minlength=len(self.leaves))
        sets = int(np.where(per_tree > 0, per_tree + 1, 0).sum())
        if len(self.bounds) != sets or ((self.decision >> 2) & 3 == 1).any():
            raise FormatError("trees: category sets or missing values of a kind that is not read")

    @classmethod
    def of_text(cls, text: str) -> Trees:
        """The trees of a LightGBM model text. Raises FormatError for one that is not plain trees (several classes, linear leaves)."""
        head, *trees = text.partition("\nend of trees")[0].split("\nTree=")
        lines = [line for line in head.splitlines() if not line.startswith("tree_sizes=")]
        if "num_tree_per_iteration=1" not in lines or not trees:
            raise FormatError("trees: expected LightGBM trees of one output")
        columns: dict[str, list[np.ndarray]] = {name: [] for name in (*_KEPT, "bounds", "words")}
        leaves = []
        for tree in trees:
            told = dict(line.partition("=")[::2] for line in tree.splitlines() if "=" in line)
            if told.get("is_linear", "0") != "0":
                raise FormatError("trees: linear leaves are not kept")
            leaves.append(int(told["num_leaves"]))
            for name, (theirs, _) in _KEPT.items():
                columns[name].append(np.array(told.get(theirs, "").split(), dtype=np.float64))
            if len(columns["rows"][-1]) != leaves[-1]:  # a tree that is one leaf tells no counts
                columns["rows"][-1] = np.zeros(leaves[-1])
            for name, theirs in (("bounds", "cat_boundaries"), ("words", "cat_threshold")):
                columns[name].append(np.array(told.get(theirs, "").split(), dtype=np.float64))
        joined = {name: np.concatenate(parts) for name, parts in columns.items()}
        joined["gain"], joined["value"] = _rounded(joined["gain"], 8), np.r_[joined["value"][:leaves[0]], _rounded(joined["value"][leaves[0]:], 16)]
        return cls("\n".join(lines), np.array(leaves, dtype="<u2"), **{name: _kept(joined[name], kind) for name, (_, kind) in _KEPT.items()},
                   bounds=joined["bounds"].astype("<u4"), words=joined["words"].astype("<u4"))

    def text(self) -> str:
        """LightGBM's model text of the same trees."""
        out, split, leaf, bound, word = [self.head, ""], 0, 0, 0, 0
        inner = self._inner_rows()
        for i, count in enumerate(self.leaves.tolist()):
            s, v = slice(split, split + count - 1), slice(leaf, leaf + count)
            sets = int(((self.decision[s] & _CATEGORICAL) > 0).sum())
            out += [f"Tree={i}", f"num_leaves={count}", f"num_cat={sets}"]
            told = {theirs: getattr(self, name)[v if name in _OF_LEAVES else s] for name, (theirs, _) in _KEPT.items() if count > 1 or name == "value"}
            told |= {"internal_count": inner[s]} if count > 1 else {}
            if sets:
                bounds = self.bounds[bound:bound + sets + 1]
                told |= {"cat_boundaries": bounds, "cat_threshold": self.words[word:word + int(bounds[-1])]}
                bound, word = bound + sets + 1, word + int(bounds[-1])
            out += [f"{name}={' '.join(_written(values))}" for name, values in told.items()]
            out += ["is_linear=0", "shrinkage=1", "", ""]
            split, leaf = s.stop, v.stop
        return "\n".join([*out, "end of trees", ""])

    def _inner_rows(self) -> np.ndarray:
        """(splits,) training rows that passed each split: those of the leaves below it."""
        inner = np.zeros(len(self.left), dtype=np.int64)
        split = leaf = 0
        for count in self.leaves.tolist():
            for i in range(count - 2, -1, -1):
                inner[split + i] = sum(int(self.rows[leaf + ~c]) if c < 0 else int(inner[split + c]) for c in (int(self.left[split + i]), int(self.right[split + i])))
            split, leaf = split + count - 1, leaf + count
        return inner

    def pack(self) -> bytes:
        """The trees as bytes; bytes of equal weight stand together, so that they compress well."""
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("head", "threshold")}
        columns |= dict(zip(("each", "levels", "rank"), _ranked(self.feature, self.threshold), strict=True))
        head = json.dumps({"head": self.head, "columns": {name: [column.dtype.str, len(column)] for name, column in columns.items()}}).encode()
        body = b"".join(np.ascontiguousarray(c).view(np.uint8).reshape(len(c), c.dtype.itemsize).T.tobytes() for c in columns.values())
        return MAGIC + len(head).to_bytes(4, "little") + head + body

    @classmethod
    def unpack(cls, content: bytes) -> Trees:
        """The inverse of `pack`; raises FormatError for anything else."""
        if not content.startswith(MAGIC):
            raise FormatError("trees: not packed trees")
        at = len(MAGIC) + 4
        size = int.from_bytes(content[at - 4:at], "little")
        try:
            told = json.loads(content[at:at + size])
            at += size
            columns: dict[str, np.ndarray] = {}
            for name, (kind, count) in told["columns"].items():
                column = np.dtype(kind)
                if column.kind not in "iuf" or count < 0:
                    raise ValueError(f"column {name} of type {kind}")
                raw = np.frombuffer(content, np.uint8, column.itemsize * count, at)
                columns[name] = np.ascontiguousarray(raw.reshape(column.itemsize, count).T).view(column).ravel()
                at += column.itemsize * count
            each, levels, rank = (columns.pop(name).astype(kind) for name, kind in (("each", np.int64), ("levels", "<f4"), ("rank", np.int64)))
            if (rank >= each[columns["feature"]]).any():
                raise ValueError("a threshold that is not there")
            columns["threshold"] = levels[(np.cumsum(each) - each)[columns["feature"]] + rank]
            return cls(told["head"], **columns)
        except FormatError:
            raise
        except Exception as error:
            raise FormatError(f"trees: damaged ({type(error).__name__}: {error})") from None

    def predict(self, values: np.ndarray) -> np.ndarray:
        """(n,) sums of the leaves that n rows of float32 features (n, d) fall into; for few rows."""
        walk = self._walk()
        at = np.broadcast_to(walk["roots"], (len(values), len(walk["roots"]))).copy()
        row = np.arange(len(values))[:, None]
        for _ in range(int(self.leaves.max())):
            x = values[row, walk["feature"][at]]
            right = np.where(np.isnan(x), walk["nan_right"][at], x > walk["threshold"][at])
            if walk["set"] is not None:
                here = walk["set"][at]
                asked = here >= 0
                if asked.any():
                    right[asked] = ~_within(walk["member"], here[asked], x[asked])
            following = walk["child"][2 * at + right]
            if (following == at).all():
                break
            at = following
        return walk["value"][at].sum(1)

    def _walk(self) -> dict[str, Any]:
        """Splits and leaves as one numbering, a leaf its own child; kept after the first question."""
        kept = self.__dict__.get("_ready")
        if kept is not None:
            return kept
        count = self.leaves.astype(np.int64)
        nodes, splits = 2 * count - 1, count - 1
        start = np.concatenate([[0], np.cumsum(nodes)[:-1]])
        tree = np.repeat(np.arange(len(count)), splits)
        inside = _places(self.leaves)[0]
        place = start[tree] + inside  # splits first, then the leaves of a tree
        total = int(nodes.sum())
        of_leaf = np.repeat(np.arange(len(count)), count)
        leaf_at = start[of_leaf] + splits[of_leaf] + np.concatenate([np.arange(c) for c in count])
        value, feature, threshold = np.zeros(total), np.zeros(total, dtype=np.int64), np.full(total, np.inf, dtype=np.float32)
        nan_right, child = np.zeros(total, dtype=bool), np.repeat(np.arange(total), 2)
        value[leaf_at], feature[place], threshold[place] = self.value, self.feature, self.threshold
        to_default_left = (self.decision & _DEFAULT_LEFT) > 0
        nan_right[place] = np.where((self.decision >> 2) & 3 == _NAN, ~to_default_left, self.threshold < 0.0)
        for side, ours in enumerate((self.left, self.right)):
            child[2 * place + side] = start[tree] + np.where(ours >= 0, ours, splits[tree] + ~ours.astype(np.int64))
        categorical = (self.decision & _CATEGORICAL) > 0
        sets, member = None, None
        if categorical.any():
            sets = np.full(total, -1, dtype=np.int64)
            sets[place[categorical]] = np.arange(int(categorical.sum()))
            nan_right[place[categorical]] = True
            member = self._members()
        out = {"roots": start, "feature": feature, "threshold": threshold, "nan_right": nan_right, "child": child, "value": value, "set": sets, "member": member}
        self.__dict__["_ready"] = out
        return out

    def _members(self) -> np.ndarray:
        """(sets, c) whether category 0 .. c - 1 goes left at each categorical split."""
        first, length, word = [], [], 0
        ends = np.flatnonzero(np.diff(np.r_[self.bounds.astype(np.int64), 0]) < 0)  # bounds of a tree rise from 0
        for bounds in np.split(self.bounds.astype(np.int64), ends[:-1] + 1 if len(ends) else []):
            first += (word + bounds[:-1]).tolist()
            length += np.diff(bounds).tolist()
            word += int(bounds[-1])
        out = np.zeros((len(first), _WORD * max(length)), dtype=bool)
        for i, (at, words) in enumerate(zip(first, length, strict=True)):
            bits = np.unpackbits(self.words[at:at + words].astype("<u4").view(np.uint8), bitorder="little")
            out[i, :len(bits)] = bits
        return out


def _places(leaves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(splits,) the place of each split in its tree, and how many leaves that tree has."""
    splits = leaves.astype(np.int64) - 1
    ends = np.cumsum(splits)
    return np.arange(int(ends[-1])) - np.repeat(ends - splits, splits), np.repeat(splits + 1, splits)


def _within(member: np.ndarray, at: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(k,) whether the categories x (cut to whole numbers) are among the sets `at`; one never seen, and no category at all, is not."""
    known = np.isfinite(x) & (x > -1) & (x < member.shape[1])
    return known & member[at, np.where(known, x, 0).astype(np.int64)]


def _kept(values: np.ndarray, kind: str) -> np.ndarray:
    column = values.astype(kind)
    if kind == "<f4" and len(column):
        above = column.astype(np.float64) > values
        column = np.where(above, np.nextafter(column, np.float32(-np.inf)), column).astype(kind)
    return column


def _rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """The values to so many significant bits."""
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits))


def _ranked(feature: np.ndarray, threshold: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Different thresholds of each feature (how many, and all of them), and (splits,) which of its feature's a split has: a feature has few bins."""
    order = np.lexsort((threshold, feature))
    first = np.r_[True, (np.diff(feature[order]) != 0) | (threshold[order][1:] != threshold[order][:-1])][:len(order)]
    each = np.bincount(feature[order][first], minlength=int(feature.max(initial=0)) + 1).astype("<u4")
    rank = np.zeros(len(order), dtype=np.int64)
    rank[order] = np.cumsum(first) - 1 - (np.cumsum(each) - each)[feature[order]]
    return each, threshold[order][first].astype("<f4"), rank.astype("<u2" if rank.max(initial=0) < 1 << 16 else "<u4")


def _written(values: np.ndarray) -> list[str]:
    return [repr(float(v)) for v in values] if values.dtype.kind == "f" else [str(int(v)) for v in values]
