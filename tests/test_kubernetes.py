"""The manifests of a service: valid, restricted, in agreement with the image, and each check of that able to fail."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from cookiecutter.main import cookiecutter

from tests.conftest import PYTHONS, TEMPLATE, TOOLS, Bake, BakedProject, docker, free_port, skip_or_fail, wait_for_page
from tests.readme import commands, section
from tests.test_workflows import DIGEST, WORKFLOW

KUBECTL = str(TOOLS / "kubectl")
OVERLAYS = ("dev", "prod")
# The oldest Kubernetes in which the sleep of preStop is stable, and the newest there is a schema of.
VERSIONS = ("1.34", "1.37")

Manifest = dict[str, Any]


@pytest.fixture
def service(bake: Bake) -> BakedProject:
    """Return a service for Kubernetes."""
    return bake(deploy="kubernetes")


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory, service_environment: Path) -> BakedProject:
    """Return a service for Kubernetes. Leave it as it is."""
    output = str(tmp_path_factory.mktemp("kubernetes"))
    path = cookiecutter(str(TEMPLATE), no_input=True, extra_context={"deploy": "kubernetes"}, output_dir=output)
    return BakedProject(Path(path), service_environment)


def _render(service: BakedProject, overlay: str) -> str:
    command = [KUBECTL, "kustomize", f"kubernetes/overlays/{overlay}"]
    done = subprocess.run(command, cwd=service.path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def _objects(service: BakedProject, overlay: str = "prod") -> list[Manifest]:
    return list(yaml.safe_load_all(_render(service, overlay)))


@pytest.fixture(params=OVERLAYS)
def rendered(request: pytest.FixtureRequest, untouched: BakedProject, tmp_path: Path) -> Path:
    """Return a file with what each overlay renders."""
    file = tmp_path / "rendered" / f"{request.param}.yaml"
    file.parent.mkdir()
    file.write_text(_render(untouched, request.param), encoding="utf-8")
    return file


@pytest.fixture
def objects(untouched: BakedProject) -> list[Manifest]:
    """Return what the overlay for production renders, for a test to break."""
    return _objects(untouched)


def _module(service: BakedProject, name: str) -> Any:
    """Import a module of the service's own tests."""
    spec = importlib.util.spec_from_file_location(f"service_{name}", service.path / f"tests/kubernetes/{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def restricted(untouched: BakedProject) -> Any:
    """Return the service's code of the restricted profile."""
    return _module(untouched, "restricted")


@pytest.fixture(scope="session")
def references(untouched: BakedProject) -> Any:
    """Return the service's code of what no schema shows."""
    return _module(untouched, "references")


def _one(objects: list[Manifest], kind: str) -> Manifest:
    [found] = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] != "deny-all"]
    return found


def _pod(objects: list[Manifest]) -> Manifest:
    template: Manifest = _one(objects, "Deployment")["spec"]["template"]
    return template


def _container(objects: list[Manifest]) -> Manifest:
    [container] = _pod(objects)["spec"]["containers"]
    return container  # type: ignore[no-any-return]


# ---- validity ----


