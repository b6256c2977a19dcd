"""A real `mlflow server` over HTTP for tests, with one worker on SQLite, and small model folders that cost no simulator to make."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd

#: seconds a server may take to start: it is slow where others take the cores
START_S = 240.0
SCHEMA = {"features": ["reuse", "width", "strategy"], "targets": {"latency_s": {"column": "t_us", "unit": "us"}}}


class MlflowServer:
    """The process and what lies in its folder; `url` names it to clients."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = int(s.getsockname()[1])
        self.folder, self.url = folder, f"http://127.0.0.1:{self.port}"
        self.artifacts, self.database = folder / "artifacts", folder / "mlflow.db"
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> MlflowServer:
        """Starts it, again on the same port and files after a stop; waits until it answers."""
        command = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
                   "--backend-store-uri", f"sqlite:///{self.database}", "--artifacts-destination", str(self.artifacts)]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **quiet}, cwd=self.folder, start_new_session=True)
        limit = time.time() + START_S
        while time.time() < limit:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5) as reply:
                if reply.status == 200:
                    return self
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            time.sleep(0.2)
        self.stop()
        raise AssertionError(f"mlflow server did not answer within {START_S:g} s: {self.log.read_text(encoding='utf-8', errors='replace')[-2000:]}")

    def signal(self, number: int) -> None:
        """Sends a signal to it and its workers (SIGSTOP, SIGCONT, SIGKILL)."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """Kills it; what it has stored stays."""
        if self.process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            self.process.wait(30)
            self.process = None


def plain_folder(place: Path, name: str = "plain", seed: int = 0, error: float = 0.05, weight: int = 0, trees: int = 20) -> Path:
    """A real model folder of a plain table; its card says a median APE of `error` over all rows, in two families and on one kind. `weight`: bytes of ballast in its card."""
    from silicast.datasets.measured import read_measured
    from silicast.features import FEATURE_VERSION, domain
    from silicast.surrogates import store
    from silicast.surrogates.boosted import Boosted
    from silicast.surrogates.card import ModelCard
    from silicast.surrogates.conformal import Conformal

    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"reuse": rng.integers(1, 64, 200), "width": rng.integers(8, 512, 200), "strategy": rng.choice(["latency", "resource"], 200)})
    table = read_measured(frame.assign(t_us=0.01 * frame["reuse"] * frame["width"] + 1.0), SCHEMA)
    surrogate = Conformal(Boosted(targets=("latency_s",), trees=trees, threads=1), 0.9).fit(table)
    surrogate.conformalize(table)
    figures = {where: {"latency_s": {"rows": rows, "median_ape": error * scale, "p90_ape": 3 * error * scale, "coverage": 0.9}}
               for where, rows, scale in (("all", 600, 1.0), ("family=mlp", 400, 0.5), ("family=cnn", 200, 2.0), ("kind=fpga", 600, 1.0), ("device=u250", 50, 1.0))}
    card = ModelCard(name, "", "features", ("latency_s",), {"latency_s": "s"}, FEATURE_VERSION, "", table.source, table.digest, len(table), "none", 0.9, domain.describe(table),
                     metrics=figures, silicast_version="0.1.0", code_revision="abc", schema=SCHEMA, extra={"test_digest": "t1", "member": "boosted", "ballast": "x" * weight})
    return store.save(surrogate, card, place)
