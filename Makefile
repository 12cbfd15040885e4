# `make help` explains. Every target sets up first what it needs, once; later starts need no network.

PYTHON ?= $(shell command -v python3 || command -v python3.13 || command -v python3.12 || command -v python3.11)
LOCAL ?= .local
ARGS ?=
FILES ?= tests
-include local.mk

# Recipes and programs read these, where they are set, from the environment: a value may have blanks in it.
SETTINGS := DURATION INPUT FORMAT LOG_FORMAT CLIENT_FIELD TRUSTED_HOPS FOLLOW RATE LOCAL JAVA_HOME PYPI_MIRROR MAVEN_MIRROR OSV_URL HTTPS_PROXY UV_CACHE_DIR
$(foreach name,$(SETTINGS),$(if $(value $(name)),$(eval export $(name))))
# A format string has dollars of its own: it is handed on as it was given.
ifeq ($(origin LOG_FORMAT),command line)
override LOG_FORMAT := $(value LOG_FORMAT)
endif

# Each of a run's programs would compile anew all that it imports: 8 s of 12. What is compiled stays in __pycache__.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run page notebooks test test-slow test-cluster crash test-all bench check docs docs-serve zip pack s3-jars lock sbom audit clean distclean setup

help: ## this page
	@echo "Real-time user behaviour analysis: Kafka to anomaly scores with reasons, on Spark, Delta and MLflow."
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "make run takes:"
	@echo "  DURATION=60   seconds after which it ends by itself; without it, Ctrl-C ends it"
	@echo "  INPUT=file    replays events (JSON lines, an array) or a server's access log instead of simulated users, packed"
	@echo "                or plain; a folder, a pattern of files in quotes, or - for standard input,"
	@echo "                and ends when every line is scored; in a terminal its page stays until Ctrl-C"
	@echo "  FORMAT=name   what INPUT holds, where its first lines do not tell it; a wrong name lists those there are"
	@echo "  FOLLOW=1      waits for what a server writes to INPUT, through rotations, until Ctrl-C or DURATION"
	@echo "  CLIENT_FIELD= where a log has who asked: forwarded (X-Forwarded-For; TRUSTED_HOPS=n: proxies of your own), or a"
	@echo "                field's number; LOG_FORMAT= is a log's own format string, as nginx and Apache have it (in quotes)"
	@echo "  RATE=500      events per second; for INPUT the default is as fast as it goes"
	@echo "  LOCAL=dir     keeps everything there: tables in lake/, mlflow.db, logs/ (default: .local)"
	@echo "make test and make check take ARGS, further words for pytest:  make test ARGS='-k broker -x'"
	@echo "make test and make test-slow take FILES, in place of all tests:  make test-slow FILES=tests/integration/test_kafka.py"
	@echo
	@echo "The set-up (Python 3.11 to 3.13 and Java 17 or newer must be there) keeps to .venv and .jars of this folder."
	@echo "Its settings are variables: on the command line, in the environment, or for good in a file local.mk here:"
	@echo "  PYTHON=path        the Python to use               JAVA_HOME=dir      the Java to use"
	@echo "  PYPI_MIRROR=url    instead of the Python index     MAVEN_MIRROR=url   instead of Maven Central"
	@echo "  HTTPS_PROXY=url    a proxy for both                UV_CACHE_DIR=dir   where downloads are cached"

run: setup ## the platform on this machine: broker, Spark, Delta, MLflow; live anomalies in the terminal
	@exec .venv/bin/python -m jobs.run_pipeline --env local --local "$$LOCAL" \
		$${DURATION:+--duration "$$DURATION"} $${INPUT:+--input "$$INPUT"} $${FORMAT:+--format "$$FORMAT"} \
		$${RATE:+--rate "$$RATE"} $${LOG_FORMAT:+--log-format "$$LOG_FORMAT"} \
		$${CLIENT_FIELD:+--client-field "$$CLIENT_FIELD"} $${TRUSTED_HOPS:+--trusted-hops "$$TRUSTED_HOPS"} \
		$${FOLLOW:+--follow}

