"""The contract asks for what pyproject.toml says of a service, or options say of an image."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PYTHONS, Bake, BakedProject
from tests.readme import blocks, page_of_docs

TABLE = """
[tool.container-contract]
page = { path = "login", status = "200", text = 5, method = "GET" }
environment = { WORKERS = 2 }
services = "database"
volumes = ["data"]
colour = "red"

[tool.container-contract.budget]
added = 0
layers = true

[tool.container-contract.off]
23 = "there is no such row"
test_that_never_was = "nor such a test"
10 = ""
"""
WRONG = [
    "page.path = 'login' is not valid: it must be a path, such as \"/login\"",
    "page.status = '200' is not valid: it must be a status of HTTP, such as 302",
    'page.text = 5 is not valid: it must be text that stands in the page, such as "Log in"',
    "page.method is unknown: there are path, status, text",
    "environment = {'WORKERS': 2} is not valid: it must be a table of text, such as { LOG_LEVEL = \"debug\" }",
    "services = 'database' is not valid: it must be a list of services of compose.yaml, such as [\"database\"]",
    "volumes = ['data'] is not valid: it must be a list of folders, such as [\"/data\"]",
    "colour is unknown: there are page, environment, services, volumes, budget, off",
    "budget.added = 0 is not valid: it must be a whole number above 0, such as 40",
    "budget.layers = True is not valid: it must be a whole number above 0, such as 40",
]


def say(project: BakedProject, table: str) -> None:
    """Replace what pyproject.toml says of a service."""
    file = project.path / "pyproject.toml"
    said = re.compile(r"\[tool\.container-contract\].*?(?=\n\[tool\.ruff\])", re.DOTALL)
    file.write_text(said.sub(lambda _: table, file.read_text(), count=1))


def test_all_that_is_wrong_is_said_at_once(bake: Bake) -> None:
    project = bake()
    say(project, TABLE)

    with pytest.raises(AssertionError, match="exit code 4\n") as refused:
        project.run("pytest", "tests/container")

    lines = str(refused.value).splitlines()
    told = [line.split("[tool.container-contract]: ")[1] for line in lines if "[tool.container-contract]: " in line]
    assert told[: len(WRONG)] == WRONG
    assert told[len(WRONG)].startswith("off = {'23': 'there is no such row'")


def test_the_page_on_the_contract_says_what_it_takes(bake: Bake) -> None:
    page = page_of_docs("contract")
    [table] = blocks(page, "toml")
    project = bake()
    say(project, table)

    project.run("pytest", "tests/container", "--collect-only", "--quiet")
    options = re.findall(r"^\| `(-[\w-]+)", page, re.MULTILINE)
    known = project.run("pytest", "tests/container", "--help").stdout
    assert len(options) > 4
    assert [option for option in options if not re.search(rf"^ +{option}\b", known, re.MULTILINE)] == []


@pytest.mark.parametrize("name", ["23", "test_that_never_was", "page"])
def test_what_can_be_switched_off_is_a_row_or_a_test(bake: Bake, name: str) -> None:
    project = bake()
    say(project, f'[tool.container-contract.off]\n{name} = "because"\n')

    with pytest.raises(AssertionError, match=rf"off\.{name} is unknown: name a row, 1 to 22, or a test, such as test_"):
        project.run("pytest", "tests/container")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--budget=added", "--budget added is not valid: write NAME=VALUE"),
        ("--budget=weight=5", "--budget weight=5 is not valid: write --budget added=40, or another of added, on_disk"),
        ("--env=A B=C", "--env A B=C is not valid: write NAME=VALUE"),
        ("--off=99=x", "--off 99 is unknown: name a row, 1 to 22, or a test"),
    ],
)
def test_options_are_checked_as_well(bake: Bake, option: str, message: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):
        bake().run("pytest", "tests/container", "--image", "any", option)


def run(
    project: BakedProject, tmp_path: Path, *asked: str
) -> tuple[subprocess.CompletedProcess[str], dict[int, dict[str, str]]]:
    """Ask the contract, whatever comes of it; return what pytest did and the rows of the scorecard."""
    card = tmp_path / "card.json"
    command = [str(project.environment / "bin/pytest"), *asked, f"--scorecard-file={card}", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=project.path, capture_output=True, text=True, timeout=600, check=False)
    return done, {row["number"]: row for row in json.loads(card.read_text())["rows"]}


LOGIN = """

