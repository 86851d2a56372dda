# Everything a person does with this tree. `make run` and `make test` need nothing but Python 3.11
# to 3.13, make and a compiler; both make .venv first, from locks with hashes.

SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ./alveary-data
S3 ?= 127.0.0.1:9000
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PIP_COMPILE := $(BIN)/pip-compile --quiet --allow-unsafe --generate-hashes --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras --no-annotate

MINUTES ?= 10
CLIENT_TEST ?=
SCENARIO ?= everything
SEEDS ?=
MIB ?= 256
ROUNDS ?= 50
# Processes that run tests, each a file at a time. One more than CI has cores: end-to-end tests wait.
WORKERS ?= 3

# Where an environment forbids it, each of the many processes of a swarm would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test thorough-test check bench sim sim-ci fleet mutants lock client-test kill-test memory-test power-test repair-test rescue-test takeover-test postgresql-test deploy-test hostile-test clean

run: $(VENV)/.run
	$(BIN)/alveary up --data $(DATA) --s3 $(S3)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# The same with all that make test has a part of: every seed of sim-ci, every sequence that is cut,
# large trees of files, more examples.
thorough-test: $(VENV)/.dev
	ALVEARY_THOROUGH=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --timeout 600

# What is checked beside the tests: style, types, who may import whom.
check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python -m bench $(BENCH)

# New seeds of the simulator for MINUTES, or those of SEEDS=1..5000; SCENARIO=everything.
sim: $(VENV)/.dev
	$(BIN)/python -m sim --scenario $(SCENARIO) --pictures .sim \
		$(if $(SEEDS),--seeds $(SEEDS),--for $(MINUTES))

# The seeds of which every test run simulates a sample, and all seeds that ever failed.
sim-ci: $(VENV)/.dev
	$(BIN)/python -m sim --ci
	$(BIN)/python -m sim --replay

# Look for the first seed that finds each seeded bug, and write it down.
mutants: $(VENV)/.dev
	$(BIN)/python -m sim.mutants tests/sim/mutants.toml docs/simulation.md

# Fleets over years: against the exact chain with many runs, and the figures of docs/durability.md.
fleet: $(VENV)/.dev
	ALVEARY_FLEET_RUNS=96 $(BIN)/python -m pytest --timeout 3600 tests/sim/test_fleets.py -k exact
	$(BIN)/python -m sim.fleets
	$(BIN)/python -m sim.fleets.prediction
	PYTHONPATH=tests/coordinator:. $(BIN)/python tests/coordinator/test_durability_page.py

# Every S3 client through TLS and in the clear, those too that tests/clients/Makefile installs.
client-test: $(VENV)/.dev
	$(MAKE) --directory tests/clients PYTHON=$(PYTHON)
	$(BIN)/python -m pytest -m "slow or not slow" tests/e2e/clients $(CLIENT_TEST)

# 200 times kill -9 of a cell at random moments of PUT, DELETE and compaction.
kill-test: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow -s tests/e2e/test_cell_kill.py

# 50 take-overs (ROUNDS=) by a standby, from a coordinator that is killed or stopped under load; as many
# rounds in which the coordinator of any of three sites is killed, sleeps (ASLEEP_S=60) or is cut off (root).
takeover-test: $(VENV)/.dev
	ALVEARY_TAKEOVER_ROUNDS=$(ROUNDS) ALVEARY_ASLEEP_S=$(or $(ASLEEP_S),60) $(BIN)/python -m pytest \
		-m slow -s tests/e2e/test_takeover.py tests/e2e/test_takeover_sites.py

# The same of three coordinators that share a PostgreSQL, of which one sleeps for 15 s (ASLEEP_S=60), and
# the kills of PostgreSQL and of each coordinator that make test has one of.
postgresql-test: $(VENV)/.dev
	ALVEARY_POSTGRESQL_ROUNDS=$(ROUNDS) ALVEARY_ASLEEP_S=$(or $(ASLEEP_S),15) $(BIN)/python -m pytest \
		-m 'slow or not slow' -s tests/e2e/test_postgresql.py tests/e2e/test_postgresql_sites.py

