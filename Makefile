PYTHON ?= python3
# KERAS=nightly tests with the next Keras, in an environment of its own.
KERAS ?=
# The newest nightly of Keras with which the tests are known to pass.
NIGHTLY ?= keras-nightly==3.16.0.dev2026102704
VENV ?= $(if $(filter nightly,$(KERAS)),.venv-nightly,.venv)
BACKENDS ?= tensorflow jax torch
# The newest PyTorch with which the tests are known to pass.
TORCH ?= torch==2.13.0
ARGS ?=
# Most of the time goes into compiling, which one process does on one core. The
# tests of a file share what they compile, so one worker has them all.
WORKERS ?= 2
PYTEST := -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

BIN := $(VENV)/bin
# What needs no backend is tested on the last one.
LAST := $(lastword $(BACKENDS))
# Fuzzing takes many small steps, which are quickest on PyTorch.
FUZZED := $(if $(filter torch,$(BACKENDS)),torch,$(LAST))
TESTED := $(VENV)/$(if $(filter nightly,$(KERAS)),.$(NIGHTLY),.test)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# What pytest makes of the tests' modules is kept for the next worker.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-slow lint format notebooks release-check clean

help:
	@echo "make demo       train on QM9 (ARGS='--epochs 5', see keras-mtl demo --help)"
	@echo "make test       run the tests on $(BACKENDS) (ARGS='-k nash')"
	@echo "make test-slow  run the tests that make test leaves out for time"
	@echo "                (both take KERAS=nightly, BACKENDS=jax, WORKERS=4)"
	@echo "make lint       check the code, its types and its format"
	@echo "make format     format the code"
	@echo "make notebooks  execute the examples and write their notebooks"
	@echo "make release-check  build the distributions and try the wheel"
	@echo "make clean      remove the environment and what was built"

demo: $(VENV)/.demo
	$(BIN)/keras-mtl demo $(ARGS)

# Runs the tests on each backend, and sums up.
# Arguments: the marks of the last backend, and those of the others.
define on_each_backend
	@failed=""; ran=""; summary=""; \
	for backend in $(BACKENDS); do \
		echo "== tests on $$backend"; \
		marks="$(2)"; \
		test $$backend = $(LAST) && marks="$(1)"; \
		start=$$(date +%s); \
		KERAS_BACKEND=$$backend $(BIN)/python $(PYTEST) -m "$$marks" $(ARGS); \
		code=$$?; result=FAILED; \
		case $$code in \
			0) result=passed; ran=yes;; \
			5) result="nothing to run";; \
			*) failed=yes;; \
		esac; \
		seconds=$$(( $$(date +%s) - start )); \
		summary="$$summary$$backend: $$result in $$seconds s\n"; \
	done; \
	printf "$$summary"; \
	test -z "$$failed" && test -n "$$ran"
endef

test: $(TESTED)
	$(call on_each_backend,not slow,not slow and not any_backend and not once)

test-slow: $(TESTED)
	$(call on_each_backend,slow,(slow or once) and not any_backend)
	$(if $(ARGS),,KERAS_BACKEND=$(FUZZED) HYPOTHESIS_PROFILE=long \
		$(BIN)/python -m pytest -n $(WORKERS) tests/test_fuzz.py)

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
	rm -rf $(VENV) .venv-nightly build dist *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache
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

# keras-nightly brings the package `keras` itself, in the place of the release.
$(VENV)/.$(NIGHTLY): $(VENV)/.test
	$(PIP) uninstall --yes keras keras-nightly
	$(PIP) install --no-deps '$(NIGHTLY)'
	@touch $@

$(VENV)/.lint: $(VENV)/.venv pyproject.toml
	$(PIP) install --editable '.[lint]'
	@touch $@

$(VENV)/.release: $(VENV)/.venv pyproject.toml
	$(PIP) install --editable '.[release]'
	@touch $@
