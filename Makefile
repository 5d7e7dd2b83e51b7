# `make run` is all that a stranger needs; `make help` lists the rest.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
PEERS := .cache/peers
FLEET := tests/acceptance/fleet
HEALING := .cache/healing
CODE := $(shell find src tests bench examples tools -name '*.py' 2>/dev/null | cut -d/ -f1 | sort -u)

# A virtual environment names its own place: one that came along with a copied checkout would run the code it was copied from.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
MOVED := moved
endif

.DEFAULT_GOAL := help
.PHONY: help setup run test lint bench prove format lock clean moved

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv from the lock; only what changed is done again
	@$(BIN)/python -m compileall -q src

run: setup ## start the house with the example team
	@$(BIN)/python examples/tidy/sample.py .cache/till
	@exec $(BIN)/greenroom up --config examples/tidy/greenroom.toml --say "tidy $(CURDIR)/.cache/till" --say tidy

test: setup ## every test but the long ones
	@$(BIN)/pytest -n 6 --dist=worksteal

lint: setup ## style, types, floors
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy --strict $(CODE)
	@$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter

bench: setup ## measure, and print the table that the README quotes
	@$(MAKE) --silent --no-print-directory $(PEERS)/ready || echo "the peers could not be installed; Greenroom is measured alone" >&2
	@$(BIN)/python -m bench

prove: setup ## the long tests
	@$(BIN)/pytest -m prove -o faulthandler_timeout=1800 --ignore=$(FLEET)
	@rm -rf $(HEALING)
	@HEALING_REPORT=$(HEALING) $(BIN)/pytest -m "prove or process" -o faulthandler_timeout=1800 $(FLEET)
	@$(BIN)/python -m $(subst /,.,$(FLEET)).healing $(HEALING)

format: setup ## rewrite the code as lint wants it
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

lock: .tools/bin/uv ## choose versions anew within the caps of pyproject.toml
	@.tools/bin/uv pip compile --quiet --universal --generate-hashes --upgrade --python-version 3.11 --extra dev \
		--custom-compile-command "make lock" pyproject.toml -o requirements.lock
	@.tools/bin/uv pip compile --quiet --universal --generate-hashes --upgrade --python-version 3.11 \
		--custom-compile-command "make lock" bench/peers/requirements.in -o bench/peers/requirements.txt

clean: ## remove what these targets made
	rm -rf .venv .tools .cache .hypothesis dist
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +

# --target works where the system's Python refuses to be installed into (PEP 668), and needs no home folder.
# --compile-bytecode: where PYTHONDONTWRITEBYTECODE is set, every process would compile its imports anew.
.tools/bin/uv:
	@$(PYTHON) -m pip --version >/dev/null || { echo "pip is missing: install it (Debian: apt install python3-pip)" >&2; exit 1; }
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .tools 'uv>=0.9,<1'

# What Greenroom is measured beside. Wheels alone: nobody wants to compile a database to see a table.
$(PEERS)/ready: bench/peers/requirements.txt | .tools/bin/uv
	@.tools/bin/uv venv --quiet --clear $(PEERS)
	@.tools/bin/uv pip install --quiet --python $(PEERS)/bin/python --require-hashes --only-binary :all: --compile-bytecode -r $<
	@touch $@

$(READY): pyproject.toml requirements.lock $(MOVED) | .tools/bin/uv
	@.tools/bin/uv venv --quiet --clear .venv
	@.tools/bin/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock
	@.tools/bin/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@printf %s '$(CURDIR)' > $@
