# Every target sets up what it needs in .venv; `make` alone lists them.
.DEFAULT_GOAL := help
.ONESHELL:
.SHELLFLAGS := -eu -c
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
DATA ?= .local
PORT_BASE ?= 8080
T ?= tests
BENCH ?= read write encode quotas deliver prepare crowd

VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install --disable-pip-version-check --no-input --quiet --require-hashes

CHECK_VENV := .venv-check
# The state of each environment lies under its own prefix in the bucket that infra/terraform/bootstrap makes.
TERRAFORM_INIT = test -n '$(ENV)' && test -f 'infra/terraform/$(ENV).tfvars' || { \
  echo "make: say which environment: ENV=name, described in infra/terraform/name.tfvars (copy terraform.tfvars.example)" >&2; exit 1; }; \
  command -v terraform >/dev/null || { echo "make: no program 'terraform'; install it, or use infra/gcloud.sh" >&2; exit 1; }; \
  project=$$(sed -n 's/^project_id *= *"\(.*\)"/\1/p' 'infra/terraform/$(ENV).tfvars'); \
  terraform -chdir=infra/terraform init -reconfigure -backend-config="bucket=$$project-bi-terraform-state" -backend-config='prefix=bi/$(ENV)'

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	echo
	echo '  Variables: PYTHON=python3.12  T=tests/unit (test)  PORT_BASE=9000 DATA=.local2 (run)  KEEP=1 (demo)'

.PHONY: demo
demo: install ## Watch real tables reach Power BI, Looker and Google Sheets, checked cell by cell (2 minutes)
	@exec $(PY) -m infra.local.demo

.PHONY: run
run: install ## Start the local cloud and keep it up; Ctrl-C stops it, data stays in DATA
	@exec $(PY) -m infra.local --data '$(DATA)' --port-base '$(PORT_BASE)'

.PHONY: test
test: install ## Run the tests (T=path for a part)
	@exec $(PY) -m pytest -n auto --dist loadfile $(T)

.PHONY: check
check: install ## Lint, types, architecture; runs no tests
	@$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m tests.unit.test_architecture

.PHONY: package
package: install ## Stage and zip each function into build/, reproducibly
	@exec $(PY) -m infra.package

.PHONY: smoke
smoke: package ## Boot each packaged function alone, in a clean environment
	@exec $(PY) -m infra.smoke

.PHONY: infra-check
infra-check: package ## Prove the deployment offline: schema, plan, policies, mutants (ACCEPT=1 takes a changed inventory)
	@if ! cmp -s infra/requirements/check.txt $(CHECK_VENV)/installed.txt; then
	  echo "installing the tools of infra-check into $(CHECK_VENV) (once, about two minutes)"
	  rm -rf $(CHECK_VENV)
	  '$(PYTHON)' -m venv $(CHECK_VENV)
	  $(CHECK_VENV)/bin/python -m pip install --disable-pip-version-check --no-input --quiet --require-hashes -r infra/requirements/pip.txt
	  $(CHECK_VENV)/bin/python -m pip install --disable-pip-version-check --no-input --quiet --require-hashes -r infra/requirements/check.txt
	  cp infra/requirements/check.txt $(CHECK_VENV)/installed.txt
	fi
	exec $(CHECK_VENV)/bin/python -m infra.check $(if $(ACCEPT),--accept)

.PHONY: deploy
deploy: package ## Deploy to Google Cloud: ENV=name reads infra/terraform/name.tfvars (see infra/DEPLOY.md)
	@$(TERRAFORM_INIT)
	exec terraform -chdir=infra/terraform apply -var-file='$(ENV).tfvars'

.PHONY: destroy
destroy: package ## Remove an environment from Google Cloud: ENV=name
	@$(TERRAFORM_INIT)
	exec terraform -chdir=infra/terraform destroy -var-file='$(ENV).tfvars'

.PHONY: conformance
conformance: install ## Run the suites on the emulators and sandboxes, and on the official Firestore emulator where installed
	@exec $(PY) -m infra.conformance

.PHONY: campaign
campaign: install ## Kill, pause and fail exports everywhere and prove them exactly once (PART=name; SEED=n, POINT=spot to replay)
	@exec $(PY) -m tests.campaigns --part '$(PART)' --point '$(POINT)' $(if $(SEED),--seed $(SEED))

.PHONY: campaign-quick
campaign-quick: install ## A sample of the campaign, within 5 minutes
	@exec $(PY) -m tests.campaigns --quick --part '$(PART)'

.PHONY: audit
audit: install ## Ask for known holes in the pinned packages; fails when it cannot ask
	@exec $(PY) -m infra.supply_chain audit

.PHONY: licences
licences: install ## List the licence of every runtime package
	@exec $(PY) -m infra.supply_chain licences

.PHONY: sbom
sbom: install ## Write build/sbom.json, the runtime packages as a CycloneDX bill of materials
	@exec $(PY) -m infra.supply_chain sbom

.PHONY: bench
bench: install ## Measure readers, quotas and deliveries against baselines and targets (BENCH=deliver for one; all: half an hour)
	@status=0
	for name in $(BENCH); do echo "== $$name"; $(PY) -m tests.benchmarks.$$name || status=1; done
	exit $$status

.PHONY: clean
clean: ## Remove build results and caches; keeps .venv and DATA
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Installs once for each content of the pins; afterwards no network is needed.
.PHONY: install
install:
	@if ! cmp -s tests/requirements.txt $(VENV)/installed.txt; then
	  if ! command -v '$(PYTHON)' >/dev/null; then
	    echo "make: no program '$(PYTHON)'; install Python 3.11 or newer (Debian, Ubuntu: apt-get install python3 python3-venv)" \
	      "or name one: make PYTHON=/path/to/python" >&2; exit 1
	  fi
	  if ! '$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
	    echo "make: $$('$(PYTHON)' --version) is too old; Python 3.11 to 3.14 is needed: make PYTHON=python3.12" >&2; exit 1
	  fi
	  if ! '$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null; then
	    echo "make: '$(PYTHON)' has no venv module; install it (Debian, Ubuntu: apt-get install python3-venv) and try again" >&2
	    exit 1
	  fi
	  if ! $(PY) -m pip --version >/dev/null 2>&1; then
	    rm -rf $(VENV)
	    '$(PYTHON)' -m venv $(VENV)
	  fi
	  echo "installing the pinned packages into $(VENV) (once, about a minute)"
	  $(PIP_INSTALL) -r infra/requirements/pip.txt
	  $(PIP_INSTALL) -r tests/requirements.txt
	  cp tests/requirements.txt $(VENV)/installed.txt
	fi
