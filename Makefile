# The newcomer's commands. Each sets up .venv by itself the first time (about two minutes, 2 GB), and again when the versions change.
#   make run    the main job on embedded defaults: generate, train, register, predict a real network, report
#   make test   the tests
#   make check  ruff and mypy
#   make bench  the benchmarks, into docs/benchmarks
#   make clean  removes what these made
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
export PYTHONSAFEPATH = 1

.PHONY: run test check bench clean
.DEFAULT_GOAL := run

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "silicast needs Python 3.11 or newer; found %s. Try: make PYTHON=python3.11" % sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
	@# five packages that carry real ONNX networks; only their files are used, so nothing they depend on is installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps rapidocr-onnxruntime magika silero-vad nudenet piper-tts
	@touch $(READY)

run: $(READY)
	$(BIN)/silicast demo

test: $(READY)
	$(BIN)/python -m pytest -q

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

# the shared rooms of the benchmarks (_tables, kernel_tables, ...) lie beside them
bench: export PYTHONPATH = benchmarks
bench: $(READY)
	$(BIN)/python benchmarks/simulate.py --json docs/benchmarks/simulate.json
	$(BIN)/python benchmarks/peers.py --kept --json docs/benchmarks/peers.json
	$(BIN)/python benchmarks/measured.py --json docs/benchmarks/measured.json
	$(BIN)/python benchmarks/papers.py --json docs/benchmarks/papers.json
	$(BIN)/python benchmarks/fpga.py --json docs/benchmarks/fpga.json
	$(BIN)/python benchmarks/llm_serving.py --kept --json docs/benchmarks/llm_serving.json
	$(BIN)/python benchmarks/interval.py --json docs/benchmarks/interval.json
	$(BIN)/python benchmarks/frontends.py --json docs/benchmarks/frontends.json
	$(BIN)/python benchmarks/search.py --json docs/benchmarks/search.json
	$(BIN)/python benchmarks/serve.py --json docs/benchmarks/serve.json
	$(BIN)/python benchmarks/accuracy.py --json docs/benchmarks/accuracy.json --page
	$(BIN)/python benchmarks/predict.py --json docs/benchmarks/predict.json
	$(BIN)/python benchmarks/synthetic.py --json docs/benchmarks/synthetic.json
	$(BIN)/python benchmarks/guard.py --json docs/benchmarks/guard.json
	$(BIN)/python benchmarks/summed.py --json docs/benchmarks/summed.json
	$(BIN)/python benchmarks/graph_networks.py --json docs/benchmarks/graph_networks.json
	$(BIN)/python benchmarks/measured_tables.py --json docs/benchmarks/measured_tables.json

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis silicast_demo
