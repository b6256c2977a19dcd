"""How it learned: the experiment file (`config`), the story (`pipeline`), its figures (`metrics`), pictures and report, and the MLflow
store (`tracking`, `registry`) with the gate before `champion`."""
