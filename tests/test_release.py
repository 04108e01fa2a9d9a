"""A release of the template: what the script writes, what it refuses, and a service made from it by its tag."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import TEMPLATE, TOOLS, BakedProject, Forge
from tests.readme import blocks, section
from tools.questions import REPOSITORY, shorthand
from tools.release import links, versions

README = (TEMPLATE / "README.md").read_text(encoding="utf-8")
CHANGE = "\n### Fixed\n\n- Something.\n"


def _git(forge: Forge, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=forge.work_tree, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    return done.stdout.strip()


def _release(forge: Forge, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.release", *arguments]
    variables = {**os.environ, **environment}
    return subprocess.run(
        command, cwd=forge.work_tree, capture_output=True, text=True, check=False, encoding="utf-8", env=variables
    )


def _state(forge: Forge) -> tuple[str, ...]:
    return tuple(_git(forge, *command) for command in (["rev-parse", "HEAD"], ["tag"], ["status", "--porcelain"]))


@pytest.fixture
def main(forge: Forge) -> Forge:
    """Return a forge whose work tree has something to release after v0.1.0."""
    changelog = forge.work_tree / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    changelog.write_text(text.replace("## [Unreleased]\n", f"## [Unreleased]\n{CHANGE}", 1), encoding="utf-8")
    _git(forge, "commit", "--all", "--message", "Fix something")
    return forge


def _versions(forge: Forge) -> set[str]:
    project = tomllib.loads((forge.work_tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    questions = json.loads((forge.work_tree / "cookiecutter.json").read_text(encoding="utf-8"))
    newest = versions((forge.work_tree / "CHANGELOG.md").read_text(encoding="utf-8"))[0]
    return {project["version"], questions["_template_version"], newest}


def test_a_release_is_committed_tagged_and_not_pushed(main: Forge) -> None:
    published = _git(main, "ls-remote", "origin")
    before = (main.work_tree / "CHANGELOG.md").read_text(encoding="utf-8")

    done = _release(main, "0.2.0")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "  git push --follow-tags origin main"
    assert _versions(main) == {"0.2.0"}
    assert _git(main, "log", "-1", "--format=%s") == "Release 0.2.0"
    assert _git(main, "cat-file", "-t", "v0.2.0") == "tag", "annotated, or --follow-tags would leave it behind"
    assert _git(main, "rev-parse", "v0.2.0^{commit}") == _git(main, "rev-parse", "HEAD")
    assert _git(main, "status", "--porcelain") == ""
    changed = _git(main, "diff", "--name-only", "HEAD~1").splitlines()
    assert changed == ["CHANGELOG.md", "cookiecutter.json", "pyproject.toml"]
    after = (main.work_tree / "CHANGELOG.md").read_text(encoding="utf-8")
    start, end = (re.escape(text) for text in ("## [Unreleased]\n\n## [0.2.0] - ", f"\n{CHANGE}"))
    assert re.search(rf"^{start}\d{{4}}-\d\d-\d\d{end}", after, re.MULTILINE)
    assert re.sub(r"^## \[0\.2\.0\].*\n\n|^\[.*\n", "", after, flags=re.MULTILINE) == re.sub(
        r"^\[.*\n", "", before, flags=re.MULTILINE
    ), "no other line of it is touched"
    assert _git(main, "ls-remote", "origin") == published


def test_the_command_it_prints_publishes_the_release_and_services_are_made_from_it(main: Forge, tmp_path: Path) -> None:
    command = _release(main, "0.2.0").stdout.splitlines()[-1].split()
    _git(main, *command[1:])
    with (main.work_tree / "{{cookiecutter.project_slug}}/app/views.py").open("a", encoding="utf-8") as later:
        later.write("# After the release.\n")
    _git(main, "commit", "--all", "--message", "Later")
    _git(main, "push", "origin", "main")
    here = BakedProject(tmp_path, TOOLS.parent)

    [bake] = [block for block in blocks(section(README, "More"), "sh") if "--checkout" in block]
    assert bake == f"cookiecutter {shorthand()} --checkout v0.1.0\n"
    here.run("bash", "-c", f"{bake.strip().replace('v0.1.0', 'v0.2.0')} --no-input")

    service = tmp_path / "hello-service"
    recorded = json.loads((service / ".cookiecutter.json").read_text(encoding="utf-8"))
    assert recorded["_template_version"] == "0.2.0"
    assert f"cruft link {REPOSITORY} --checkout v0.2.0 " in (service / "README.md").read_text()
    assert "After the release" not in (service / "app/views.py").read_text()


def test_the_first_release_needs_no_tag_before_it(main: Forge) -> None:
    _git(main, "tag", "--delete", "v0.1.0")

    done = _release(main, "0.1.0")

    assert done.returncode == 0, done.stderr
    assert _versions(main) == {"0.1.0"}
    assert (main.work_tree / "CHANGELOG.md").read_text().endswith(f"\n\n{links(['0.1.0'])}")


@pytest.mark.parametrize(
    ("version", "prepare", "message"),
    [
        ("0.2", "", "'0.2' is no version: use three numbers, for example 0.2.0"),
        ("v0.2.0", "", "'v0.2.0' is no version: use three numbers, for example 0.2.0"),
        ("0.02.0", "", "'0.02.0' is no version: use three numbers, for example 0.2.0"),
        ("0.1.0", "", "0.1.0 is not greater than 0.1.0, the last release"),
        ("0.2.0", "git tag v0.10.0", "0.2.0 is not greater than 0.10.0, the last release"),
        ("0.2.0", "git switch -q -c other", "releases are made on main, this is other: git switch main"),
        ("0.2.0", "git switch -q --detach", "releases are made on main, this is no branch: git switch main"),
        ("0.2.0", "echo >> README.md", "the work tree is not clean: commit or remove README.md first"),
        (
            "0.2.0",
            "git tag --delete v0.1.0",
            "the first release is 0.1.0, as README.md and cookiecutter.json say, not 0.2.0",
        ),
        (
            "0.1.0",
            "git tag --delete v0.1.0 && sed -i s/v0.1.0/v0.0.9/ README.md && git commit -qam x",
            "the first release is 0.0.9, as README.md and cookiecutter.json say, not 0.1.0",
        ),
        ("0.2.0", "touch new", "the work tree is not clean: commit or remove new first"),
        (
            "0.2.0",
            "sed -i '/^- /d' CHANGELOG.md && git commit -qam x",
            "CHANGELOG.md has nothing under [Unreleased]: write there what changed, for who uses it",
        ),
        (
            "0.2.0",
            "sed -i s/^version/number/ pyproject.toml && git commit -qam x",
            "pyproject.toml has 0 places for the version, not one",
        ),
        (
            "0.2.0",
            "printf '#!/bin/sh\\necho refused by a hook >&2; exit 1' > .git/hooks/pre-commit && chmod +x .git/hooks/*",
            "git commit failed: refused by a hook",
        ),
        ("0.2.0", "git config tag.gpgSign true && git config gpg.program false", "git tag failed: "),
    ],
)
def test_what_cannot_be_released_is_refused_and_nothing_is_changed(
    main: Forge, version: str, prepare: str, message: str
) -> None:
    subprocess.run(["bash", "-ec", prepare], cwd=main.work_tree, check=True)
    before = _state(main)

    done = _release(main, version)

    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"release: {message}")
    assert _state(main) == before


def test_the_changelog_is_in_the_form_it_names() -> None:
    """Keep a Changelog 1.1.0: the newest first, with dates, six kinds of change, and a link for each release."""
    text = (TEMPLATE / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)

    assert headings[0] == "[Unreleased]"
    for heading in headings[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading), heading
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= {
        *("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
    }
    assert text.endswith(f"\n\n{links(versions(text))}")
    assert not re.search(r"^\[", text.removesuffix(links(versions(text))), re.MULTILINE), "links stand at the end"


def test_make_passes_the_version_on_and_asks_for_it() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "-n", "release", "VERSION=0.2.0"],
        cwd=TEMPLATE,
        capture_output=True,
        check=True,
    )
    assert shown.stdout.endswith(b'.venv/bin/python -m tools.release "0.2.0"\n')

    done = subprocess.run(["make", "release"], cwd=TEMPLATE, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "name the version: make release VERSION=0.2.0" in done.stderr
