"""What the READMEs say is what happens: their commands are run, their output and tables are compared."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import PYTHONS, TEMPLATE, Bake, BakedProject, docker, free_port, snapshot
from tests.readme import blocks, commands, page_of_docs, section
from tests.recipes import FOLLOWED_BY, shell
from tests.test_inner_loop import serving
from tools.demo import page
from tools.questions import CHOICES, DEFAULTS, base_image, shorthand

README = (TEMPLATE / "README.md").read_text(encoding="utf-8")

# Commands that go on until they are stopped: what they serve is looked at meanwhile.
SERVING = ("docker run --rm -p ", "docker compose up ", ".venv/bin/flask ", ".venv/bin/python -m app")
# The pages of docs/ whose commands are run with those of the README of a service.
PAGES = ("develop", "contract", "look-inside", "scan", "one-host")
ACCOUNT, DATABASE = "needs an account at a registry", "needs a database of vulnerabilities"
# Those of their commands that are run elsewhere, or cannot be: they need a later template, a scanner, or more.
ELSEWHERE = {
    "docker push ": ACCOUNT,
    "trivy image --scanners vuln ": DATABASE,
    "grype ": DATABASE,
    "docker scout ": ACCOUNT,
    "pip-audit ": DATABASE,
    "cruft ": "tests/test_update.py",
    "git add .cruft.json": "tests/test_update.py",
    "trivy image --format ": "tests/test_scanning.py",
}
# How the commands of the other documents begin, and what runs them.
RUN_BY = {
    "README.md": {
        f"uvx cookiecutter {shorthand()}": "tests/test_questions.py",
        f"cookiecutter {shorthand()}": "tests/test_container.py",
        "cd hello-service": "tests/test_container.py",
        "docker build -t my-python-app .": "tests/test_container.py",
        "docker run -p 5000:5000 my-python-app": "tests/test_container.py",
        "make demo": "tests/test_docs.py",
        "make clean": "tests/test_docs.py",
        "make test": ".ci/run",
        "make doctor SERVICE=": "tests/test_doctor.py",
        "python3 -m venv .venv": "Makefile",
        ".venv/bin/": "Makefile",
        "py -m venv .venv": ".github/workflows/ci.yaml",
        ".venv\\Scripts\\": ".github/workflows/ci.yaml",
        ".venv/bin/pytest tests/container": "tests/test_generated_suite.py",
    },
    "CONTRIBUTING.md": {
        "make lint": ".ci/run",
        "make test": ".ci/run",
        "make release VERSION=": "tests/test_release.py",
        "make lock": "tests/test_renovate.py",
    },
    "AGENTS.md": {
        "make lint": ".ci/run",
        ".venv/bin/pytest -m ": ".ci/run",
        ".venv/bin/cookiecutter . ": "tests/test_platform.py",
    },
    "docs/questions.md": {"cookiecutter ": "tests/test_docs.py", "docker run ": "tests/test_docs.py"},
    "docs/platform.md": {"": "tests/test_platform.py"},
    "docs/kubernetes.md": {"": "tests/test_kubernetes.py"},
    "docs/private-networks.md": {"": "tests/test_private_networks.py"},
    **{f"docs/{name}.md": {"": "tests/test_docs.py"} for name in PAGES},
    **{
        f"docs/recipes/{path.name}": {"": FOLLOWED_BY.get(path.stem, "tests/test_recipes.py")}
        for path in sorted((TEMPLATE / "docs/recipes").glob("*.md"))
        if commands(path.read_text(encoding="utf-8"))
    },
    "workshop/chapters/kubernetes.md": {"": "tests/test_workshop_text.py"},
    "workshop/chapters/ladder.md": {"docker ": "tests/test_workshop_ladder.py"},
    "workshop/worksheet.md": dict.fromkeys(
        ("docker ", "time ", "echo ", ".venv/bin/python -m workshop.ladder ", "workshop/check ", "rm -r "),
        "tests/test_sheets.py",
    ),
    "workshop/README.md": {
        "make workshop": "tests/test_workshop_ladder.py",
        "make handout": "tests/test_handout.py",
        "make kit": "tests/test_workshop_kit.py",
        "workshop/check FOLDER": "tests/test_workshop_exercises.py",
        "workshop/quiz": "tests/test_quiz.py",
    },
}


@pytest.mark.container
@pytest.mark.slow
def test_every_command_of_the_generated_readme_and_of_the_pages_works(
    bake: Bake, proxy_image: None, record_property: Callable[[str, object], None]
) -> None:
    port = free_port()
    project = bake(project_name="Readme Check", python_version=PYTHONS[0], port=str(port))
    project.run("git", "init", "--quiet")
    project.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty", "-m", "x")
    documents = [(project.path / "README.md").read_text(encoding="utf-8")]
    documents += [page_of_docs(name, project.path.name, str(port)) for name in PAGES]
    down = ("docker", "compose", "--profile", "dev", "--profile", "test", "down", "--remove-orphans", "--volumes")
    ran: list[str] = []
    try:
        for document in documents:
            for command in commands(document):
                if command in ran or command.startswith(tuple(ELSEWHERE)):
                    continue
                ran.append(command)
                record_property("ran", command)
                if ":0.2.0" in command:
                    docker("tag", "my-org/readme-check:0.1.0", "my-org/readme-check:0.2.0")
                if command.startswith(SERVING):
                    with serving(project, "bash", "-c", f"exec {command}", port=port):
                        assert page(port) == "<p>Hello, World!</p>", command
                else:
                    # The whole contract on this service is in test_generated_suite.py; here, that the command runs it.
                    some = "-k test_image" if "tests/container" in command else ""
                    shell(command, project, PYTEST_ADDOPTS=some)
                if " up --detach " in command:
                    assert page(port) == "<p>Hello, World!</p>", command
            # The next page begins where nothing runs.
            project.run(*down, "--timeout", "1")
    finally:
        project.run(*down, "--timeout", "1", "--rmi", "all")
        built = docker("images", "--quiet", "--filter", "label=com.docker.compose.project=readme-check").split()
        for reference in ("readme-check", "my-org/readme-check:0.1.0", "my-org/readme-check:0.2.0", *built):
            subprocess.run(["docker", "image", "rm", "--force", reference], capture_output=True, check=False)
    assert all(any(command.startswith(start) for command in ran) for start in SERVING), ran
    assert len([command for command in ran if " up --detach " in command]) == 5, ran


@pytest.mark.container
@pytest.mark.slow
def test_docker_alone_bakes_a_service_that_belongs_to_its_user(engine: None, tmp_path: Path) -> None:
    snapshot(tmp_path / "template")
    questions = (TEMPLATE / "docs/questions.md").read_text(encoding="utf-8")
    [command] = commands(section(questions, "With nothing but Docker"))
    here = command.replace(" -it ", " ").replace(base_image(DEFAULTS["python_version"]), base_image(PYTHONS[0]))

    done = subprocess.run(
        ["bash", "-c", here.replace("cookiecutter template", "cookiecutter template --no-input")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert "\nhello-service is ready. Next:\n" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "hello-service/README.md").stat().st_uid == os.getuid()


@pytest.mark.parametrize("deploy", CHOICES["deploy"])
def test_the_table_of_the_generated_readme_names_what_is_there(bake: Bake, deploy: str) -> None:
    project = bake(deploy=deploy)
    readme = (project.path / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \|", readme.partition("| Folder or file |")[2].partition("\n\n")[0], re.MULTILINE)
    named = [name.rstrip("/") for row in rows for name in re.findall(r"`(.*?)`", row)]

    assert len(named) > 15
    assert len(set(named)) == len(named), "each is named once"
    assert [name for name in named if not (project.path / name).exists()] == []


@pytest.mark.parametrize("ci", CHOICES["ci"])
def test_commands_within_a_sentence_of_the_generated_readme_are_run_too(bake: Bake, ci: str) -> None:
    readme = (bake(ci=ci).path / "README.md").read_text(encoding="utf-8")
    within = re.findall(r"`(docker [^`]+)`", readme)
    ran = [command for text in (readme, *map(page_of_docs, PAGES)) for command in commands(text)]

    assert len(within) > 2
    assert [command for command in within if not any(one.startswith(command) for one in ran)] == []


def test_the_page_on_limits_has_those_of_the_service(project: BakedProject) -> None:
    text = " ".join(page_of_docs("limits").split())
    code = "from tests.container.configuration import BUDGET as b; print(b.smallest_limit, b.worker_bytes)"
    smallest, worker = map(int, project.run("python", "-c", code).stdout.split())
    compose = yaml.safe_load((project.path / "compose.yaml").read_text(encoding="utf-8"))

    assert f" {smallest >> 20} MiB, or {smallest + worker >> 20} MiB with metrics" in text
    assert f"`compose.yaml` {compose['services']['web']['stop_grace_period'].replace('s', ' s')}," in text


def test_every_page_is_in_the_index() -> None:
    """Those of docs/ by their name; the folders in it have their own indexes."""
    index = (TEMPLATE / "docs/README.md").read_text(encoding="utf-8")
    pages = {path.name for path in TEMPLATE.glob("docs/*.md")} - {"README.md"}
    folders = {f"{path.parent.name}/README.md" for path in TEMPLATE.glob("docs/*/README.md")}

    assert len(pages) > 10
    assert set(re.findall(r"\]\((.*?)\)", index)) == pages | folders
    assert "](docs/README.md)" in README


def typed(markdown: str) -> list[str]:
    """Return all that a document has its reader type: the lines of sh and bat blocks, and what follows a prompt."""
    lines = "\n".join(blocks(markdown, "bat")).splitlines()
    prompts = re.findall(r"^\$ (.*)$", "\n".join(blocks(markdown, "console")), re.MULTILINE)
    return [*commands(markdown), *lines, *prompts]


@pytest.mark.parametrize("document", RUN_BY)
def test_every_command_of_the_other_documents_is_run_by_something(document: str) -> None:
    found, run_by = typed((TEMPLATE / document).read_text(encoding="utf-8")), RUN_BY[document]

    assert [command for command in found if not command.startswith(tuple(run_by))] == []
    assert [start for start in run_by if not any(command.startswith(start) for command in found)] == []
    assert [name for name in run_by.values() if not (TEMPLATE / name).is_file()] == []


def test_no_document_is_forgotten() -> None:
    """All others have nothing for their readers to type."""
    forgotten = {
        path.relative_to(TEMPLATE).as_posix()
        for path in (
            *TEMPLATE.glob("*.md"),
            *TEMPLATE.glob("docs/**/*.md"),
            *TEMPLATE.glob("workshop/*.md"),
            *TEMPLATE.glob("workshop/chapters/*.md"),
        )
        if typed(path.read_text(encoding="utf-8"))
    } - RUN_BY.keys()
    # The commands of a chapter of the handout are examples, in which the reader names a folder.
    assert forgotten == {"workshop/chapters/why.md"}


def test_without_make_the_commands_are_those_of_make() -> None:
    dry = subprocess.run(
        ["make", "--dry-run", "--always-make", "demo", "test"], cwd=TEMPLATE, capture_output=True, text=True, check=True
    )
    [elsewhere] = [block for block in blocks(README, "sh") if "venv" in block]
    [windows] = blocks(README, "bat")

    assert [line for line in dry.stdout.splitlines() if line in elsewhere.splitlines()] == elsewhere.splitlines()
    assert windows.replace("\\", "/").replace("/Scripts/", "/bin/").replace("py -m", "python3 -m") == elsewhere


def test_ci_runs_the_tests_as_everybody_does() -> None:
    last = (TEMPLATE / ".ci/run").read_text(encoding="utf-8").splitlines()[-2:]

    assert last == commands((TEMPLATE / "CONTRIBUTING.md").read_text(encoding="utf-8"))[:2]


def test_make_help_names_every_target() -> None:
    makefile = (TEMPLATE / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) - {"help", "setup"}

    assert set(re.findall(r'^\t@echo "make ([a-z-]+) ', makefile, re.MULTILINE)) == targets
    assert targets <= set(re.findall(r"^[.]PHONY: (.*)$", makefile, re.MULTILINE)[0].split())


@pytest.mark.skipif(os.name == "nt", reason="there is no pseudo-terminal on Windows")
@pytest.mark.parametrize("document", ["README.md", "docs/questions.md", "CHANGELOG.md"])
def test_the_questions_of_the_readme_are_those_that_are_asked(document: str) -> None:
    """Table, dialogue and refusal: the terminal is a real one, and so is the refusal."""
    from tools.readme import DOCUMENTS  # noqa: PLC0415 - a library it needs does not exist on Windows

    text = (TEMPLATE / document).read_text(encoding="utf-8")
    assert DOCUMENTS[document](text) == text, f"{document} is not what cookiecutter.json makes of it: make readme"


def test_what_the_service_promises_is_tested(project: BakedProject) -> None:
    promises = (project.path / "SECURITY.md").read_text(encoding="utf-8").partition("## What it does not")[0]
    scorecard = (project.path / "tests/container/scorecard.py").read_text(encoding="utf-8")
    proofs = [row.rpartition("| ")[2].strip(" |") for row in re.findall(r"^\| .* \|$", promises, re.MULTILINE)[1:]]

    assert len(proofs) > 8
    for proof in re.split(r", ", ", ".join(proofs)):
        assert re.search(rf"^    {proof}: ", scorecard, re.MULTILINE) or (project.path / proof.strip("`")).exists(), (
            proof
        )


def _make(target: str, clone: Path, **environment: str) -> str:
    done = subprocess.run(
        ["make", target],
        cwd=clone,
        env={**os.environ, "COLUMNS": "300", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _page_and_stop_command(output: str) -> tuple[str, str]:
    last = re.search(r"http://localhost:(\d+)/ says (.*)\nTo stop it: (.*)\n", output)
    assert last, output
    assert last[2] == "<p>Hello, World!</p>"
    return page(int(last[1])), last[3]


def _clean(clone: Path) -> set[str]:
    """Run `make clean`; return the files that are left."""
    _make("clean", clone)
    return {path.relative_to(clone).as_posix() for path in clone.rglob("*")}


@pytest.mark.container
def test_make_demo_runs_the_service_in_a_container_and_make_clean_removes_it(tmp_path: Path, engine: None) -> None:
    if PYTHONS[0] != DEFAULTS["python_version"]:
        pytest.skip("the demo bakes the default Python, whose base image is not here")
    if docker("ps", "--all", "--quiet", "--filter", "name=^hello-service-demo$"):
        pytest.skip("a demo is running; it would be replaced")
    clone = snapshot(tmp_path)
    before = {path.relative_to(clone).as_posix() for path in clone.rglob("*")}
    try:
        output = _make("demo", clone)
        served, command = _page_and_stop_command(output)

        assert served == "<p>Hello, World!</p>"
        assert "\n$ docker build --tag hello-service-demo " in output
        assert command == "docker rm --force hello-service-demo"
        assert not (clone / ".venv/bin/pytest").exists(), "it installs more than it needs"
    finally:
        left = _clean(clone)
    assert left == before
    assert not docker("ps", "--all", "--quiet", "--filter", "name=^hello-service-demo$")
    assert not docker("images", "--quiet", "hello-service-demo")


@pytest.mark.slow
def test_make_demo_without_docker_serves_from_a_virtual_environment_and_make_clean_ends_that(tmp_path: Path) -> None:
    clone = snapshot(tmp_path)
    before = {path.relative_to(clone).as_posix() for path in clone.rglob("*")}
    try:
        output = _make("demo", clone, DOCKER_HOST="unix:///no/such/socket")
        served, command = _page_and_stop_command(output)

        assert served == "<p>Hello, World!</p>"
        assert re.search(r"^No Docker \(.+\): serving from a virtual environment instead\.$", output, re.MULTILINE), (
            output
        )
        assert (clone / "demo/gunicorn.pid").read_text().strip() == command.removeprefix("kill ")
    finally:
        left = _clean(clone)
    assert left == before


def test_the_demo_has_the_versions_of_the_tooling() -> None:
    demo, tooling = (
        set(re.findall(r"^[\w.-]+==[^ ]+", (TEMPLATE / f"requirements{name}.txt").read_text(), re.MULTILINE))
        for name in ("-demo", "")
    )

    assert len(demo) > 10
    assert demo < tooling


def test_without_docker_container_tests_skip_with_one_clear_line_and_fail_in_ci(project: BakedProject) -> None:
    command = ("pytest", "tests/container", "-p", "no:cacheprovider")
    environment = {"DOCKER_HOST": "unix:///no/such/socket"}

    skipped = project.run(*command, CI="", **environment).stdout
    assert skipped.count("container tests need a Docker Engine: ") == 1, skipped
    assert re.search(r"^SKIPPED: container tests need a Docker Engine: .+$", skipped, re.MULTILINE), skipped

    with pytest.raises(AssertionError, match=r"exit code 1\n(.*\n)+.*container tests need a Docker Engine: "):
        project.run(*command, CI="true", **environment)


def test_the_suite_of_the_template_does_the_same() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_image.py", "-k", "hash"]
    environment = {**os.environ, "DOCKER_HOST": "unix:///no/such/socket"}

    skipped = subprocess.run(
        command, cwd=TEMPLATE, env={**environment, "CI": ""}, capture_output=True, text=True, check=False
    )
    assert skipped.returncode == 0, skipped.stdout
    assert skipped.stdout.count("SKIPPED: container tests need a Docker Engine: ") == 1
    assert "\nLEFT OUT: the slow tests; pytest -n 2 --slow runs them too\n" in skipped.stdout

    failed = subprocess.run(
        command, cwd=TEMPLATE, env={**environment, "CI": "true"}, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert "LEFT OUT" not in failed.stdout
    assert "container tests need a Docker Engine: " in failed.stdout


def test_what_one_gets_is_tested() -> None:
    text = (TEMPLATE / "docs/what-you-get.md").read_text(encoding="utf-8")
    scorecard = (TEMPLATE / "{{cookiecutter.project_slug}}/tests/container/scorecard.py").read_text(encoding="utf-8")
    rows = [row.rpartition("| ")[2].strip(" |") for row in re.findall(r"^\| .* \|$", text, re.MULTILINE)[1:]]

    assert len(rows) > 10
    for proof in ", ".join(rows).split(", "):
        there = (
            re.search(rf"^    {proof}: ", scorecard, re.MULTILINE) or (TEMPLATE / "tests" / proof.strip("`")).exists()
        )
        assert there, f"nothing is called {proof}"
