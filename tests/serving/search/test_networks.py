"""Networks to search: parameters of published ones, and what a wrong choice says."""

from __future__ import annotations

import pytest

from silicast.datasets.errors import FormatError, InputError
from silicast.serving.search import Problem
from silicast.serving.search.networks import NETWORKS, checked, network, workload


def test_as_they_stand_they_are_the_published_networks() -> None:
    resnet = workload({"network": "resnet"}, "x")
    # He et al., CVPR 2016: 3.8e9 multiply-adds (with the stride in the 1x1); v1.5 has 4.09e9, and 25.56 M parameters of which norms (folded here) are 0.053 M
    assert resnet.macs == pytest.approx(4.09e9, rel=0.01)
    assert resnet.params == pytest.approx(25.53e6, rel=0.002)
    mnasnet = workload({"network": "mnasnet"}, "x")
    # Tan et al., CVPR 2019, Table 1: MnasNet-A1 312 M multiply-adds, 3.9 M parameters; the space here has other widths in stages 1 and 6
    assert mnasnet.macs == pytest.approx(312e6, rel=0.2)
    assert mnasnet.params == pytest.approx(3.9e6, rel=0.4)


def test_wrong_choices_are_named() -> None:
    with pytest.raises(InputError, match="mnasnet"):
        network("mnasnett", "x")
    with pytest.raises(FormatError, match="did you mean 'block1_k'"):
        checked(NETWORKS["mnasnet"], {"blok1_k": 3}, "x")
    for wrong in ({"network": "resnet", "file": "a"}, {}, {"transformer": "gpt2", "phase": "sleep"}, {"transformer": "gpt2", "new_tokens": "many"}, {"network": "resnet", "width": 0}):
        with pytest.raises(InputError):
            workload(wrong, "x")


def test_networks_on_devices_have_a_quantity_each() -> None:
    problem = Problem.of({"vary": {"layers3": [1, 2]}, "build": {"network": {"family": "resnet", "fixed": {"resolution": 64}, "devices": ["t4", "raspberry_pi_4"]}},
                          "objectives": {"flops": "max", "latency_s@raspberry_pi_4": "min"}})
    found = problem.evaluate(problem.space.grid())
    assert len(found.front) == 2
    values = found.answers.values
    assert (values["latency_s@raspberry_pi_4"] > values["latency_s@t4"]).all()
    with pytest.raises(FormatError, match="varies already"):
        Problem.of({"vary": {"layers3": [1]}, "build": {"network": {"family": "resnet", "fixed": {"layers3": 2}, "devices": ["t4"]}}, "objectives": {"flops": "max"}})
