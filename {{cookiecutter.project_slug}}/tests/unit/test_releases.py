"""What CI and Renovate are told: nothing fails unseen, and nothing is named that has not passed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
WORKFLOW, PIPELINE = PROJECT / ".github/workflows/ci.yaml", PROJECT / ".gitlab-ci.yml"
FILES = [path for path in (WORKFLOW, PIPELINE) if path.exists()]
MAKEFILE = PROJECT / "Makefile"
RENOVATE, DEPENDABOT = PROJECT / "renovate.json5", PROJECT / ".github/dependabot.yml"

# What judges, and what publishes.
JUDGES = re.compile(
    r"\b(make|coverage|pytest|ruff|mypy|trivy|cosign)\b|\$TRIVY|docker (buildx )?(build|pull|save|push)\b|imagetools"
)
CONTRACT = re.compile(r'\bpytest tests/container --image "\$\w+@\$DIGEST"')
SIGNATURE = re.compile(r'\bcosign sign --yes "\$\w+@\$DIGEST"')
VERIFIED = re.compile(r'\bcosign verify .*"\$\w+@\$DIGEST"')
PUSH = re.compile(r"\bpush=true|--push\b|\bdocker push\b")
NAME = re.compile(r"\bimagetools create\b")
VERDICT = re.compile(r"trivy\.json|\b(trivy|\$TRIVY\W*) image\b")


class CI:
    """A workflow of GitHub or a pipeline of GitLab, as jobs and their commands."""

    def __init__(self, path: Path) -> None:
        """Read the file."""
        self.whole: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.jobs: dict[str, dict[str, Any]] = self.whole.get("jobs") or {
            name: {**self.whole.get(job.get("extends"), {}), **job}
            for name, job in self.whole.items()
            if isinstance(job, dict) and "script" in job
        }

    def steps(self, job: str) -> list[dict[str, Any]]:
        """Return the steps of a job; one of a pipeline counts as one step."""
        told = self.jobs[job]
        if "steps" in told:
            return list(told["steps"])
        return [{**told, "run": "\n".join(_flat([told.get("before_script", []), told["script"]]))}]

    def commands(self, job: str) -> list[str]:
        """Return the commands of a job in their order, each on one line, and those of a target after its `make`."""
        scripts = [step["run"].replace("\\\n", " ") for step in self.steps(job) if "run" in step]
        lines = [" ".join(line.split()) for script in scripts for line in script.splitlines() if line.strip()]
        return [command for line in lines for command in (line, *_made(line))]

    def needed(self, job: str) -> list[str]:
        """Return the jobs that have passed before one begins."""
        needs = self.jobs[job].get("needs")
        if needs is None and "stage" in self.jobs[job]:
            stages = self.whole["stages"]
            earlier = stages[: stages.index(self.jobs[job]["stage"])]
            needs = [name for name in self.jobs if self.jobs[name].get("stage") in earlier]
        needs = [needs] if isinstance(needs, str) else needs or []
        return list(dict.fromkeys(name for need in needs for name in (*self.needed(need), need)))

    def before(self, wanted: re.Pattern[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield each command that does something, with all that have passed before it."""
        for job in self.jobs:
            earlier = [command for need in self.needed(job) for command in self.commands(need)]
            for command in self.commands(job):
                if wanted.search(command):
                    yield command, earlier
                earlier = [*earlier, command]


def _flat(items: Any) -> Iterator[str]:
    for item in items if isinstance(items, list) else [items]:
        yield from _flat(item) if isinstance(item, list) else [item]


def _made(command: str) -> Iterator[str]:
    """Yield what `make check` runs: the commands of what that target needs, then its own."""
    target = re.fullmatch(r"make ([\w-]+)", command)
    text = MAKEFILE.read_text(encoding="utf-8") if target and MAKEFILE.exists() else ""
    rule = target and re.search(rf"^{target[1]}:([^#\n]*).*\n((?:\t.*\n)*)", text, re.MULTILINE)
    if rule:
        for need in rule[1].split():
            yield from _made(f"make {need}")
        # $(if $(wildcard FILE),COMMAND) runs the command where the file is there.
        yield from re.sub(r"\$\(if \$\(wildcard [^)]*\),(.*)\)", r"\1", rule[2]).replace("\t", "").splitlines()


