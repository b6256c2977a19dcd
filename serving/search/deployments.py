"""Deployments of language models: which model, on what, how many, cut how, in which formats, at what power, phases apart or not.

    build:
      deployment:
        prompt_tokens: 1024
        output_tokens: 256
        prices: {h100_sxm: 2.5, a100_sxm: 1.3}           # per device and hour, in the caller's currency
        link_bandwidth_bytes_per_s: {h100_sxm: 4.5e11}   # of one device, one way; `other` for those not named
        fixed: {model: llama3_8b, schedule: continuous}

Dimensions and `fixed` are the fields of `deployment.FIELDS`. Beside the targets of serving stand `devices`, `request_rate_per_s`, `energy_per_token_j`, and with prices
`cost_per_hour` and `cost_per_mtok` (per million output tokens).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...datasets.errors import InputError
from ...datasets.simulator.serving import simulate_serving
from ...datasets.simulator.serving_split import simulate_split
from .answers import Answers
from .deployment import Deployment, DeploymentTerms, device
from .deployment_table import tabulated
from .space import Candidate

HOUR_S = 3600.0


@dataclass(frozen=True)
class DeploymentDesign(DeploymentTerms):
    """Candidates that are deployments, and what they cost."""

    kind = "deployment"

    def answers(self, candidates: Sequence[Candidate], by: Any = None) -> Answers:
        """n candidates answered by the simulator; the plain plans at once (`deployment_table`), the others one by one. Raises InputError for a predictor: models of
        whole workloads do not answer for deployments."""
        if by is not None:
            raise InputError("search: deployments are answered by the simulator; leave --model out")
        rows: list[dict[str, float]] = [{} for _ in candidates]
        why = [""] * len(candidates)
        known: dict[int, Deployment] = {}
        for i, candidate in enumerate(candidates):
            try:
                known[i] = self.deployment(candidate)
            except InputError as error:
                why[i] = f"cannot be built: {error}"
        done, prices = tabulated(self, known), dict(self.prices)
        for i, one in known.items():
            try:
                rows[i], why[i] = done[i] if i in done else self.one(one)
                rows[i] = rows[i] | _costs(one, rows[i], prices)
            except InputError as error:
                why[i] = f"cannot be built: {error}"
        return Answers.of_rows(rows, why)

    def one(self, d: Deployment) -> tuple[dict[str, float], str]:
        """(quantities, why not) of one deployment by `simulate_serving` or `simulate_split`. Raises InputError for a plan the machine cannot run."""
        here = self.machine(d.device, d.power_limit, d.plan.devices)
        if d.split:
            there = self.machine(*d.reader, d.prompt_plan.devices)
            s = simulate_split(d.model, there, here, self.prompt_tokens, self.output_tokens, d.batch, self.handover_bytes_per_s, d.prompt_machines, d.token_machines,
                               d.prompt_plan, d.plan)
            found = {name: getattr(s, name) for name in ("ttft_s", "tpot_s", "throughput_tok_s", "power_w", "energy_per_token_j", "request_rate_per_s")}
            return {**found, "latency_s": s.e2e_s, "devices": float(sum(d.counts.values()))}, s.infeasible
        a = simulate_serving(d.model, here, self.prompt_tokens, self.output_tokens, d.batch, plan=d.plan)
        found = {name: a.values[name] for name in ("ttft_s", "tpot_s", "latency_s", "throughput_tok_s", "power_w", "memory_bytes")}
        return {**found, "energy_per_token_j": a.energy_per_token_j, "request_rate_per_s": a.request_rate_per_s, "devices": float(a.devices)}, a.infeasible


def _costs(d: Deployment, row: Mapping[str, float], prices: Mapping[str, float]) -> dict[str, float]:
    """What the whole deployment costs; nothing where a price is not given."""
    hour = 0.0
    for key, count in d.counts.items():
        price = prices.get(device(key, 0.0).key, prices.get("other"))
        if price is None:
            return {}
        hour += price * count
    return {"cost_per_hour": hour, "cost_per_mtok": hour / HOUR_S / row["throughput_tok_s"] * 1e6}