# A 5 GiB object through the gateway, every daemon's memory watched.
memory-test: $(VENV)/.dev
	ALVEARY_MEMORY_TEST_MIB=5120 $(BIN)/python -m pytest --timeout 3600 tests/e2e/test_memory.py

# 500 power cuts under real cells, and an error at every write and sync of a cell and of a store.
power-test: $(VENV)/.dev
	ALVEARY_POWER_CUTS=500 ALVEARY_IO_ERRORS=all $(BIN)/python -m pytest -s \
		tests/e2e/test_power_cuts.py tests/e2e/test_power_cuts_store.py \
		tests/e2e/test_injected_io_errors.py \
		tests/e2e/test_injected_store_errors.py

# 1,000 objects restored from the cells alone, every coordinator and n-k cells gone.
rescue-test: $(VENV)/.dev
	ALVEARY_RESCUE_OBJECTS=1000 $(BIN)/python -m pytest -s -m e2e tests/e2e/test_rescue.py

# Whole sites that go, in network namespaces (root only), and a cell of MIB that is wiped while
# clients go on: how fast it is rebuilt, and what the clients notice. Needs five times MIB of disk,
# with MIB=10240 some 55 GB and most of an hour.
repair-test: $(VENV)/.dev
	ALVEARY_REPAIR_TEST_MIB=$(MIB) $(BIN)/python -m pytest -s -m 'slow or not slow' \
		tests/e2e/test_sites.py tests/e2e/test_repair.py tests/e2e/test_rebuild.py

# 10^6 hostile keys, 10,000 broken requests, 1,000 slow clients (simulated, then real ones beside a
# tenant whose p99 may double), and much fuzzing.
hostile-test: $(VENV)/.dev
	ALVEARY_THOROUGH=1 $(BIN)/python -m pytest -s -m 'slow or not slow' --timeout 3600 \
		tests/gateway_s3/test_hostile_keys.py tests/gateway_s3/test_broken_requests.py \
		tests/fuzz tests/e2e/test_slow_clients.py

# What is in deploy/ for containers, with a helm and the schemas of Kubernetes.
deploy-test: $(VENV)/.dev .deploy/.done
	$(BIN)/python -m pytest tests/meta/test_deploy.py

.deploy/.done:
	$(PYTHON) -m venv .deploy
	.deploy/bin/pip install --quiet --disable-pip-version-check kubernetes-validate==1.37.0
	GOBIN=$(CURDIR)/.deploy/bin go install helm.sh/helm/v3/cmd/helm@v3.16.4
	@touch $@

# Choose the newest versions (docs/hacking.md, "Dependencies").
lock: $(VENV)/.dev
	$(PIP_COMPILE) --upgrade --output-file requirements/run.txt requirements/run.in
	$(PIP_COMPILE) --upgrade --output-file requirements/dev.txt \
		--constraint requirements/run.txt requirements/dev.in
	$(PIP_COMPILE) --output-file requirements/build.txt \
		--constraint requirements/run.txt requirements/build.in

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Alveary needs Python 3.11 or newer; name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The build tool comes from its own lock, so that what is built from source is built with it.
$(VENV)/.build: $(BIN)/python requirements/build.txt
	$(PIP_INSTALL) --require-hashes -r requirements/build.txt
	@touch $@

$(VENV)/.run: $(VENV)/.build requirements/run.txt pyproject.toml
	$(PIP_INSTALL) --require-hashes --no-build-isolation -r requirements/run.txt
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	$(PIP_INSTALL) --require-hashes --no-build-isolation -r requirements/dev.txt
	@touch $@

clean:
	rm -rf $(VENV) .clients .deploy .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .bench .sim
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