def _all(told: Any, key: str) -> Iterator[Any]:
    """Yield every value of a key, however deep it stands."""
    if isinstance(told, dict):
        yield from (told[key],) if key in told else ()
    for value in told.values() if isinstance(told, dict) else told if isinstance(told, list) else ():
        yield from _all(value, key)


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def ci(request: pytest.FixtureRequest) -> CI:
    """Return the workflow or the pipeline; there is none where only the image is."""
    return CI(request.param)


@pytest.fixture
def release(ci: CI) -> CI:
    """Return what releases an image."""
    if not list(ci.before(PUSH)) and not any(step.get("push") for step in _all(ci.jobs, "with")):
        pytest.skip("not applicable: nothing is pushed")
    return ci


def test_nothing_is_allowed_to_fail(ci: CI) -> None:
    for key in ("continue-on-error", "allow_failure"):
        assert not any(_all(ci.jobs, key)), f"{key}: a step that may fail judges nothing; remove it"
    assert not list(_all(ci.whole, "shell")), "shell: another shell may go on after a command that has failed"


def test_no_command_hides_that_it_has_failed(ci: CI) -> None:
    for job in ci.jobs:
        for command in ci.commands(job):
            hidden = JUDGES.search(command) and re.search(r"^-|[|;&]", re.sub(r"'[^']*'|\$\([^)]*\)", "", command))
            assert not hidden, f"{job}: {command!r} can fail unseen; let it stand alone on its line"
            assert not re.search(r"\bset \+", command), f"{job}: {command!r} lets all that follows fail unseen"


def test_what_judges_is_never_left_out(ci: CI) -> None:
    for job, told in ci.jobs.items():
        assert not re.search(r"always|failure|cancelled|false", str(told.get("if", ""))), f"{job}: if: {told['if']}"
        for when in [told.get("when"), *_all(told.get("rules", []), "when")]:
            assert when in {None, "on_success"}, f"{job}: when: {when}; it must run once all before it has passed"
        for step in told.get("steps", []):
            if JUDGES.search(step.get("run", "")):
                assert "if" not in step, f"{job}: {step['run']!r} runs only if {step['if']}; remove the condition"


def test_every_check_runs_before_anything_is_pushed(release: CI) -> None:
    folders = [name for name in ("unit", "container", "kubernetes") if (PROJECT / "tests" / name).exists()]
    for command, earlier in release.before(PUSH):
        whole = [one.replace("/coverage run -m pytest ", "/pytest ") for one in earlier]
        for check in ("ruff check", "ruff format --check", "mypy", *(f"pytest tests/{name}" for name in folders)):
            assert f".venv/bin/{check}" in whole, f"{check}, as it is, does not run before {command!r}"
        verdicts = [one for one in earlier if VERDICT.search(one) and "--exit-code 1" in one]
        assert verdicts, f"nothing ends the release where the scan has found something (--exit-code 1): {command!r}"


def test_the_scan_looks_for_high_and_critical(release: CI) -> None:
    scans = [command for job in release.jobs for command in release.commands(job) if VERDICT.search(command)]
    severities = [found for command in scans for found in re.findall(r"--severity[ =](\S+)", command)]

    assert severities, "the scan does not say which severities count: --severity HIGH,CRITICAL"
    for severity in severities:
        assert {"HIGH", "CRITICAL"} <= set(severity.split(",")), f"--severity {severity}: HIGH and CRITICAL must count"
    assert any("--input image.tar" in command for command in scans), "what was built is not what is scanned: image.tar"


