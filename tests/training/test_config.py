from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from silicast.datasets.errors import FormatError
from silicast.training import config
from silicast.training.config import PARTS, Experiment

GOOD: dict[str, Any] = {"name": "e", "data": {"generated": "some/folder"}, "surrogates": [{"member": "boosted", "register_as": "b"}]}
EXAMPLE = Path(__file__).parents[2] / "docs" / "experiment.yaml"


def test_the_example_in_docs_reads_and_survives_a_round_trip() -> None:
    experiment = Experiment.load(EXAMPLE)
    assert Experiment.of(experiment.to_json()) == experiment
    assert experiment.folder == Path("out/first-light")


def test_defaults_are_the_documented_ones() -> None:
    experiment = Experiment.of(GOOD)
    assert experiment.level == 0.9
    assert experiment.targets == ("latency_s", "power_w", "energy_j")
    assert experiment.tracking_uri is None
    assert tuple(experiment.split.fractions) == PARTS
    assert sum(experiment.split.fractions.values()) == pytest.approx(1.0)


def test_every_field_has_its_help_beside_it() -> None:
    for part in (config.Experiment, config.Data, config.Generate, config.Split, config.SurrogateSpec):
        assert all(field.description for field in part.model_fields.values()), part


@pytest.mark.parametrize(("change", "said"), [
    ({"surogates": 1}, ["surogates: unknown key", "did you mean 'surrogates'", "allowed: name, seed"]),
    ({"seed": "7"}, ["seed: expected", "integer", "'7'"]),
    ({"level": 2.0}, ["level: expected", "less than 1", "2.0"]),
    ({"targets": ["latency"]}, ["unknown target 'latency'", "latency_s"]),
    ({"targets": ["latency_s", "latency_s"]}, ["latency_s is named more than once"]),
    ({"data": {}}, ["data: expected exactly one of"]),
    ({"data": {"generate": {"out": "x", "count": 5}, "generated": "y"}}, ["exactly one of"]),
    ({"data": {"generate": {"out": "x", "count": 0, "familys": []}}}, ["data.generate.count: expected greater than 0, got 0", "data.generate.familys: unknown key", "'families'"]),
    ({"split": {"train": 0.9}}, ["split: train + valid + calibrate + test must be 1, got 1.2"]),
    ({"surrogates": []}, ["surrogates: expected at least one entry"]),
    ({"surrogates": [{"membr": "boosted", "register_as": "b"}]}, ["surrogates.0.member: missing", "surrogates.0.membr: unknown key", "register_as"]),
    ({"surrogates": [{"member": "boosed", "register_as": "b"}]}, ["surrogates.0: unknown surrogate 'boosed'", "boosted"]),
    ({"surrogates": [{"member": "boosted", "register_as": "a/b"}]}, ["surrogates.0.register_as", "'a/b'"]),
    ({"surrogates": [{"member": "boosted", "register_as": "b", "settings": {"seed": 3}}]}, ["seed belongs at the top"]),
    ({"name": None}, ["name: expected", "None"]),
])
def test_a_wrong_file_is_one_line_with_file_field_and_what_is_allowed(tmp_path: Path, change: dict[str, Any], said: list[str]) -> None:
    path = tmp_path / "exp.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **change}))
    with pytest.raises(FormatError) as error:
        Experiment.load(path)
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    for part in said:
        assert part in text


@pytest.mark.parametrize(("text", "said"), [
    ("name: a\nname: b\n", "given twice"), ("- 1\n", "expected a mapping"), ("a: [", "not readable YAML"), ("", "got NoneType"),
    ("? [1, 2]\n: 3\n", "exp.yaml"), ("\x00", "not readable YAML"), ("level: .nan\n", "exp.yaml"), ("name: &a [*a]\n", "exp.yaml")])
def test_what_is_no_experiment_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "exp.yaml"
    path.write_text(text)
    with pytest.raises(FormatError, match=said):
        Experiment.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"gone\.yaml: no such file"):
        Experiment.load(tmp_path / "gone.yaml")


def test_an_experiment_cannot_be_changed() -> None:
    with pytest.raises(Exception, match="frozen"):
        Experiment.of(GOOD).seed = 3  # type: ignore[misc]
