# Each target does all its own set-up: virtual environment, pinned packages, and the programs it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test versions bench lint peers programs test-programs kube-assets kafka-jars thanos image recordings clean

demo: $(READY) programs ## flights on real Prometheus, Alertmanager and MLflow: about three minutes
	@$(BIN)/midwatch up -f examples/flights/platform.yaml --duration $(or $(DURATION),150s) $(FLAGS)

test: $(READY) test-programs lint ## everything CI checks
	$(BIN)/pytest --numprocesses 5 --max-worker-restart 0 $(ARGS)

versions: $(READY) programs ## everything rendered, on newer Prometheus and Alertmanager too: builds them once (Go)
	@scripts/try-versions $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) programs ## the figures, as tables
	$(BIN)/python -m benchmarks $(FLAGS)

peers: ## the tools that drift is measured beside, each in an environment of its own
	@for peer in evidently:'pandas<3' nannyml:statsmodels frouros: alibi-detect:; do \
	  name=$${peer%%:*}; extra=$${peer#*:}; $(PYTHON) -m venv .peers/$$name && \
	  .peers/$$name/bin/python -m pip install --quiet --disable-pip-version-check $$name $${extra:+"$$extra"} || exit 1; done

programs:
	@scripts/programs prometheus prometheus-alertmanager postgresql

# What cannot be installed here is no error: its tests skip, and the last lines say which and how to get it.
test-programs:
	@scripts/programs prometheus prometheus-alertmanager postgresql redis-server chromium default-jre-headless maven openssl || true
	@scripts/kafka-jars >/dev/null || true
	@if command -v go >/dev/null; then scripts/kube-assets >/dev/null; else echo 'go is not installed: no tests against Kubernetes' >&2; fi
	@if command -v go >/dev/null; then scripts/thanos >/dev/null; else echo 'go is not installed: no tests against Thanos' >&2; fi

kube-assets: ## kube-apiserver, etcd and the controllers for the tests of the Kubernetes mode, built once (Go)
	@scripts/kube-assets

kafka-jars: ## a Kafka broker, and what PySpark lacks to read Kafka and Delta: fetched once (Maven)
	@scripts/kafka-jars

thanos: ## Thanos, for the tests of the view over several regions, built once (Go)
	@scripts/thanos

image: $(READY) ## the image, built and tried; BASE=, BUILD_BASE=, IMAGE=, ASSEMBLE=1: see scripts/image
	@PYTHON=$(BIN)/python scripts/image

recordings: $(READY) programs ## nightly: what real programs expose, beside what their systems' folders say
	@if command -v go >/dev/null; then scripts/kube-assets >/dev/null; scripts/system-programs >/dev/null || true; fi
	@test -x .recorded/bin/python || { $(PYTHON) -m venv .recorded && \
	  .recorded/bin/python -m pip install --quiet --disable-pip-version-check mlflow prometheus-flask-exporter feast; }
	@MIDWATCH_RECORDED_PYTHON=$(CURDIR)/.recorded/bin/python $(BIN)/python -m scripts.recordings --check $(SYSTEMS)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Midwatch needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (set PYTHON=...)" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) >&2 || { echo 'python3 -m venv failed: install the package python3-venv' >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[flights,kafka,spark,reports,explain,dev]'
	@touch $@

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache
