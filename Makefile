PYTHON ?= python3
VENV ?= .venv
BACKENDS ?= tensorflow jax torch
# The newest PyTorch with which the tests are known to pass.
TORCH ?= torch==2.13.0
ARGS ?=
# Most of the time goes into compiling, which one process does on one core.
WORKERS ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test lint format notebooks release-check clean

help:
	@echo "make demo       train on QM9 (ARGS='--epochs 5', see keras-mtl demo --help)"
	@echo "make test       run the tests on $(BACKENDS) (ARGS='-k nash')"
	@echo "make lint       check the code, its types and its format"
	@echo "make format     format the code"
	@echo "make notebooks  execute the examples and write their notebooks"
	@echo "make release-check  build the distributions and try the wheel"
	@echo "make clean      remove the environment and what was built"

demo: $(VENV)/.demo
	$(BIN)/keras-mtl demo $(ARGS)

test: $(VENV)/.test
	@failed=""; summary=""; \
	for backend in $(BACKENDS); do \
		echo "== tests on $$backend"; \
		start=$$(date +%s); \
		KERAS_BACKEND=$$backend $(BIN)/python -m pytest -n $(WORKERS) $(ARGS) \
			&& result=passed || { result=FAILED; failed=yes; }; \
		seconds=$$(( $$(date +%s) - start )); \
		summary="$$summary$$backend: $$result in $$seconds s\n"; \
	done; \
	printf "$$summary"; \
	test -z "$$failed"

lint: $(VENV)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.lint
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

release-check: $(VENV)/.release
	rm -rf dist build *.egg-info
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python .ci/release_check.py dist

notebooks: $(VENV)/.test
	$(BIN)/python examples/make_notebooks.py

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
		"keras-mtl needs Python 3.11 or newer (make PYTHON=...). Received: " \
		+ sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# The stamps are newer than pyproject.toml once its dependencies are installed.
$(VENV)/.demo: $(VENV)/.venv pyproject.toml
	@echo "Installing keras-mtl and TensorFlow into $(VENV) (some minutes)"
	$(PIP) install --editable '.[demo]'
	@touch $@

$(VENV)/.test: $(VENV)/.venv pyproject.toml
	@echo "Installing keras-mtl and three backends into $(VENV) (some minutes)"
	$(PIP) install --editable '.[tensorflow,jax,torch,tf-agents,demo,test,parity]' '$(TORCH)'
	@touch $@

$(VENV)/.lint: $(VENV)/.venv pyproject.toml
	$(PIP) install --editable '.[lint]'
	@touch $@

$(VENV)/.release: $(VENV)/.venv pyproject.toml
	$(PIP) install --editable '.[release]'
	@touch $@
