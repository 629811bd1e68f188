# Herald. `make help` lists the targets; its text is the comment after each name.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo dev test check lint format lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One stamp for each lock: a changed lock installs again, nothing else does.
$(VENV)/run.stamp: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("Herald needs Python 3.11 or newer, this is %d.%d" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made: install the venv module of $(PYTHON) (Debian: python3-venv)."; exit 1; }
	@echo "installing the pinned dependencies into $(VENV) …"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/run.stamp
	@echo "installing the pinned development tools into $(VENV) …"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/run.stamp ## Run every scenario on the embedded stack and print what happened
	@$(BIN)/herald demo

dev: $(VENV)/run.stamp ## Keep the whole stack running (Ctrl-C stops it)
	@$(BIN)/herald dev

test: $(VENV)/dev.stamp ## Run the tests
	@$(BIN)/python -m pytest

check: $(VENV)/dev.stamp ## Lint, types, layers, lock and guard tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/guards

format: $(VENV)/dev.stamp ## Format the code and mend what the linter can
	@$(BIN)/ruff check --fix . || true
	@$(BIN)/ruff format .

LOCK := $(UV) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet
lock: ## Pin the dependencies again (needs uv in .venv)
	$(LOCK) --group build -o requirements.lock
	$(LOCK) --group build --group dev -c requirements.lock -o requirements-dev.lock

clean: ## Remove the virtual environment, caches and local data
	rm -rf $(VENV) .herald .pytest_cache .ruff_cache .hypothesis
