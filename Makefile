# Start with `make run`; `make help` lists all targets.

PYTHON ?= python3
BIN := .venv/bin
UV := .tools/bin/uv
PEERS := .cache/peers
FLEET := tests/process/fleet
RECOVERY := .cache/recovery
CODE := $(shell find src tests bench examples tools -name '*.py' 2>/dev/null | cut -d/ -f1 | sort -u)

.DEFAULT_GOAL := help
.PHONY: help setup dev uv run test lint bench prove format lock clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

setup: ## create .venv with what Greenroom needs, from the lock; does nothing if it is up to date
	@$(PYTHON) tools/setup.py run

dev: ## the same, with the tools for tests and checks
	@$(PYTHON) tools/setup.py dev

uv: # The installer only, so that `make lock` works while the lock does not match pyproject.toml.
	@$(PYTHON) tools/setup.py uv

run: setup ## start Greenroom with the example team
	@$(BIN)/python examples/tidy/sample.py .cache/till
	@exec $(BIN)/greenroom up --config examples/tidy/greenroom.toml --say "tidy $(CURDIR)/.cache/till" --say tidy

test: dev ## every test except the long ones
	@$(BIN)/pytest -n 6 --dist=worksteal --durations=20 --durations-min=0.1

lint: dev ## style, types, layers
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy --strict $(CODE)
	@$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter

bench: dev ## run the benchmarks, and print the table that the README quotes
	@$(MAKE) --silent --no-print-directory $(PEERS)/ready || echo "cannot install the systems to compare with; measuring Greenroom only" >&2
	@$(BIN)/python -m bench

prove: dev ## the long tests
	@$(BIN)/pytest -m prove -o faulthandler_timeout=14400 --ignore=$(FLEET)
	@rm -rf $(RECOVERY)
	@RECOVERY_REPORT=$(RECOVERY) $(BIN)/pytest -m "prove or process" -o faulthandler_timeout=14400 $(FLEET)
	@$(BIN)/python -m $(subst /,.,$(FLEET)).recovery $(RECOVERY)

format: dev ## reformat the code as lint requires
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

lock: uv ## resolve versions again within the bounds of pyproject.toml
	@$(UV) pip compile --quiet --universal --generate-hashes --upgrade --python-version 3.11 --group dev \
		--custom-compile-command "make lock" pyproject.toml -o requirements.lock
	@$(UV) pip compile --quiet --universal --generate-hashes --upgrade --python-version 3.11 \
		--custom-compile-command "make lock" bench/peers/requirements.in -o bench/peers/requirements.txt

clean: ## remove everything that these targets create
	rm -rf .venv .tools .cache .hypothesis dist
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +

# The systems that the benchmark compares with. Only wheels, so that no database has to be compiled.
$(PEERS)/ready: bench/peers/requirements.txt | uv
	@$(UV) venv --quiet --clear $(PEERS)
	@$(UV) pip install --quiet --python $(PEERS)/bin/python --require-hashes --only-binary :all: --compile-bytecode -r $<
	@touch $@