page: setup ## the live page of an earlier run (LOCAL=dir) until Ctrl-C, with nothing else at work
	@exec .venv/bin/python -m serving --env local --local "$$LOCAL" --any-port

notebooks: setup ## Jupyter on notebooks/, with the tables of make run (LOCAL, too); on this machine only, with a token
	@exec .venv/bin/python -m tools.notebooks

test: setup ## all tests but the slow ones, with a real broker, Delta and MLflow
	@.venv/bin/python -m pytest $(FILES) -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: setup ## the slow tests: parity repair, maintenance, erasure and back-fill beside running streams
	@.venv/bin/python -m pytest $(FILES) -m "slow and not cluster" --timeout 3600 $(ARGS)

test-cluster: setup s3-jars ## the jobs on a Spark cluster with S3, Kafka with TLS and MLflow with logins; its parts killed
	@.venv/bin/python -m pytest tests/cluster $(ARGS)

crash: setup ## ingest, the one pass, the bridge: each killed 25 times at random moments, with the broker (make test: 3)
	@BEHAVIOR_TEST_KILLS=25 .venv/bin/python -m pytest tests/integration/test_crash.py tests/integration/test_bridge_rabbitmq.py \
		tests/integration/test_sinks_killed.py \
		-k killed $(ARGS)

test-all: setup s3-jars ## every suite on this commit, two at a time, with a table at the end (2.5 hours on 2 cores)
	@.venv/bin/python -m tools.suites $(NAMES)

bench: setup ## figures beside what a user would pick instead (QUICK=1: small; NAMES="detection": only these, or all; WRITE=1: docs/benchmarks.md)
	@.venv/bin/python -m benchmarks $(if $(QUICK),--quick) $(if $(WRITE),--write) $(NAMES)

check: setup ## lint, types and the unit tests that need no Spark
	@.venv/bin/python -m ruff check .
	@.venv/bin/python -m mypy
	@.venv/bin/python -m pytest tests/unit -m "not slow and not integration and not spark" -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

docs: setup ## the documentation site in site/, built strictly: a dead link is an error
	@NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict

docs-serve: setup ## the documentation site at http://127.0.0.1:8000, built anew when a page is saved
	@NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs serve --dev-addr 127.0.0.1:8000

zip: setup ## dist/behavior-jobs.zip for spark-submit --py-files
	@.venv/bin/python -m tools.zip_jobs

pack: setup ## dist/behavior-environment.tar.gz: the packages for spark-submit --archives, without PySpark
	@.venv/bin/python -m tools.pack_environment

s3-jars: setup ## .jars/s3: what Spark needs to reach S3 (14 MB), and Delta's log store for it
	@.venv/bin/python -m tools.s3_jars

lock: ## renew requirements.lock, conf/bootstrap.lock and conf/jars.lock (UPGRADE=1: the newest versions that fit)
	@$(MAKE) --no-print-directory setup
	@.venv/bin/python -m tools.lock $(if $(UPGRADE),--upgrade)

sbom: setup ## dist/sbom.cdx.json: every package and jar of the lock files, with hashes, as CycloneDX
	@.venv/bin/python -m tools.sbom

audit: setup ## asks an advisory database (OSV_URL: another than osv.dev) for known vulnerabilities of all of them
	@.venv/bin/python -m tools.audit

clean: ## remove what was built and cached here; tables and models in .local stay
	@rm -rf build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis spark-warehouse metastore_db derby.log
	@find . -name __pycache__ -not -path './.venv/*' -not -path './.local/*' -prune -exec rm -rf {} +

distclean: clean ## make clean, and the set-up itself: .venv and .jars
	@rm -rf .venv .jars

setup: ## only the set-up
	@test -n "$(PYTHON)" || { echo "set-up: There is no Python: install Python 3.11, 3.12 or 3.13." >&2; exit 1; }
	@"$(PYTHON)" -m tools.bootstrap
