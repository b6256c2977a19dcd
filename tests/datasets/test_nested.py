"""JSON in cells becomes columns."""

from __future__ import annotations

import numpy as np
import pandas as pd

from silicast.datasets import nested
from silicast.datasets.measured import read_measured

POINTS = ['{"PARA": 4, "PIPE": "off"}', '{"PARA": 2}', '{"PIPE": "flatten", "TILE": 8}']


def test_objects_become_their_keys_and_what_is_absent_is_missing() -> None:
    got = nested.spread(pd.DataFrame({"point": POINTS, "x": [1, 2, 3]}))
    assert list(got.columns) == ["point[PARA]", "point[PIPE]", "point[TILE]", "x"]
    assert got["point[PARA]"].tolist()[:2] == [4.0, 2.0]
    assert np.isnan(got["point[PARA]"][2])
    assert got["point[PIPE]"].tolist() == ["off", "", "flatten"]


def test_lists_become_places_and_counts() -> None:
    got = nested.spread(pd.DataFrame({"ops": ["[-1, 2, 2, -2]", "[-1, 0, -2]"], "adjacency": ["[[0, 1], [0, 0]]", "[[0, 0], [0, 0]]"]}))
    assert got["ops[#2]"].tolist() == [2.0, 0.0]
    assert got["ops[1]"].tolist() == [2.0, 0.0]
    assert np.isnan(got["ops[3]"][1])
    assert got["adjacency[0.1]"].tolist() == [1.0, 0.0]


def test_words_that_only_look_like_it_stay() -> None:
    frame = pd.DataFrame({"note": ["[sic]", "{x}"], "empty": ["", "[1]"]})
    assert nested.spread(frame) is frame


def test_a_schema_names_the_column_or_its_keys_and_a_later_table_may_lack_some() -> None:
    frame = pd.DataFrame({"kernel": ["a", "a", "b"], "point": POINTS, "ms": [1.0, 2.0, 3.0]})
    schema = {"features": ["kernel", "point"], "targets": {"latency_s": {"column": "ms", "unit": "ms"}}, "group": ["kernel", "point"]}
    table = read_measured(frame, schema)
    assert list(table.questions.frame.columns) == ["kernel", "point[PARA]", "point[PIPE]", "point[TILE]"]
    assert len(set(table.groups)) == 3
    later = read_measured(frame[["kernel", "point"]].iloc[1:2], {**schema, "features": list(table.questions.frame.columns)}, need_targets=False)
    assert list(later.questions.frame.columns) == list(table.questions.frame.columns)
    assert np.isnan(later.questions.frame["point[TILE]"][0])
