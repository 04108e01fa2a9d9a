# Thin names for commands that also stand in README.md. The one thing needed beforehand is Python 3.11 or newer.
PYTHON ?= python3

.PHONY: help setup demo clean test lint bench rollout figures readme audit gunicorn workshop handout recordings kit lock doctor release

help:
	@echo "make demo         bake the default service, build its image, run it"
	@echo "make clean        remove what make demo and make test left"
	@echo "make test         run the test suite (container tests need Docker)"
	@echo "make lint         check style and types of the template's own code"
	@echo "make doctor SERVICE=../my-service  say what an older service lacks, and how to update it"
	@echo
	@echo "make workshop     build, judge and measure the ladder of the workshop, and make its handout"
	@echo "make handout      make handout and slides from what has been measured, as web pages and as PDF"
	@echo "make recordings   record the terminals of the ladder and the exercises from real runs"
	@echo "make kit          pack the workshop into one archive, for rooms without internet"
	@echo
	@echo "make bench        measure against four usual ways (with wrk and more, throughput and latency as well)"
	@echo "make rollout      replace replicas behind a proxy under load, and count what is lost"
	@echo "make figures      take what both have measured into README.md and docs/figures.md"
	@echo
	@echo "make lock         bring all locks of Python packages up to date (needs the network)"
	@echo "make audit        ask for known vulnerabilities, and for actions whose tag moved (needs the network)"
	@echo "make gunicorn     start and stop the service with every gunicorn it allows (needs the network)"
	@echo "make readme       write into the documents what follows from the questions"
	@echo "make release VERSION=0.2.0  commit and tag a release of the template"

setup: .venv/installed

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try make PYTHON=python3.13" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	.venv/bin/python -m pip install --require-hashes -r requirements.txt
	@touch $@

# A fifth of the packages, in the same versions: `make test` adds the others.
demo: | .venv/bin/python
	.venv/bin/python -m pip install --require-hashes -r requirements-demo.txt
	.venv/bin/python tools/demo.py

clean:
	-test ! -f demo/gunicorn.pid || kill "$$(cat demo/gunicorn.pid)"
	-docker rm --force hello-service-demo
	-docker image rm --force hello-service-demo
	rm -rf demo .venv .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# Two at a time: most tests wait for a container. More would wait for each other's builds.
test: setup
	.venv/bin/pytest -n 2

lint: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	git ls-files -z | xargs -0 .venv/bin/codespell --dictionary=- --dictionary=docs/words.txt
	git ls-files -z '*.md' | xargs -0 .venv/bin/proselint --output-format=compact check --config=docs/proselint.json

bench: setup
	.venv/bin/python -m benchmarks.bench

rollout: setup
	.venv/bin/python -m benchmarks.rollout

workshop: setup
	.venv/bin/python -m workshop.measure
	.venv/bin/python -m workshop.handout
	.venv/bin/python -m workshop.slides

handout: setup
	.venv/bin/python -m workshop.handout
	.venv/bin/python -m workshop.slides

recordings: setup
	.venv/bin/python -m workshop.record

figures: setup
	.venv/bin/python -m benchmarks.publish

readme: setup
	.venv/bin/python -m tools.readme

kit: handout
	.venv/bin/python -m workshop.kit pack

# By the command at the top of each. A later lock of the service keeps to the versions of those before.
lock: setup
	for lock in "{{cookiecutter.project_slug}}/requirements.txt" "{{cookiecutter.project_slug}}/requirements-dev.txt" \
	    "{{cookiecutter.project_slug}}/requirements-lint.txt" requirements.txt requirements-demo.txt \
	    tests/checkov/requirements.txt; do \
	    command=$$(sed -n 's/^# *\(uv pip compile\)/\1 --upgrade --quiet/p' "$$lock") && \
	    (cd "$$(dirname "$$lock")" && PATH="$(CURDIR)/.venv/bin:$$PATH" sh -c "$$command >/dev/null") || exit; \
	done

gunicorn: setup
	.venv/bin/pytest --verbose --all-gunicorn-releases tests/test_gunicorn_releases.py

doctor: setup
	.venv/bin/python -m tools.doctor $(if $(SERVICE),"$(SERVICE)",$(error name the folder of the service: make doctor SERVICE=../my-service))

release: setup
	.venv/bin/python -m tools.release $(if $(VERSION),"$(VERSION)",$(error name the version: make release VERSION=0.2.0))

# --strict, because without it a package that could not be looked up counts as clean. zizmor asks GitHub whether the
# commit of an action is still what its tag names, if there is a token in GH_TOKEN.
audit: setup
	.venv/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements.txt
	.venv/bin/pip-audit --strict --disable-pip --require-hashes --requirement "{{cookiecutter.project_slug}}/requirements.txt"
	.venv/bin/pip-audit --strict --disable-pip --require-hashes --requirement "{{cookiecutter.project_slug}}/requirements-dev.txt"
	.venv/bin/pip-audit --strict --disable-pip --require-hashes --requirement "{{cookiecutter.project_slug}}/requirements-lint.txt"
	output=$$(mktemp -d) && trap 'rm -rf "$$output"' EXIT && \
	    .venv/bin/cookiecutter . --no-input --default-config --output-dir "$$output" >/dev/null && \
	    .venv/bin/zizmor --pedantic .github "$$output"