def test_an_image_is_pushed_by_digest_with_sbom_and_provenance(release: CI) -> None:
    for command, _ in release.before(PUSH):
        assert "push-by-digest=true" in command, f"pushed under a name before the contract: {command!r}"
        assert not re.search(r"\s(--tag|-t)\b", command), f"pushed under a name before the contract: {command!r}"
        for attested in ("type=sbom", "type=provenance,mode=max"):
            assert f"--attest {attested}" in command, f"released without --attest {attested}: {command!r}"
    for step in _all(release.jobs, "with"):
        assert not step.get("push"), "an action pushes under a name before the contract: push by digest, as a command"


def test_what_was_pushed_passes_the_contract_then_is_signed_then_is_named(release: CI) -> None:
    order = [("pushed", PUSH), ("judged by the contract", CONTRACT), ("signed", SIGNATURE), ("verified", VERIFIED)]
    for number, (_, step) in enumerate([*order, ("named", NAME)]):
        found = list(release.before(step))
        assert found, f"the release lacks {step.pattern}"
        for command, earlier in found:
            for what, must in order[:number]:
                assert any(map(must.search, earlier)), f"{command!r}, before the digest is {what}"
    for command, _ in release.before(NAME):
        assert re.search(r'"\$\w+@\$DIGEST"$', command), f"{command!r} names something else than the digest"


def test_the_digest_is_that_of_the_push(release: CI) -> None:
    for digest in _all(release.jobs, "DIGEST"):
        assert digest.strip("${} ") == "needs.push.outputs.digest", f"DIGEST is {digest}, not what was pushed"
    for job in release.jobs:
        commands = "\n".join(release.commands(job))
        told = re.search(r'--metadata-file (\S+).*\bopen\("\1"\).*"containerimage\.digest"', commands, re.DOTALL)
        assert told or not PUSH.search(commands), f"{job}: the digest is not read from what the push says of itself"


def test_ci_runs_the_python_of_the_image(ci: CI) -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    base = re.search(r"^FROM (\S*\bpython:(\d+\.\d+)\S*)", dockerfile, re.MULTILINE)
    if not base:
        pytest.skip("not applicable: the base image does not say which Python it has")
    for name, expected in (("PYTHON_VERSION", base[2]), ("PYTHON_IMAGE", base[1])):
        for found in [*_all(ci.whole.get("env"), name), *_all(ci.whole.get("variables"), name)]:
            assert found == expected, f"{name} is {found}, the image is FROM {base[1]}"


# Docker builds these again too often for a tag to get old.
BUILT_AGAIN = {"python", "haproxy", "docker"}


def _days(age: object) -> int:
    found = re.fullmatch(r"(\d+) days?", str(age))
    return int(found[1]) if found else 0


@pytest.mark.skipif(not RENOVATE.exists(), reason="only what the image needs is here")
def test_every_update_has_been_public_for_a_week() -> None:
    # JSON5 without its comments is YAML.
    told = yaml.safe_load(re.sub(r"^\s*//.*$", "", RENOVATE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert _days(told["minimumReleaseAge"]) >= 7, f"minimumReleaseAge is {told['minimumReleaseAge']}: at least 7 days"

    for part in [value for value in told.values() if isinstance(value, dict)] + told["packageRules"]:
        if "minimumReleaseAge" in part and _days(part["minimumReleaseAge"]) < 7:
            names = part.get("matchPackageNames")
            assert set(names or "all") <= BUILT_AGAIN, f"updates of {names or 'all'} do not wait: at least 7 days"


@pytest.mark.skipif(not DEPENDABOT.exists(), reason="Dependabot is not told anything")
def test_every_update_of_dependabot_has_been_public_for_a_week() -> None:
    for update in yaml.safe_load(DEPENDABOT.read_text(encoding="utf-8"))["updates"]:
        days = update.get("cooldown", {}).get("default-days", 0)
        assert days >= 7, f"{update['package-ecosystem']}: cooldown is {days} days: at least 7"