@blueprint.get("/login")
def login() -> str:
    return "Log in"
"""
ASKED = [f"tests/container/test_{name}.py" for name in ("image", "service::test_the_page_is_served")]
PAGES = [
    "tests/container/test_service.py::test_the_page_is_served",
    "tests/container/test_service.py::test_it_runs_as_any_user",
    "tests/container/test_service.py::test_a_request_can_be_followed_by_its_id",
    "tests/container/test_service.py::test_a_stop_lets_requests_in_flight_finish",
    "tests/container/test_metrics.py::test_the_requests_of_all_workers_are_added_up",
    "tests/container/test_compose.py::test_the_page_is_served",
]


@pytest.fixture
def behind_a_login(bake: Bake, engine: None) -> BakedProject:
    """Return a service whose first page sends everybody to another one."""
    project = bake(python_version=PYTHONS[0])
    views = project.path / "app/views.py"
    code = views.read_text().replace("from flask import Blueprint", "from flask import Blueprint, redirect")
    code = code.replace('-> str:\n    """Greet', '-> object:\n    """Greet').replace(
        '"<p>Hello, World!</p>"', 'redirect("/login")'
    )
    views.write_text(code + LOGIN)
    return project


@pytest.mark.container
def test_a_page_that_is_not_as_said_fails_once(behind_a_login: BakedProject, tmp_path: Path) -> None:
    done, rows = run(behind_a_login, tmp_path, *PAGES)

    assert "1 error" in done.stdout or "1 failed" in done.stdout, done.stdout
    assert "5 skipped" in done.stdout, done.stdout
    assert rows[12]["status"] == "failed"
    assert rows[12]["reason"].startswith("/ has status 302, not 200 (if another page proves that the service serves")
    assert {rows[number]["status"] for number in (13, 14, 16)} == {"not run"}


@pytest.mark.container
@pytest.mark.parametrize(
    "page", ['{ path = "/login", text = "Log in" }', "{ status = 302 }"], ids=["another page", "another status"]
)
def test_another_page_is_asked_for(behind_a_login: BakedProject, tmp_path: Path, page: str) -> None:
    say(behind_a_login, f"[tool.container-contract]\npage = {page}\n")

    done, rows = run(behind_a_login, tmp_path, *PAGES)

    assert done.returncode == 0, done.stdout
    assert {rows[number]["status"] for number in (12, 13, 14, 16)} == {"passed"}


@pytest.mark.container
def test_what_is_switched_off_says_why(bake: Bake, engine: None, tmp_path: Path) -> None:
    project = bake(python_version=PYTHONS[0])
    off = '2 = "started by a script"\ntest_label_is_there = "labels are set by the pipeline"\n'
    say(project, f"[tool.container-contract.off]\n{off}")

    done, rows = run(project, tmp_path, "tests/container/test_image.py", "-k", "label or command or signal or setuid")

    assert done.returncode == 0, done.stdout
    assert (rows[2]["status"], rows[2]["reason"]) == ("switched off", "started by a script")
    assert (rows[4]["status"], rows[4]["reason"]) == ("passed", "in part switched off: labels are set by the pipeline")


REQUIRED = """
    greeting: str = text()
"""


@pytest.mark.container
def test_budgets_and_environment_are_taken_from_there(
    bake: Bake, engine: None, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    project = bake(python_version=PYTHONS[0])
    settings = project.path / "app/settings.py"
    settings.write_text(settings.read_text().replace("    port: int", f"{REQUIRED}    port: int", 1))
    asked = ["tests/container/test_image.py", "tests/container/test_service.py", "-k", "page or budget or base"]

    _, rows = run(project, tmp_path, *asked)
    assert rows[12]["reason"].startswith("the service does not answer; its log ends with: GREETING is missing")

    say(project, '[tool.container-contract]\nenvironment = { GREETING = "Hello" }\nbudget = { added = 3 }\n')
    _, rows = run(project, tmp_path, *asked)
    assert rows[12]["status"] == "passed"
    assert rows[10]["reason"].endswith("the budget is 132 MB on disk")