def _validate(file: Path, version: str) -> subprocess.CompletedProcess[str]:
    command = [str(TOOLS / "kubernetes-validate"), "--strict", "--kubernetes-version", version, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_accept_every_object(rendered: Path, version: str) -> None:
    done = _validate(rendered, version)

    assert done.returncode == 0, done.stdout + done.stderr
    kinds = [each["kind"].lower() for each in yaml.safe_load_all(rendered.read_text(encoding="utf-8"))]
    assert re.findall(r"passed for resource (\w+)/", done.stdout + done.stderr) == kinds
    assert len(kinds) == 9


def test_the_schemas_refuse_a_misspelt_field(rendered: Path) -> None:
    rendered.write_text(rendered.read_text(encoding="utf-8").replace("failureThreshold", "failureTreshold"))

    assert _validate(rendered, VERSIONS[0]).returncode != 0


def test_the_newest_version_is_that_of_kubectl() -> None:
    done = subprocess.run([KUBECTL, "version", "--client", "-o", "json"], capture_output=True, check=True)

    assert f"v{VERSIONS[-1]}." in json.loads(done.stdout)["clientVersion"]["gitVersion"]


def test_the_readmes_name_the_versions(untouched: BakedProject) -> None:
    assert f"schemas of Kubernetes {' and '.join(VERSIONS)}, " in (TEMPLATE / "README.md").read_text(encoding="utf-8")
    own = (untouched.path / "README.md").read_text(encoding="utf-8")
    assert f"For Kubernetes {VERSIONS[0]} and newer." in own


@pytest.mark.parametrize("slug", ["x" * 58 + "-abcd", "true", "null"])
def test_any_slug_gives_names_that_kubernetes_takes(bake: Bake, slug: str) -> None:
    service = bake(deploy="kubernetes", project_slug=slug)

    namespaces = set()
    for overlay in OVERLAYS:
        objects = _objects(service, overlay)
        namespace = _one(objects, "Namespace")["metadata"]["name"]
        assert re.fullmatch(r"[a-z][a-z0-9-]{0,61}[a-z0-9]", namespace)
        assert {each["metadata"]["labels"]["app.kubernetes.io/part-of"] for each in objects} == {slug}
        namespaces.add(namespace)
    assert len(namespaces) == len(OVERLAYS)
    assert slug in namespaces


@pytest.mark.parametrize("ci", ["github", "gitlab", "none"])
def test_production_runs_what_the_forge_releases(bake: Bake, ci: str) -> None:
    service = bake(deploy="kubernetes", ci=ci, owner="acme/web", project_slug="shop")
    name = _container(_objects(service))["image"].partition("@")[0]

    if ci == "github":
        assert name == yaml.safe_load((service.path / WORKFLOW).read_text(encoding="utf-8"))["env"]["IMAGE"]
    else:
        # GitLab's own variable CI_REGISTRY_IMAGE holds the same on gitlab.com; docker push goes to docker.io.
        assert name == {"gitlab": "registry.gitlab.com", "none": "docker.io"}[ci] + "/acme/web/shop"


# ---- the restricted profile as code: each rule refuses a pod ----

CONTEXT = ("spec", "containers", 0, "securityContext")
# The rule, where the field is set, to what, and what is said about it.
BREACHES: list[tuple[str, tuple[str | int, ...], object, str]] = [
    (
        "HostProcess",
        (*CONTEXT, "windowsOptions"),
        {"hostProcess": True},
        "containers[web] windowsOptions.hostProcess is true",
    ),
    ("Host Namespaces", ("spec", "hostNetwork"), True, "spec hostNetwork is true"),
    ("Host Namespaces", ("spec", "hostPID"), True, "spec hostPID is true"),
    ("Host Namespaces", ("spec", "hostIPC"), True, "spec hostIPC is true"),
    ("Privileged Containers", (*CONTEXT, "privileged"), True, "containers[web] privileged is true"),
    ("Capabilities", (*CONTEXT, "capabilities"), {}, "containers[web] does not drop ALL"),
    ("Capabilities", (*CONTEXT, "capabilities", "add"), ["NET_ADMIN"], "containers[web] adds NET_ADMIN"),
    ("HostPath Volumes", ("spec", "volumes"), [{"name": "v", "hostPath": {"path": "/"}}], "volume v is a hostPath"),
    ("Host Ports", ("spec", "containers", 0, "ports", 0, "hostPort"), 80, "containers[web] hostPort is 80"),
    (
        "Host Probes / Lifecycle Hooks",
        ("spec", "containers", 0, "livenessProbe", "httpGet", "host"),
        "10.0.0.1",
        "containers[web] livenessProbe.httpGet.host is 10.0.0.1",
    ),
    (
        "Host Probes / Lifecycle Hooks",
        ("spec", "containers", 0, "lifecycle", "postStart"),
        {"tcpSocket": {"host": "db", "port": 1}},
        "containers[web] postStart.tcpSocket.host is db",
    ),
    (
        "AppArmor",
        (*CONTEXT, "appArmorProfile"),
        {"type": "Unconfined"},
        "containers[web] appArmorProfile.type is Unconfined",
    ),
    (
        "AppArmor",
        ("metadata", "annotations"),
        {"container.apparmor.security.beta.kubernetes.io/web": "unconfined"},
        "annotation container.apparmor.security.beta.kubernetes.io/web is unconfined",
    ),
    ("SELinux", (*CONTEXT, "seLinuxOptions"), {"type": "spc_t"}, "containers[web] seLinuxOptions.type is spc_t"),
    ("SELinux", ("spec", "securityContext", "seLinuxOptions"), {"user": "root"}, "spec seLinuxOptions.user is root"),
    ("/proc Mount Type", (*CONTEXT, "procMount"), "Unmasked", "containers[web] procMount is Unmasked"),
    (
        "Sysctls",
        ("spec", "securityContext", "sysctls"),
        [{"name": "kernel.msgmax", "value": "1"}],
        "sysctl kernel.msgmax is set",
    ),
    ("Volume Types", ("spec", "volumes"), [{"name": "v", "nfs": {}}], "volume v is of type nfs"),
    (
        "Privilege Escalation",
        (*CONTEXT, "allowPrivilegeEscalation"),
        None,
        "containers[web] allowPrivilegeEscalation is not false",
    ),
    ("Running as Non-root", (*CONTEXT, "runAsNonRoot"), False, "containers[web] runAsNonRoot is not true"),
    (
        "Running as Non-root",
        ("spec", "securityContext", "runAsNonRoot"),
        None,
        "containers[web] runAsNonRoot is not true",
    ),
    ("Running as Non-root user", (*CONTEXT, "runAsUser"), 0, "containers[web] runAsUser is 0"),
    ("Seccomp", ("spec", "securityContext", "seccompProfile"), None, "containers[web] seccompProfile.type is None"),
    (
        "Seccomp",
        (*CONTEXT, "seccompProfile"),
        {"type": "Unconfined"},
        "containers[web] seccompProfile.type is Unconfined",
    ),
]


def _set(target: Any, path: tuple[str | int, ...], value: object) -> None:
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value


@pytest.mark.parametrize(("rule", "path", "value", "said"), BREACHES, ids=lambda value: str(value)[:40])
def test_a_rule_of_the_restricted_profile_refuses(
    objects: list[Manifest], restricted: Any, rule: str, path: tuple[str | int, ...], value: object, said: str
) -> None:
    pod = _pod(objects)
    assert restricted.findings(pod) == []

    _set(pod, path, value)
    findings = restricted.findings(pod)
    assert f"{rule}: {said}" in findings
    # A hostPath volume breaks two rules.
    assert {finding.partition(":")[0] for finding in findings} <= {rule, "Volume Types"}


def test_every_rule_was_seen_to_refuse(restricted: Any) -> None:
    assert {rule for rule, *_ in BREACHES} == set(restricted.RULES)


def test_the_rules_look_at_every_kind_of_container(objects: list[Manifest], restricted: Any) -> None:
    pod = _pod(objects)
    for kind in ("initContainers", "ephemeralContainers"):
        pod["spec"][kind] = [{"name": "other", "image": "x"}]

    findings = restricted.findings(pod)
    for kind in ("initContainers", "ephemeralContainers"):
        assert f"Privilege Escalation: {kind}[other] allowPrivilegeEscalation is not false" in findings
        assert f"Capabilities: {kind}[other] does not drop ALL" in findings


# ---- what no schema shows: each fault is found ----

Break = Callable[[list[Manifest]], object]


def _break(kind: str, *path: str | int, value: object) -> Break:
    """Return a function that sets a field of the one object of a kind."""
    return lambda objects: _set(_one(objects, kind), path, value)


CONTAINER = ("spec", "template", "spec", "containers", 0)
SELECTOR = {"matchLabels": {"app.kubernetes.io/name": "wbe"}}
FAULTS: dict[str, tuple[Break, str]] = {
    "a service without pods": (
        _break("Service", "spec", "selector", value=SELECTOR["matchLabels"]),
        "Service web selects no pod",
    ),
    "a service on no port": (
        _break("Service", "spec", "ports", 0, "targetPort", value="htpp"),
        "Service web sends to port htpp, which Deployment web does not have",
    ),
    "a probe of no port": (
        _break("Deployment", *CONTAINER, "livenessProbe", "httpGet", "port", value="htpp"),
        "Deployment web probes port htpp, which its container does not have (livenessProbe)",
    ),
    "a deployment without its pods": (
        _break("Deployment", "spec", "selector", value=SELECTOR),
        "Deployment web does not select its own pods",
    ),
    "a spread of other pods": (
        _break("Deployment", *CONTAINER[:3], "topologySpreadConstraints", 0, "labelSelector", value=SELECTOR),
        "Deployment web spreads other pods than its own over kubernetes.io/hostname",
    ),
    "no surge and none unavailable": (
        _break("Deployment", "spec", "strategy", "rollingUpdate", "maxSurge", value="0%"),
        "Deployment web can neither add a pod nor remove one: maxSurge and maxUnavailable are 0",
    ),
    "requests above limits": (
        _break("Deployment", *CONTAINER, "resources", "requests", "memory", value="1Gi"),
        "Deployment web requests more memory than its limit",
    ),
    "a bad quantity": (
        _break("Deployment", *CONTAINER, "resources", "limits", "memory", value="256MB"),
        "Deployment web limits.memory is '256MB', which is no quantity",
    ),
    "an autoscaler without target": (
        _break("HorizontalPodAutoscaler", "spec", "scaleTargetRef", "name", value="wbe"),
        "HorizontalPodAutoscaler web scales Deployment wbe, which is not there",
    ),
    "an autoscaler with nothing to choose": (
        _break("HorizontalPodAutoscaler", "spec", "maxReplicas", value=1),
        "HorizontalPodAutoscaler web minReplicas is above maxReplicas",
    ),
    "an autoscaler and replicas": (
        _break("Deployment", "spec", "replicas", value=2),
        "Deployment web sets replicas, which HorizontalPodAutoscaler web decides on",
    ),
    "an autoscaler without requests": (
        _break("Deployment", *CONTAINER, "resources", value={}),
        "HorizontalPodAutoscaler web scales by cpu, which Deployment web does not request",
    ),
    "a budget that blocks all": (
        _break("PodDisruptionBudget", "spec", "maxUnavailable", value=0),
        "PodDisruptionBudget web lets none of 2 pods be moved, so no node can be maintained",
    ),
    "a budget that needs all": (
        _break("PodDisruptionBudget", "spec", "minAvailable", value="51%"),
        "PodDisruptionBudget web lets none of 2 pods be moved, so no node can be maintained",
    ),
    "a budget of no pods": (
        _break("PodDisruptionBudget", "spec", "selector", value=SELECTOR),
        "PodDisruptionBudget web protects no pod",
    ),
    "a missing volume": (
        _break("Deployment", *CONTAINER, "volumeMounts", value=[{"name": "tmp", "mountPath": "/tmp"}]),
        "Deployment web mounts volume tmp, which is not there",
    ),
    "a missing service account": (
        _break("Deployment", *CONTAINER[:3], "serviceAccountName", value="wbe"),
        "Deployment web uses ServiceAccount wbe, which is not there",
    ),
    "a missing ConfigMap": (
        _break("Deployment", *CONTAINER, "envFrom", 0, "configMapRef", "name", value="environment"),
        "Deployment web uses ConfigMap environment, which is not there",
    ),
    "a policy for no pod": (
        _break("NetworkPolicy", "spec", "podSelector", value=SELECTOR),
        "NetworkPolicy web applies to no pod",
    ),
    "a policy for no port": (
        _break("NetworkPolicy", "spec", "ingress", 0, "ports", 0, "port", value="htpp"),
        "NetworkPolicy web opens port htpp, which Deployment web does not have",
    ),
}


@pytest.mark.parametrize(("fault", "said"), FAULTS.values(), ids=FAULTS)
def test_a_fault_that_no_schema_shows_is_found(
    objects: list[Manifest], references: Any, tmp_path: Path, fault: Break, said: str
) -> None:
    problems = references.problems
    assert problems(objects) == []

    fault(objects)
    assert problems(objects) == [said]
    file = tmp_path / "broken.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    assert _validate(file, VERSIONS[-1]).returncode == 0, "a schema shows it after all"


@pytest.mark.parametrize(
    ("text", "number"),
    [("250m", "0.25"), ("1", "1"), ("0.5", "0.5"), ("256Mi", str(256 * 2**20)), ("1k", "1000"), ("1e3", "1000")],
)
def test_quantities_are_read_as_kubernetes_does(references: Any, text: str, number: str) -> None:
    assert references.quantity(text) == references.quantity(number) == Decimal(number)


@pytest.mark.parametrize("text", ["256MB", "1 Gi", "", "one", "-1", "1gi", "0x1", "1e", "1K"])
def test_what_is_no_quantity_is_refused(references: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        references.quantity(text)


def test_selectors_match_as_in_kubernetes(references: Any) -> None:
    def selects(operator: str, *values: str) -> bool:
        terms = [{"key": "a", "operator": operator, **({"values": [*values]} if values else {})}]
        return bool(references.selects({"matchExpressions": terms}, {"a": "1"}))

    assert [selects("In", "1"), selects("NotIn", "2"), selects("Exists")] == [True, True, True]
    assert [selects("In", "2"), selects("NotIn", "1"), selects("DoesNotExist")] == [False, False, False]


# ---- the service's own tests: each goes red for the stated reason ----

BASE, DEPLOYMENT = "kubernetes/base", "kubernetes/base/deployment.yaml"
DEV, PROD = (f"kubernetes/overlays/{overlay}/kustomization.yaml" for overlay in OVERLAYS)
# The test of the service, the file, what stands there, what takes its place, and what the test says.
SABOTAGES: list[tuple[str, str, str, str, str]] = [
    (
        "the_pod_keeps_the_restricted_profile",
        DEPLOYMENT,
        "drop: [ALL]",
        "drop: [KILL]",
        "Capabilities: containers[web] does not drop ALL",
    ),
    ("the_namespace_enforces_it", f"{BASE}/namespace.yaml", "enforce: restricted", "enforce: baseline", "'baseline'"),
    (
        "objects_agree_with_each_other",
        f"{BASE}/service.yaml",
        "targetPort: http",
        "targetPort: htpp",
        "sends to port htpp",
    ),
    (
        "the_user_is_that_of_the_image",
        "Dockerfile",
        "USER 10001:10001\nSTOP",
        "USER 10002:10001\nSTOP",
        "USER 10001:10001",
    ),
    (
        "the_container_can_write_nowhere_and_has_no_token",
        f"{BASE}/serviceaccount.yaml",
        "automountServiceAccountToken: false",
        "automountServiceAccountToken: true",
        "assert False is True",
    ),
    (
        "the_port_is_the_one_the_service_listens_on",
        DEPLOYMENT,
        "containerPort: 5000",
        "containerPort: 8080",
        "assert 8080 == 5000",
    ),
    (
        "the_environment_holds_settings_that_are_valid",
        DEV,
        "LOG_LEVEL=debug",
        "LOG_LEVEL=loud",
        "LOG_LEVEL='loud' is not",
    ),
    ("the_environment_holds_settings_that_are_valid", DEV, "LOG_LEVEL=debug", "LOG_LEVLE=debug", "'LOG_LEVLE'"),
    ("each_probe_asks_its_own_page", "app/health.py", '"/readyz"})', '"/ready"})', "assert 404 == 200"),
    ("the_start_may_take_as_long_as_in_the_image", DEPLOYMENT, "failureThreshold: 30", "failureThreshold: 3", ">= 30"),
    (
        "the_service_ends_before_it_is_killed",
        DEPLOYMENT,
        "terminationGracePeriodSeconds: 35",
        "terminationGracePeriodSeconds: 29",
        "it takes up to 30 s",
    ),
    (
        "the_service_ends_before_it_is_killed",
        f"{BASE}/kustomization.yaml",
        "DRAIN_DELAY=0",
        "DRAIN_DELAY=10",
        "it takes up to 40 s",
    ),
    (
        "the_service_ends_before_it_is_killed",
        DEPLOYMENT,
        "sleep:\n                seconds: 10",
        "exec:\n                command: [sleep, '10']",
        "the image may have no shell and no program that sleeps",
    ),
    (
        "workers_follow_from_the_limits",
        "app/capacity.py",
        "WORKER_BYTES = 16",
        "WORKER_BYTES = 160",
        "assert 1 == (1 + 1)",
    ),
    (
        "workers_follow_from_the_limits",
        f"{BASE}/kustomization.yaml",
        "- DRAIN_DELAY=0",
        "- DRAIN_DELAY=0\n      - WEB_CONCURRENCY=4",
        "the number would stay when the limits change",
    ),
    ("an_update_never_takes_a_pod_away_first", DEPLOYMENT, "maxUnavailable: 0", "maxUnavailable: 1", "assert 1 == 0"),
    (
        "pods_are_spread_over_nodes_and_zones",
        DEPLOYMENT,
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ),
    (
        "the_network_is_closed_but_for_what_is_named",
        f"{BASE}/networkpolicy.yaml",
        "protocol: UDP",
        "protocol: TCP",
        "without DNS no name is found",
    ),
    (
        "the_network_is_closed_but_for_what_is_named",
        f"{BASE}/networkpolicy.yaml",
        "  podSelector: {}\n  policyTypes: [Ingress, Egress]",
        "  podSelector: {}\n  policyTypes: [Egress]",
        "policyTypes",
    ),
    (
        "the_image_is_named_by_digest_in_production",
        PROD,
        "digest: sha256:not-set",
        "newTag: '1.0'",
        "hello-service:1.0",
    ),
    ("the_image_is_named_by_digest_in_production", DEV, "newTag: dev", "newTag: latest", "hello-service:latest"),
    (
        "production_has_a_pod_to_spare",
        f"{BASE}/horizontalpodautoscaler.yaml",
        "minReplicas: 2",
        "minReplicas: 1",
        "assert 1 >= 2",
    ),
]
OWN_TESTS = "tests/kubernetes/test_manifests.py"


@pytest.mark.usefixtures("kubectl")
def test_the_own_tests_of_a_service_pass(service: BakedProject) -> None:
    assert re.search(r"\d\d passed in ", service.run("pytest", "tests/kubernetes", CI="true").stdout)


@pytest.mark.usefixtures("kubectl")
@pytest.mark.parametrize(("test", "file", "old", "new", "said"), SABOTAGES, ids=lambda value: str(value)[:30])
def test_an_own_test_of_a_service_fails(
    service: BakedProject, test: str, file: str, old: str, new: str, said: str
) -> None:
    path = service.path / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
    path.write_text(text.replace(old, new), encoding="utf-8")

    with pytest.raises(AssertionError, match="exit code 1\n") as failed:
        service.run("pytest", f"{OWN_TESTS}", "-k", test, "-p", "no:cacheprovider")
    assert said in str(failed.value)


def test_every_own_test_was_seen_to_fail(service: BakedProject) -> None:
    tests = re.findall(r"^def test_(\w+)", (service.path / OWN_TESTS).read_text(encoding="utf-8"), re.MULTILINE)

    assert set(tests) == {test for test, *_ in SABOTAGES}


def test_without_kubectl_they_are_skipped_with_one_clear_line_and_fail_in_ci(service: BakedProject) -> None:
    message = "the tests of the manifests need kubectl, and there is none on the PATH"
    command = [str(service.environment / "bin/python"), "-m", "pytest", "tests/kubernetes", "-p", "no:cacheprovider"]

    skipped = service.run(*command, CI="", PATH="").stdout
    assert skipped.count(message) == 1
    assert f"\nSKIPPED: {message}\n" in skipped
    with pytest.raises(AssertionError, match=rf"exit code 1\n(.*\n)+.*{message}"):
        service.run(*command, CI="true", PATH="")


# ---- scanners ----


@pytest.fixture
def trivy(pytestconfig: pytest.Config) -> str:
    """Return trivy's path; skip, or in CI fail, where its package has no program for this system."""
    found = shutil.which("trivy", path=str(TOOLS))
    return found or skip_or_fail(pytestconfig, "the scanner is packaged for Linux on x86-64 only")


@pytest.fixture(scope="session")
def checkov(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return checkov's path, installed from its lock."""
    folder = tmp_path_factory.mktemp("checkov")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    lock = TEMPLATE / "tests/checkov/requirements.txt"
    install = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(lock)]
    subprocess.run([str(folder / "bin/python"), *install], check=True, capture_output=True)
    return str(folder / "bin/checkov")


# What a scanner may go on finding, and why.
ACCEPTED = {
    "KSV-0125": "trusts the registries of three clouds only; where the image is kept is for the owner to say",
    "CKV_K8S_15": "only in dev: its image was loaded into the node and is in no registry to pull it from",
    "CKV_K8S_43": "only in dev: what was just built by hand has no digest before it is pushed",
}


def _trivy(trivy: str, file: Path, tmp_path: Path) -> set[str]:
    options = ["--quiet", "--skip-check-update", "--skip-version-check", "--format", "json"]
    environment = {**os.environ, "TRIVY_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [trivy, "config", *options, str(file.parent)], env=environment, capture_output=True, check=True
    )
    [result] = json.loads(done.stdout)["Results"]
    assert result["MisconfSummary"]["Successes"] > 80
    return {finding["ID"] for finding in result.get("Misconfigurations", [])}


def test_trivy_finds_nothing_without_a_reason(trivy: str, rendered: Path, tmp_path: Path) -> None:
    assert _trivy(trivy, rendered, tmp_path) == {"KSV-0125"} & ACCEPTED.keys()

    rendered.write_text(rendered.read_text(encoding="utf-8").replace("readOnlyRootFilesystem: true", ""))
    assert "KSV-0014" in _trivy(trivy, rendered, tmp_path), "it does not look"


def _checkov(checkov: str, file: Path) -> set[str]:
    options = ["--framework", "kubernetes", "--skip-download", "--quiet", "--output", "json"]
    done = subprocess.run([checkov, "--file", str(file), *options], capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 80
    return {finding["check_id"] for finding in report["results"]["failed_checks"]}


@pytest.mark.slow
def test_checkov_finds_nothing_without_a_reason(checkov: str, rendered: Path) -> None:
    expected = {"CKV_K8S_15", "CKV_K8S_43"} & ACCEPTED.keys() if rendered.stem == "dev" else set()
    assert _checkov(checkov, rendered) == expected

    rendered.write_text(rendered.read_text(encoding="utf-8").replace("readOnlyRootFilesystem: true", ""))
    assert _checkov(checkov, rendered) == expected | {"CKV_K8S_22"}, "it does not look"


# ---- the README ----

# What needs a cluster, or a tool that makes one, by how it begins. Names and options in them are checked all the same.
CLUSTER = ("kind load ", "kubectl apply ", "kubectl diff ", "kubectl rollout ", "kubectl port-forward ")


@pytest.fixture
def readme(service: BakedProject) -> list[str]:
    """Return the commands of the README's section on Kubernetes."""
    return commands(section((service.path / "README.md").read_text(encoding="utf-8"), "Kubernetes"))


@pytest.mark.usefixtures("kubectl")
def test_the_readme_sets_the_digest_in_one_command(service: BakedProject, readme: list[str]) -> None:
    here = [command for command in readme if not command.startswith((*CLUSTER, "docker build ", ".venv/bin/"))]
    assert len(here) == 3
    digest = here[0].removeprefix("export DIGEST=")
    assert re.fullmatch("sha256:[0-9a-f]{64}", digest)
    before = service.files()
    assert f"ghcr.io/my-org/hello-service@{digest}" in service.run("bash", "-ec", "\n".join(here)).stdout

    changed = [name for name, content in service.files().items() if before.get(name) != content]
    assert changed == [PROD]
    again = [here[0].replace(digest, DIGEST), *here[1:]]
    assert f"ghcr.io/my-org/hello-service@{DIGEST}" in service.run("bash", "-ec", "\n".join(again)).stdout
    service.run("pytest", "tests/kubernetes", CI="true")


def test_commands_of_the_readme_that_need_a_cluster_name_what_is_there(
    service: BakedProject, readme: list[str]
) -> None:
    rendered = {overlay: _objects(service, overlay) for overlay in OVERLAYS}
    image = _container(rendered["dev"])["image"]
    assert [command.split()[-1] for command in readme if command.startswith("kind load ")] == [image]
    assert f"docker build -t {image} ." in readme

    checked = 0
    overlay = ""
    for command in readme:
        if not command.startswith("kubectl "):
            continue
        words = shlex.split(command)[1:]
        if "-k" in words:
            overlay = Path(words[words.index("-k") + 1]).name
            assert (service.path / words[words.index("-k") + 1]).is_dir()
        if "--namespace" in words:
            assert words[words.index("--namespace") + 1] == _one(rendered[overlay], "Namespace")["metadata"]["name"]
        for word in words:
            if re.match(r"(deployment|service)/", word):
                kind, _, name = word.partition("/")
                assert _one(rendered[overlay], kind.capitalize())["metadata"]["name"] == name
            if mapping := re.fullmatch(r"(\d+):(\d+)", word):
                assert int(mapping[2]) in {port["port"] for port in _one(rendered[overlay], "Service")["spec"]["ports"]}
        verb = words[:2] if words[0] == "rollout" else words[:1]
        help_text = "".join(
            subprocess.run([KUBECTL, *about], capture_output=True, text=True, check=True).stdout
            for about in ([*verb, "--help"], ["options"])
        )
        for option in (word for word in words if word.startswith("-")):
            assert re.search(rf"^ +(-\w, )?{option}\b", help_text, re.MULTILINE), command
            checked += 1
    assert checked > 5


@pytest.mark.container
def test_no_node_takes_the_placeholder_for_an_image(untouched: BakedProject, engine: None) -> None:
    """Nodes parse references by the same rules as Docker does."""
    placeholder = _container(_objects(untouched))["image"]
    with pytest.raises(AssertionError, match="invalid reference format"):
        docker("pull", placeholder)

    bare = (untouched.path / DEPLOYMENT).read_text(encoding="utf-8")
    with pytest.raises(AssertionError, match=r"invalid reference format: repository name .* must be lowercase"):
        docker("pull", re.findall(r"image: (.*)", bare)[0])


# ---- the image runs as the pod says ----


@pytest.fixture
def as_the_pod_says(bake: Bake, engine: None, image_tag: str) -> Iterator[tuple[str, int, Manifest]]:
    """Return a container of the image with the pod's user, limits and environment, its port, and the pod."""
    service = bake(deploy="kubernetes", python_version=PYTHONS[0], image="distroless")
    service.build_image(image_tag)
    objects = _objects(service)
    pod, container = _pod(objects)["spec"], _container(objects)
    user, limits = pod["securityContext"], container["resources"]["limits"]
    port = free_port()
    options = [
        *("--user", f"{user['runAsUser']}:{user['runAsGroup']}", "--read-only", "--cap-drop", "ALL"),
        *(
            "--security-opt",
            "no-new-privileges",
            "--publish",
            f"127.0.0.1:{port}:{container['ports'][0]['containerPort']}",
        ),
        *("--cpus", limits["cpu"], "--memory", limits["memory"].removesuffix("i")),
        *(f"--env={name}={value}" for name, value in _one(objects, "ConfigMap")["data"].items()),
    ]
    identity = docker("run", "--detach", *options, image_tag)
    try:
        yield identity, port, pod
    finally:
        docker("rm", "--force", identity)


@pytest.mark.container
def test_the_image_runs_as_the_pod_says(as_the_pod_says: tuple[str, int, Manifest]) -> None:
    identity, port, pod = as_the_pod_says
    [container] = pod["containers"]
    probe = container["startupProbe"]
    wait_for_page(port, probe["periodSeconds"] * probe["failureThreshold"])
    time.sleep(1)  # all workers have started

    processes = docker("top", identity, "-o", "pid").splitlines()[1:]
    assert len(processes) == 3, "the first process and two workers: one for the CPU of the limit and one more"
    began = time.monotonic()
    docker("stop", "--time", str(pod["terminationGracePeriodSeconds"]), identity)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", identity) == "0"
    left = pod["terminationGracePeriodSeconds"] - container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert time.monotonic() - began < left
