"""The manifests of a service: valid, restricted, in agreement with the image, and each check of that able to fail."""

import copy
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cookiecutter.main import cookiecutter

from tests import custom_resources
from tests.conftest import PYTHONS, TEMPLATE, TOOLS, Bake, BakedProject, docker, free_port, skip_or_fail, wait_for_page
from tests.readme import commands, section
from tests.test_workflows import DIGEST, WORKFLOW
from tools.questions import DEFAULTS

KUBECTL = str(TOOLS / "kubectl")
OVERLAYS = ("dev", "prod")
# The oldest Kubernetes in which the sleep of preStop is stable, and the newest there is a schema of.
VERSIONS = ("1.34", "1.37")
BASE, DEPLOYMENT = "kubernetes/base", "kubernetes/base/deployment.yaml"
DEV, PROD = (f"kubernetes/overlays/{overlay}/kustomization.yaml" for overlay in OVERLAYS)
NAME = "kubernetes/components/name/kustomization.yaml"

IMAGE = f"ghcr.io/{DEFAULTS['owner']}/hello-service"
Manifest = dict[str, Any]


@pytest.fixture
def service(bake: Bake) -> BakedProject:
    """Return a service for Kubernetes, released on GitHub."""
    return bake(deploy="kubernetes", ci="github")


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory, service_environment: Path) -> BakedProject:
    """Return a service for Kubernetes. Leave it as it is."""
    output = str(tmp_path_factory.mktemp("kubernetes"))
    path = cookiecutter(str(TEMPLATE), no_input=True, extra_context={"deploy": "kubernetes"}, output_dir=output)
    return BakedProject(Path(path), service_environment)


def render(service: BakedProject, overlay: str) -> str:
    """Return what kubectl makes of an overlay."""
    command = [KUBECTL, "kustomize", f"kubernetes/overlays/{overlay}"]
    done = subprocess.run(command, cwd=service.path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def _objects(service: BakedProject, overlay: str = "prod") -> list[Manifest]:
    return list(yaml.safe_load_all(render(service, overlay)))


@pytest.fixture(scope="session")
def complete(tmp_path_factory: pytest.TempPathFactory, untouched: BakedProject) -> BakedProject:
    """Return a service for Kubernetes with all its components. Leave it as it is."""
    path = shutil.copytree(untouched.path, tmp_path_factory.mktemp("complete") / "hello-service")
    switch_on(service := BakedProject(path, untouched.environment))
    return service


@pytest.fixture(params=["dev", "prod", "dev and all", "prod and all"])
def rendered(request: pytest.FixtureRequest, untouched: BakedProject, complete: BakedProject, tmp_path: Path) -> Path:
    """Return a file with what each overlay renders, alone and with all components."""
    overlay, _, components = request.param.partition(" and ")
    file = tmp_path / "rendered" / f"{overlay}.yaml"
    file.parent.mkdir()
    file.write_text(render(complete if components else untouched, overlay), encoding="utf-8")
    return file


@pytest.fixture
def objects(untouched: BakedProject) -> list[Manifest]:
    """Return what the overlay for production renders, for a test to break."""
    return _objects(untouched)


def _one(objects: list[Manifest], kind: str) -> Manifest:
    """Return the one object of a kind; of the policies, that of the web pods."""
    found = [each for each in objects if each["kind"] == kind]
    [one] = [each for each in found if len(found) == 1 or each["metadata"]["name"].endswith("-web")]
    return one


def _pod(objects: list[Manifest]) -> Manifest:
    template: Manifest = _one(objects, "Deployment")["spec"]["template"]
    return template


def _pods(objects: list[Manifest]) -> list[Manifest]:
    """Return the templates of all pods: those of the Deployment, and those of jobs."""
    return [each["spec"]["template"] for each in objects if "template" in each.get("spec", {})]


def _container(objects: list[Manifest]) -> Manifest:
    [container] = _pod(objects)["spec"]["containers"]
    return container  # type: ignore[no-any-return]


def switch_on(service: BakedProject) -> None:
    """Switch all components on, as the overlays say."""
    for overlay in OVERLAYS:
        path = service.path / f"kubernetes/overlays/{overlay}/kustomization.yaml"
        path.write_text(path.read_text(encoding="utf-8").replace("# - ../../components/", "- ../../components/"))


# ---- validity ----


def validate(file: Path, version: str) -> subprocess.CompletedProcess[str]:
    """Check a file against the schemas of a version of Kubernetes."""
    command = [str(TOOLS / "kubernetes-validate"), "--strict", "--kubernetes-version", version, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_accept_every_object(rendered: Path, version: str) -> None:
    objects = list(yaml.safe_load_all(rendered.read_text(encoding="utf-8")))
    custom = [each for each in objects if each["kind"] in custom_resources.SCHEMAS]
    for each in custom:
        jsonschema.validate(each, custom_resources.SCHEMAS[each["kind"]])
    built_in = [each for each in objects if each not in custom]
    rendered.write_text(yaml.safe_dump_all(built_in), encoding="utf-8")
    done = validate(rendered, version)

    assert done.returncode == 0, done.stdout + done.stderr
    kinds = [each["kind"].lower() for each in built_in]
    assert re.findall(r"passed for resource (\w+)/", done.stdout + done.stderr) == kinds
    assert (len(kinds), len(custom)) in {(10, 0), (13, 2)}


@pytest.mark.parametrize(
    ("old", "new"),
    [("backendRefs", "backendRef"), ("request: 60s", "request: 60 s"), ("port: metrics", "prt: metrics")],
)
def test_the_schemas_of_custom_resources_refuse_what_they_do_not_know(
    complete: BakedProject, old: str, new: str
) -> None:
    custom = [each for each in _objects(complete) if each["kind"] in custom_resources.SCHEMAS]
    [found] = [each for each in custom if old in yaml.safe_dump(each)]
    broken = yaml.safe_load(yaml.safe_dump(found).replace(old, new))

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, custom_resources.SCHEMAS[broken["kind"]])


def test_the_schemas_refuse_a_misspelt_field(rendered: Path) -> None:
    rendered.write_text(rendered.read_text(encoding="utf-8").replace("failureThreshold", "failureTreshold"))

    assert validate(rendered, VERSIONS[0]).returncode != 0


def test_the_newest_version_is_that_of_kubectl() -> None:
    done = subprocess.run([KUBECTL, "version", "--client", "-o", "json"], capture_output=True, check=True)

    assert f"v{VERSIONS[-1]}." in json.loads(done.stdout)["clientVersion"]["gitVersion"]


def test_the_readmes_name_the_versions(untouched: BakedProject) -> None:
    tested = (TEMPLATE / "docs/kubernetes.md").read_text(encoding="utf-8")
    assert f"schemas of Kubernetes {' and '.join(VERSIONS)}, " in tested
    own = (untouched.path / "kubernetes/README.md").read_text(encoding="utf-8")
    assert f"For Kubernetes {VERSIONS[0]} and newer." in own


# The longest; cut at a hyphen in each place where it is cut; words that YAML takes for something else.
SLUGS = ["x" * 63, "x" * 58 + "-abcd", "x" * 57 + "-abcde", "x" * 46 + "-" + "y" * 16, "true", "null", "a"]
# Kubernetes gives most objects names of up to 253 characters, but derives labels and host names from some.
LENGTHS = {"Namespace": 63, "Service": 63, "Job": 63, "CronJob": 52}


@pytest.mark.parametrize("slug", SLUGS)
def test_any_slug_gives_names_that_kubernetes_takes(bake: Bake, slug: str) -> None:
    service = bake(deploy="kubernetes", project_slug=slug)
    switch_on(service)

    namespaces = set()
    for overlay in OVERLAYS:
        objects = _objects(service, overlay)
        namespaces.add(_one(objects, "Namespace")["metadata"]["name"])
        for each in objects:
            name, labels = each["metadata"]["name"], each["metadata"]["labels"]
            assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name)
            assert len(name) <= LENGTHS.get(each["kind"], 253)
            assert labels["app.kubernetes.io/name"] == labels["app.kubernetes.io/part-of"] == slug
            assert labels["app.kubernetes.io/instance"].endswith(f"-{overlay}")
            assert all(re.fullmatch(r"[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?", str(value)) for value in labels.values())
    assert len(namespaces) == len(OVERLAYS)
    assert slug in namespaces


def test_services_can_share_a_namespace(bake: Bake, tmp_path: Path) -> None:
    objects = []
    for slug in ("shop", "shop-web"):
        service = bake(deploy="kubernetes", project_slug=slug)
        switch_on(service)
        path = service.path / PROD
        path.write_text(re.sub("(?m)^namespace: .*", "namespace: shared", path.read_text(encoding="utf-8")))
        objects.append(_objects(service))

    names = [{(each["kind"], each["metadata"]["name"]) for each in each_service} for each_service in objects]
    assert names[0] & names[1] == {("Namespace", "shared")}
    for one, other in (objects, reversed(objects)):
        labels = [_labels(each) for each in other]
        selectors = [selector for each in one for selector in _selectors(each) if selector]
        assert len(selectors) > 5
        assert not [each for each in selectors if any(each.items() <= found.items() for found in labels)]


def _labels(thing: Any) -> dict[str, str]:
    """Return the labels of an object's pods, or of itself if it makes none."""
    template = thing.get("spec", {}).get("template", thing)
    labels: dict[str, str] = template["metadata"]["labels"]
    return labels


def _selectors(thing: Any) -> Iterator[dict[str, str]]:
    """Yield what selects pods or Services, at any depth."""
    for key, value in thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, list) else ():
        if key in {"selector", "labelSelector", "podSelector"}:
            yield value.get("matchLabels", value)
        else:
            yield from _selectors(value)


@pytest.mark.usefixtures("kubectl")
def test_selectors_are_the_same_in_each_release_and_environment(service: BakedProject) -> None:
    """The API server refuses to change those of a Deployment."""

    def selectors() -> list[dict[str, str]]:
        return [selector for each in _objects(service) for selector in _selectors(each)]

    before = selectors()
    path = service.path / PROD
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('version: "not-set"', 'version: "0.2.0"').replace("-prod", "-blue"), encoding="utf-8")
    assert selectors() == before
    assert [selector for each in _objects(service, "dev") for selector in _selectors(each)] == before
    assert "0.2.0" in render(service, "prod")


@pytest.mark.parametrize("ci", ["github", "gitlab", "none"])
def test_production_runs_what_the_forge_releases(bake: Bake, ci: str) -> None:
    service = bake(deploy="kubernetes", ci=ci, owner="acme/web", project_slug="shop")
    name = _container(_objects(service))["image"].partition("@")[0]

    if ci == "github":
        assert name == yaml.safe_load((service.path / WORKFLOW).read_text(encoding="utf-8"))["env"]["IMAGE"]
    else:
        # GitLab's own variable CI_REGISTRY_IMAGE holds the same on gitlab.com; docker push goes to docker.io.
        assert name == {"gitlab": "registry.gitlab.com", "none": "docker.io"}[ci] + "/acme/web/shop"


# ---- what a cluster refuses, and what nobody notices: each fault is found ----

Break = Callable[[list[Manifest]], object]


def _set(target: Any, path: tuple[str | int, ...], value: object) -> None:
    """Set a field; None takes it away."""
    for step in path[:-1]:
        target = target[step]
    if value is None:
        del target[path[-1]]
    else:
        target[path[-1]] = value


def _break(kind: str, *path: str | int, value: object) -> Break:
    """Return a function that sets a field of the one object of a kind."""
    return lambda objects: _set(_one(objects, kind), path, value)


def _both(*breaks: Break) -> Break:
    """Return a function that does all of it."""
    return lambda objects: [each(objects) for each in breaks]


def _pod_with(*path: str | int, value: object) -> Break:
    return _break("Deployment", "spec", "template", *path, value=value)


def _container_with(*path: str | int, value: object) -> Break:
    return _pod_with("spec", "containers", 0, *path, value=value)


def _context_with(field: str, value: object) -> Break:
    return _container_with("securityContext", field, value=value)


UNCONFINED = {"type": "Unconfined"}
# Each breaks a rule of the restricted profile, or is a right that no pod of ours needs; then what finds it: a rule of
# trivy, or a line of refused().
BREACHES: dict[str, tuple[Break, str]] = {
    "HostProcess": (_context_with("windowsOptions", {"hostProcess": True}), "KSV-0103"),
    "hostNetwork": (_pod_with("spec", "hostNetwork", value=True), "KSV-0009"),
    "hostPID": (_pod_with("spec", "hostPID", value=True), "KSV-0010"),
    "hostIPC": (_pod_with("spec", "hostIPC", value=True), "KSV-0008"),
    "privileged": (_context_with("privileged", True), "KSV-0017"),
    "all capabilities kept": (_context_with("capabilities", {}), "KSV-0106"),
    "a capability added": (_container_with("securityContext", "capabilities", "add", value=["NET_ADMIN"]), "KSV-0106"),
    "hostPath": (_pod_with("spec", "volumes", value=[{"name": "v", "hostPath": {"path": "/"}}]), "KSV-0023"),
    "a volume of another type": (_pod_with("spec", "volumes", value=[{"name": "v", "nfs": {}}]), "KSV-0028"),
    "hostPort": (_container_with("ports", 0, "hostPort", value=80), "KSV-0024"),
    "a probe of another host": (
        _container_with("livenessProbe", "httpGet", "host", value="10.0.0.1"),
        "a probe or a hook names a host",
    ),
    "a hook to another host": (
        _container_with("lifecycle", "postStart", value={"tcpSocket": {"host": "db", "port": 1}}),
        "a probe or a hook names a host",
    ),
    "AppArmor": (_context_with("appArmorProfile", UNCONFINED), "appArmorProfile of web"),
    "AppArmor by annotation": (
        _pod_with(
            "metadata", "annotations", value={"container.apparmor.security.beta.kubernetes.io/web": "unconfined"}
        ),
        "KSV-0002",
    ),
    "SELinux type": (_context_with("seLinuxOptions", {"type": "spc_t"}), "KSV-0025"),
    "SELinux user": (_pod_with("spec", "securityContext", "seLinuxOptions", value={"user": "root"}), "KSV-0025"),
    "procMount": (_context_with("procMount", "Unmasked"), "KSV-0027"),
    "sysctl": (
        _pod_with("spec", "securityContext", "sysctls", value=[{"name": "kernel.msgmax", "value": "1"}]),
        "KSV-0026",
    ),
    "escalation": (_context_with("allowPrivilegeEscalation", None), "KSV-0001"),
    "root allowed": (_context_with("runAsNonRoot", False), "runAsNonRoot of web"),
    "root not forbidden": (_pod_with("spec", "securityContext", "runAsNonRoot", value=None), "runAsNonRoot of web"),
    "root allowed by the pod": (
        _both(
            _pod_with("spec", "securityContext", "runAsNonRoot", value=False),
            _context_with("runAsNonRoot", True),
        ),
        "runAsNonRoot of the pod",
    ),
    "root": (_context_with("runAsUser", 0), "KSV-0105"),
    "no seccomp": (_pod_with("spec", "securityContext", "seccompProfile", value=None), "KSV-0104"),
    "seccomp unconfined": (_context_with("seccompProfile", UNCONFINED), "KSV-0104"),
    "seccomp unconfined by the pod": (
        _both(
            _pod_with("spec", "securityContext", "seccompProfile", value=UNCONFINED),
            _context_with("seccompProfile", {"type": "RuntimeDefault"}),
        ),
        "seccompProfile of the pod",
    ),
    "an init container without limits": (
        _pod_with("spec", "initContainers", value=[{"name": "first", "image": "x"}]),
        "KSV-0106",
    ),
    "an init container as root": (
        _pod_with(
            "spec",
            "initContainers",
            value=[{"name": "first", "image": "x", "securityContext": {"runAsNonRoot": False}}],
        ),
        "runAsNonRoot of first",
    ),
    "a root file system that can be written to": (_context_with("readOnlyRootFilesystem", None), "KSV-0014"),
}


def refused(pod: Manifest) -> Iterator[str]:
    """Yield what breaks the restricted profile without trivy seeing it.

    Kubernetes judges a container by its own value, or else by that of the pod; if the pod has one, it must be good too.
    """
    spec = pod["spec"]
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    whole = spec.get("securityContext", {})
    contexts = {"the pod": {"runAsNonRoot": True} | whole}
    contexts |= {each["name"]: whole | each.get("securityContext", {}) for each in containers}
    for name, context in contexts.items():
        if context.get("runAsNonRoot") is not True:
            yield f"runAsNonRoot of {name}"
        for field in ("appArmorProfile", "seccompProfile"):
            if field in context and context[field]["type"] not in {"RuntimeDefault", "Localhost"}:
                yield f"{field} of {name}"
    # Nothing else in a container has a field of this name.
    if '"host":' in json.dumps(containers):
        yield "a probe or a hook names a host"


@pytest.fixture(scope="session")
def trivy() -> str:
    """Return trivy's path; skip, or in CI fail, where its package has no program for this system."""
    found = shutil.which("trivy", path=str(TOOLS))
    return found or skip_or_fail("the scanner is packaged for Linux on x86-64 only")


@pytest.fixture(scope="session")
def scanned(
    trivy: str, untouched: BakedProject, complete: BakedProject, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, set[str]]:
    """Return the rules of trivy that each overlay breaks, and production after each breach: one run, as it is slow."""
    folder = tmp_path_factory.mktemp("scanned")
    files = {overlay: _objects(untouched, overlay) for overlay in OVERLAYS}
    files["all"] = _objects(complete)
    for name, (breach, _) in BREACHES.items():
        files[name] = copy.deepcopy(files["prod"])
        breach(files[name])
    for name, objects in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    options = ["--quiet", "--skip-check-update", "--skip-version-check", "--format", "json"]
    environment = {**os.environ, "TRIVY_CACHE_DIR": str(tmp_path_factory.mktemp("trivy"))}
    done = subprocess.run([trivy, "config", *options, str(folder)], env=environment, capture_output=True, check=True)
    results = json.loads(done.stdout)["Results"]
    assert all(result["MisconfSummary"]["Successes"] > 80 for result in results)
    return {Path(result["Target"]).stem: {each["ID"] for each in result["Misconfigurations"]} for result in results}


@pytest.mark.parametrize("overlay", [*OVERLAYS, "all"])
def test_the_pods_keep_the_restricted_profile(
    untouched: BakedProject, complete: BakedProject, scanned: dict[str, set[str]], overlay: str
) -> None:
    objects = _objects(complete) if overlay == "all" else _objects(untouched, overlay)

    assert scanned[overlay] == {"KSV-0125"} & ACCEPTED.keys()
    assert [found for pod in _pods(objects) for found in refused(pod)] == []


@pytest.mark.parametrize("name", BREACHES)
def test_a_pod_that_breaks_the_restricted_profile_is_found(
    objects: list[Manifest], scanned: dict[str, set[str]], name: str
) -> None:
    breach, said = BREACHES[name]
    breach(objects)

    assert said in {*scanned[name], *refused(_pod(objects))}


def test_a_good_value_of_each_container_is_enough(objects: list[Manifest]) -> None:
    _pod_with("spec", "securityContext", "runAsNonRoot", value=None)(objects)
    _context_with("runAsNonRoot", True)(objects)

    assert list(refused(_pod(objects))) == []


# What schemas and scanners let pass; where requests go, and what the pod may use, is for the service's own tests.
FAULTS: dict[str, tuple[Break, str]] = {
    "an autoscaler without target": (
        _break("HorizontalPodAutoscaler", "spec", "scaleTargetRef", "name", value="wbe"),
        "the autoscaler scales something else",
    ),
    "an autoscaler with nothing to choose": (
        _break("HorizontalPodAutoscaler", "spec", "maxReplicas", value=1),
        "minReplicas is above maxReplicas",
    ),
    "an autoscaler and replicas": (
        _break("Deployment", "spec", "replicas", value=2),
        "both the Deployment and the autoscaler decide on replicas",
    ),
    "an autoscaler without requests": (
        _container_with("resources", value={}),
        "the autoscaler scales by cpu, which is not requested",
    ),
    "no surge and none unavailable": (
        _break("Deployment", "spec", "strategy", "rollingUpdate", "maxSurge", value="0%"),
        "no pod can be replaced: maxSurge and maxUnavailable are 0",
    ),
    "a budget that blocks all": (
        _break("PodDisruptionBudget", "spec", "maxUnavailable", value=0),
        "the budget may hold up the maintenance of a node",
    ),
    "a budget that needs all": (
        _break("PodDisruptionBudget", "spec", "minAvailable", value="51%"),
        "the budget may hold up the maintenance of a node",
    ),
    "a missing volume": (
        _container_with("volumeMounts", value=[{"name": "tmp", "mountPath": "/tmp"}]),
        "there is no volume tmp",
    ),
    "a missing service account": (
        _pod_with("spec", "serviceAccountName", value="wbe"),
        "there is no ServiceAccount wbe",
    ),
    "a missing ConfigMap": (
        _container_with("envFrom", 0, "configMapRef", "name", value="environment"),
        "there is no ConfigMap environment",
    ),
}


def faults(objects: list[Manifest]) -> Iterator[str]:
    """Yield the names that lead nowhere, and the numbers that contradict each other."""
    target = _one(objects, "Deployment")
    deployment, scaler, budget = (
        _one(objects, kind)["spec"] for kind in ("Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget")
    )
    for each in _pods(objects):
        pod = each["spec"]
        [container] = pod["containers"]
        there = {(each["kind"], each["metadata"]["name"]) for each in objects}
        there |= {("volume", each["name"]) for each in pod.get("volumes", [])}
        used = {("ServiceAccount", pod["serviceAccountName"])}
        used |= {("ConfigMap", each["configMapRef"]["name"]) for each in container["envFrom"]}
        used |= {("volume", each["name"]) for each in container.get("volumeMounts", [])}
        for kind, name in used - there:
            yield f"there is no {kind} {name}"

    if scaler["scaleTargetRef"] != {
        **{field: target[field] for field in ("apiVersion", "kind")},
        "name": target["metadata"]["name"],
    }:
        yield "the autoscaler scales something else"
    if scaler["minReplicas"] > scaler["maxReplicas"]:
        yield "minReplicas is above maxReplicas"
    if "replicas" in deployment:
        yield "both the Deployment and the autoscaler decide on replicas"
    for metric in scaler["metrics"]:
        if metric["resource"]["name"] not in _container(objects)["resources"].get("requests", {}):
            yield f"the autoscaler scales by {metric['resource']['name']}, which is not requested"
    if {str(each) for each in deployment["strategy"]["rollingUpdate"].values()} <= {"0", "0%"}:
        yield "no pod can be replaced: maxSurge and maxUnavailable are 0"
    # Any number that is to stay may be all there are.
    if "minAvailable" in budget or budget["maxUnavailable"] == 0:
        yield "the budget may hold up the maintenance of a node"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_objects_agree_with_each_other(untouched: BakedProject, complete: BakedProject, overlay: str) -> None:
    for service in (untouched, complete):
        assert list(faults(_objects(service, overlay))) == []


@pytest.mark.parametrize(("fault", "said"), FAULTS.values(), ids=FAULTS)
def test_a_fault_that_no_schema_shows_is_found(objects: list[Manifest], fault: Break, said: str) -> None:
    fault(objects)

    assert list(faults(objects)) == [said]


def test_no_schema_shows_these_faults(objects: list[Manifest], tmp_path: Path) -> None:
    broken = []
    for fault, _ in FAULTS.values():
        broken += copy.deepcopy(objects)
        fault(broken[-len(objects) :])
    file = tmp_path / "broken.yaml"
    file.write_text(yaml.safe_dump_all(broken), encoding="utf-8")

    assert validate(file, VERSIONS[-1]).returncode == 0, "a schema shows one after all: it need not be looked for here"


# ---- the service's own tests: each goes red for the stated reason ----

SELECTOR = "each_selector_finds_pods_of_this_service"
TEMPORARY = "temporary_files_have_a_place_that_fits_into_the_memory"
LIVENESS = "no_request_that_the_settings_allow_trips_liveness"
# The test of the service, the file, what stands there, what takes its place, and what the test says.
SABOTAGES: list[tuple[str, str, str, str, str]] = [
    (
        "the_namespace_enforces_the_restricted_profile",
        f"{BASE}/namespace.yaml",
        "enforce: restricted",
        "enforce: baseline",
        "'baseline'",
    ),
    ("requests_reach_the_pods", f"{BASE}/service.yaml", "targetPort: http", "targetPort: htpp", "htpp"),
    (
        "requests_reach_the_pods",
        f"{BASE}/service.yaml",
        "  selector:\n    app.kubernetes.io/component: web",
        "  selector:\n    app.kubernetes.io/component: wbe",
        "'wbe'",
    ),
    (
        "all_objects_carry_the_name_of_the_service",
        DEV,
        "app.kubernetes.io/instance",
        "instance",
        "has no label {'app.kubernetes.io/instance'}",
    ),
    (
        "all_objects_carry_the_name_of_the_service",
        NAME,
        "namePrefix: hello-service-\n",
        "",
        "called web",
    ),
    *(
        (SELECTOR, f"{BASE}/{file}.yaml", old, new, said)
        for file, old, new, said in (
            (
                "deployment",
                "matchLabels:\n      app.kubernetes.io/component: web",
                "matchLabels:\n      app.kubernetes.io/component: wbe",
                ".spec.selector of Deployment hello-service-web finds nothing",
            ),
            (
                "deployment",
                "component: web\n          matchLabelKeys: [pod-template-hash]\n      # Temp",
                "component: wbe\n          matchLabelKeys: [pod-template-hash]\n      # Temp",
                "topologySpreadConstraints.1.labelSelector of Deployment hello-service-web finds nothing",
            ),
            (
                "poddisruptionbudget",
                "component: web",
                "component: wbe",
                "selector of PodDisruptionBudget hello-service-web finds nothing",
            ),
            (
                "networkpolicy",
                "component: web",
                "component: wbe",
                "podSelector of NetworkPolicy hello-service-web finds nothing",
            ),
            (
                "networkpolicy",
                "matchLabels: {}",
                "matchExpressions: [{ key: app.kubernetes.io/component, operator: Exists }]",
                "podSelector of NetworkPolicy hello-service-egress may find pods of other services",
            ),
        )
    ),
    (
        SELECTOR,
        "kubernetes/components/migrate/job.yaml",
        "      labels:\n        app.kubernetes.io/component: migrate",
        "      labels:\n        app.kubernetes.io/component: web",
        "finds pods of several kinds",
    ),
    (
        SELECTOR,
        "kubernetes/components/servicemonitor/servicemonitor.yaml",
        "component: web",
        "component: wbe",
        "selector of ServiceMonitor hello-service-web finds nothing",
    ),
    (
        "requests_reach_the_pods",
        "kubernetes/components/httproute/httproute.yaml",
        "port: 80",
        "port: 8080",
        "HTTPRoute leads to {'name': 'hello-service-web', 'port': 8080}, which no Service has",
    ),
    (
        "requests_reach_the_pods",
        "kubernetes/components/httproute/kustomization.yaml",
        "configurations:\n  - names.yaml\n",
        "",
        "HTTPRoute leads to {'name': 'web', 'port': 80}, which no Service has",
    ),
    (
        "requests_reach_the_pods",
        "kubernetes/components/ingress/ingress.yaml",
        "name: http",
        "name: htpp",
        "Ingress leads to",
    ),
    (
        "the_port_is_the_one_the_service_listens_on",
        "kubernetes/components/servicemonitor/kustomization.yaml",
        "METRICS=prometheus",
        "METRICS=off",
        "nothing serves metrics",
    ),
    (
        LIVENESS,
        "kubernetes/components/httproute/httproute.yaml",
        "request: 60s",
        "request: 5m",
        "HTTPRoute hello-service-web allows requests of 300 s",
    ),
    (
        SELECTOR,
        PROD,
        "    includeTemplates: true",
        "    includeSelectors: true",
        "may differ in the next release",
    ),
    (
        "each_port_has_a_protocol",
        DEPLOYMENT,
        "\n              protocol: TCP",
        "",
        ".spec.template.spec.containers.0.ports of Deployment hello-service-web: no protocol in",
    ),
    (
        "each_port_has_a_protocol",
        f"{BASE}/networkpolicy.yaml",
        "http\n          protocol: TCP",
        "http",
        "no protocol in [{'port': 'http'}]",
    ),
    (
        "each_port_has_a_protocol",
        f"{BASE}/service.yaml",
        "      protocol: TCP\n",
        "",
        "ports of Service hello-service-web",
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
    (
        "the_environment_holds_settings_that_are_valid",
        DEV,
        "LOG_LEVEL=debug",
        "LOG_LEVLE=debug",
        "no setting is called ['LOG_LEVLE']",
    ),
    (
        "each_probe_asks_its_own_page",
        DEPLOYMENT,
        "/readyz\n              port: http",
        "/readyz\n              port: htpp",
        "htpp",
    ),
    ("each_probe_asks_its_own_page", "app/health.py", '"/readyz"})', '"/ready"})', "assert '/readyz' in "),
    (
        LIVENESS,
        DEPLOYMENT,
        "timeoutSeconds: 60",
        "timeoutSeconds: 3",
        "TIMEOUT allows requests of 30 s; liveness waits 3 s for a response and restarts after 243 s: it must "
        "wait 30 s and restart after 90 s, so set periodSeconds and timeoutSeconds to 30, failureThreshold to 3",
    ),
    (TEMPORARY, DEPLOYMENT, "mountPath: /dev/shm", "mountPath: /tmp", "TMPDIR is /dev/shm: mount an emptyDir there"),
    (TEMPORARY, DEPLOYMENT, ", sizeLimit: 64Mi", "", "/dev/shm holds 0 bytes"),
    (TEMPORARY, DEPLOYMENT, "sizeLimit: 64Mi", "sizeLimit: 200Mi", "set the memory limit to 272Mi"),
    (TEMPORARY, "app/settings.py", "default=2**20)", "default=2**27)", "/dev/shm holds 67108864 bytes"),
    (LIVENESS, DEPLOYMENT, "failureThreshold: 5", "failureThreshold: 1", "restarts after 60 s"),
    (LIVENESS, DEPLOYMENT, "periodSeconds: 5\n", "periodSeconds: 25\n", "is sent requests for 28 s more"),
    (
        LIVENESS,
        f"{BASE}/kustomization.yaml",
        "- DRAIN_DELAY=0",
        "- DRAIN_DELAY=0\n      - TIMEOUT=300",
        "TIMEOUT allows requests of 300 s; liveness waits 60 s for a response and restarts after 300 s: it must "
        "wait 300 s and restart after 360 s, so set periodSeconds and timeoutSeconds to 300, failureThreshold to 2",
    ),
    (
        LIVENESS,
        "app/settings.py",
        "    threads: int",
        "    database_timeout: int = whole_number(1, 3600, default=120)\n    threads: int",
        "DATABASE_TIMEOUT allows requests of 120 s",
    ),
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
        "app/settings.py",
        "default=56 * 2**20",
        "default=560 * 2**20",
        "assert 1 == (1 + 1)",
    ),
    (
        "workers_follow_from_the_limits",
        f"{BASE}/kustomization.yaml",
        "- DRAIN_DELAY=0",
        "- DRAIN_DELAY=0\n      - WEB_CONCURRENCY=4",
        "the number would stay when the limits change",
    ),
    (
        "workers_follow_from_the_limits",
        DEPLOYMENT,
        "cpu: 250m\n              memory: 256Mi",
        "cpu: 250m\n              memory: 1Gi",
        "a cluster refuses such a pod",
    ),
    (
        "workers_follow_from_the_limits",
        DEPLOYMENT,
        'cpu: "1"\n              memory: 256Mi',
        'cpu: "1"\n              memory: 256MB',
        "'256MB' is no quantity",
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
    ("the_network_is_closed_but_for_what_is_named", f"{BASE}/networkpolicy.yaml", "port: http", "port: htpp", "htpp"),
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
    (
        "the_image_is_named_by_digest_in_production",
        PROD,
        "digest: sha256:not-set",
        "digest: ''",
        f"'{IMAGE}' names no digest: set it by kubernetes/release.py",
    ),
    (
        "the_image_is_named_by_digest_in_production",
        PROD,
        "digest: sha256:not-set",
        "digest: sha256:" + "0" * 64,
        "the label version says 'not-set' of it: set both by kubernetes/release.py",
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


# ---- the READMEs ----

# What needs a cluster, or a tool that makes one, by how it begins. Names and options in them are checked all the same.
CLUSTER = ("kind ", "kubectl ", "pod=$(kubectl ")
HERE = ("docker build ", "kubectl kustomize ", "python3 kubernetes/release.py ", ".venv/bin/pytest ")


@pytest.fixture
def readme(service: BakedProject) -> list[str]:
    """Return the commands for Kubernetes: those of the first deployment, then all others."""
    first = section((service.path / "README.md").read_text(encoding="utf-8"), "Deploy it to Kubernetes")
    return commands(first + (service.path / "kubernetes/README.md").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("kubectl")
def test_the_readme_sets_the_digest_in_one_command(service: BakedProject, readme: list[str]) -> None:
    release, *others = [command for command in readme if command.startswith(HERE[1:])]
    _, _, version, digest = release.split()
    before = service.files()
    service.run("bash", "-ec", release)
    assert [name for name, content in service.files().items() if before.get(name) != content] == [PROD]

    (service.path / ".venv").symlink_to(service.environment)
    output = service.run("bash", "-ec", "\n".join(others), CI="true").stdout
    assert f"{IMAGE}@{digest}" in output
    assert output.count(f"app.kubernetes.io/version: {version}\n") == len(_objects(service)) + 1
    service.run("bash", "-ec", release.replace(digest, DIGEST).replace(version, "1.0"))
    assert f"{IMAGE}@{DIGEST}" in render(service, "prod")
    assert 'app.kubernetes.io/version: "1.0"\n' in render(service, "prod")


@pytest.mark.parametrize(
    ("version", "digest", "said"),
    [
        ("0.2.0", "", "DIGEST '' is not valid"),
        ("0.2.0", "sha256:", "DIGEST 'sha256:' is not valid"),
        ("0.2.0", DIGEST.removeprefix("sha256:"), f"DIGEST '{DIGEST[7:]}' is not valid"),
        ("0.2.0", DIGEST[:-1], "64 digits"),
        ("0.2.0", f"{DIGEST}0", "64 digits"),
        ("0.2.0", DIGEST.upper(), "0-9 and a-f"),
        ("0.2.0", f"{DIGEST}\n", "64 digits"),
        ("0.2.0", f"{IMAGE}@{DIGEST}", f"for example {DIGEST[:7]}"),
        ("", DIGEST, "VERSION '' is not valid"),
        ("1.0+build", DIGEST, "VERSION '1.0+build' is not valid"),
        ("v" * 64, DIGEST, "1 to 63 letters"),
        ("1.0-", DIGEST, "a letter or a digit"),
    ],
)
def test_a_bad_release_changes_nothing(service: BakedProject, version: str, digest: str, said: str) -> None:
    before = service.files()
    command = [sys.executable, "kubernetes/release.py", version, digest]
    done = subprocess.run(command, cwd=service.path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert said in done.stderr
    assert service.files() == before


@pytest.mark.parametrize("arguments", ["", DIGEST, f"0.2.0 {DIGEST} more"])
def test_a_release_needs_both(service: BakedProject, arguments: str) -> None:
    """Such as where a variable is not set and not quoted."""
    with pytest.raises(AssertionError, match=r"exit code 1\n\s*usage: python3 kubernetes/release\.py VERSION DIGEST\n"):
        service.run("bash", "-ec", f"python3 kubernetes/release.py {arguments}")


def test_a_file_that_is_not_as_it_was_is_not_guessed_at(service: BakedProject) -> None:
    path = service.path / PROD
    path.write_text(path.read_text(encoding="utf-8").replace("    digest: ", "    newTag: "), encoding="utf-8")

    with pytest.raises(AssertionError, match=r"kustomization\.yaml has 0 lines for DIGEST: it must have one"):
        service.run("python3", "kubernetes/release.py", "0.2.0", DIGEST)


def test_two_pods_are_asked_for_once_and_the_autoscaler_has_the_last_word(
    service: BakedProject, readme: list[str]
) -> None:
    """An apply leaves alone what it does not name, so `replicas` must stand in no manifest."""
    [deployment] = [each for each in _objects(service) if each["kind"] == "Deployment"]
    scaler = _one(_objects(service), "HorizontalPodAutoscaler")["spec"]
    [scale] = [command for command in readme if command.startswith("kubectl scale ")]
    position = readme.index(scale)

    assert "replicas" not in deployment["spec"]
    assert f" --current-replicas=1 --replicas={scaler['minReplicas']} " in scale
    assert readme[position - 1] == "kubectl apply -k kubernetes/overlays/prod"
    assert readme[position + 1].startswith("kubectl rollout status ")


def test_what_a_server_says_to_each_command_stands_in_one_place(readme: list[str]) -> None:
    page = (TEMPLATE / "docs/kubernetes.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\$ (.*)$", page, re.MULTILINE)
    need_a_server = [command for command in readme if command.startswith(CLUSTER) and not command.startswith(HERE)]

    assert len(need_a_server) > 10
    assert [command for command in need_a_server if command not in shown] == []


def _is_selected(selector: str, labels: dict[str, str]) -> bool:
    """Judge as kubectl does: a label that must be there, have a value, or not have it."""
    parts = [re.fullmatch(r"([^!=]+)(!?=)?(.*)", part) for part in selector.split(",")]
    return all(
        (labels.get(part[1]) == part[3]) == (part[2] == "=") if part[2] else part[1] in labels for part in parts if part
    )


def test_commands_of_the_readme_that_need_a_cluster_name_what_is_there(
    service: BakedProject, readme: list[str]
) -> None:
    switch_on(service)
    rendered = {overlay: _objects(service, overlay) for overlay in OVERLAYS}
    image = _container(rendered["dev"])["image"]
    assert [command.split()[-1] for command in readme if command.startswith("kind load ")] == [image]
    assert f"docker build -t {image} ." in readme

    checked = 0
    overlay = ""
    for command in readme:
        found = re.fullmatch(r"(?:pod=\$\()?kubectl (.*?)(?: \| head -n 1\))?(?: -- bash)?", command)
        if not found:
            continue
        words = shlex.split(found[1])
        if "-k" in words:
            overlay = Path(words[words.index("-k") + 1]).name
            assert (service.path / words[words.index("-k") + 1]).is_dir()
        if "--namespace" in words:
            assert words[words.index("--namespace") + 1] == _one(rendered[overlay], "Namespace")["metadata"]["name"]
        if "--selector" in words:
            selector = words[words.index("--selector") + 1]
            things = rendered[overlay] if words[0] == "apply" else [_pod(rendered[overlay]) | {"kind": "Pod"}]
            kinds = {each["kind"] for each in things if _is_selected(selector, each["metadata"]["labels"])}
            all_kinds = {each["kind"] for each in things}
            assert kinds in ({"Namespace"}, {"Pod"}, all_kinds - {"Deployment", "Service"}), selector
        for word in words:
            if re.match(r"(deployment|service|job)/", word):
                kind, _, name = word.partition("/")
                assert _one(rendered[overlay], kind.capitalize())["metadata"]["name"] == name
            if mapping := re.fullmatch(r"(\d+):(\d+)", word):
                assert int(mapping[2]) in {port["port"] for port in _one(rendered[overlay], "Service")["spec"]["ports"]}
        verb = words[:2] if words[0] == "rollout" else words[:1]
        help_text = "".join(
            subprocess.run([KUBECTL, *about], capture_output=True, text=True, check=True).stdout
            for about in ([*verb, "--help"], ["options"])
        )
        for option in (word.partition("=")[0] for word in words if word.startswith("-")):
            assert re.search(rf"^ +(-\w, )?{option}\b", help_text, re.MULTILINE), command
            checked += 1
    assert checked > 20


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

# A page that waits until there is a file, and one that takes a file.
VIEWS = """

@blueprint.get("/wait")
def wait_for_file() -> str:
    os.write(1, b"waiting\\n")
    while not os.path.exists("/dev/shm/go"):
        time.sleep(0.1)
    return "done"


@blueprint.post("/upload")
def upload() -> str:
    return str(len(request.files["file"].read()))
"""


@dataclass(frozen=True)
class Running:
    """A container that runs as the pod says, its port on this host, and the pod."""

    identity: str
    port: int
    pod: Manifest

    @property
    def container(self) -> Manifest:
        """Return what the pod says of the container."""
        [container] = self.pod["containers"]
        return container  # type: ignore[no-any-return]

    def python(self, code: str) -> str:
        """Run code inside; there may be nothing else that runs there."""
        return docker("exec", self.identity, "python", "-c", code)

    def ask(self, path: str, timeout: float = 60) -> socket.socket:
        """Send a request, and return the connection that its response comes on."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return connection

    def probe(self, name: str) -> socket.socket:
        """Send a probe as the kubelet would."""
        probe = self.container[name]
        return self.ask(probe["httpGet"]["path"], probe["timeoutSeconds"])

    def wait_until(self, true: Callable[[], object], what: str) -> None:
        """Wait until something has happened, for long: how fast this machine is proves nothing."""
        deadline = time.monotonic() + 120
        while not true():
            assert time.monotonic() < deadline, f"{what} did not happen\n{docker('logs', self.identity)}"
            time.sleep(0.1)

    def count(self, word: str) -> int:
        """Return how many lines of the log are this word."""
        return docker("logs", self.identity).splitlines().count(word)

    def release(self) -> None:
        """Let the requests that wait end."""
        self.python("open('/dev/shm/go', 'w')")


OK = b"HTTP/1.1 200 OK"


def read(connection: socket.socket) -> bytes:
    """Return how the response begins, or nothing if there is none, and close the connection as any client would."""
    with connection, suppress(ConnectionError):
        return connection.recv(len(OK))
    return b""


@pytest.fixture
def running(bake: Bake, engine: None, image_tag: str) -> Iterator[Running]:
    """Return a container of the image with the pod's user, limits, environment and volumes."""
    service = bake(deploy="kubernetes", python_version=PYTHONS[0], image="distroless")
    views = service.path / "app/views.py"
    text = views.read_text(encoding="utf-8").replace(
        "from flask import ", "import os, time\nfrom flask import request, "
    )
    views.write_text(text + VIEWS, encoding="utf-8")
    service.build_image(image_tag)
    objects = _objects(service)
    pod, container = _pod(objects)["spec"], _container(objects)
    user, limits = pod["securityContext"], container["resources"]["limits"]
    port = free_port()
    [volume], [mount] = pod["volumes"], container["volumeMounts"]
    [inside] = [each["containerPort"] for each in container["ports"] if each["name"] == "http"]
    options = [
        *("--user", f"{user['runAsUser']}:{user['runAsGroup']}", "--read-only", "--cap-drop", "ALL"),
        *("--security-opt", "no-new-privileges", "--publish", f"127.0.0.1:{port}:{inside}"),
        *("--cpus", limits["cpu"], "--memory", limits["memory"].removesuffix("i")),
        *(f"--env={name}={value}" for name, value in _one(objects, "ConfigMap")["data"].items()),
        *("--tmpfs", f"{mount['mountPath']}:size={volume['emptyDir']['sizeLimit'].removesuffix('i')}"),
    ]
    identity = docker("run", "--detach", *options, image_tag)
    try:
        probe = container["startupProbe"]
        wait_for_page(port, probe["periodSeconds"] * probe["failureThreshold"])
        yield Running(identity, port, pod)
    finally:
        docker("rm", "--force", identity)


@pytest.mark.container
def test_the_image_runs_as_the_pod_says(running: Running) -> None:
    # The first process and two workers: one for the CPU of the limit and one more.
    processes = ("top", running.identity, "-o", "pid")
    running.wait_until(lambda: len(docker(*processes).splitlines()) == 1 + 3, "the start of two workers")
    boundary, size = "--b", 900_000
    head = f'{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head.encode() + bytes(size) + f"\r\n{boundary}--\r\n".encode()
    upload = urllib.request.Request(
        f"http://127.0.0.1:{running.port}/upload", body, {"Content-Type": "multipart/form-data; boundary=b"}
    )
    with urllib.request.urlopen(upload, timeout=60) as response:
        assert response.read() == str(size).encode()

    docker("stop", "--time", str(running.pod["terminationGracePeriodSeconds"]), running.identity)

    assert docker("inspect", "--format", "{{.State.ExitCode}}", running.identity) == "0", "killed"


@pytest.mark.container
def test_busy_threads_take_the_pod_out_of_traffic_and_end_nothing(running: Running) -> None:
    health = ("inspect", "--format", "{{.State.Health.Status}}", running.identity)
    running.wait_until(lambda: docker(*health) == "healthy", "the first health check")
    threads = 2 * int(running.python("import app.settings; print(app.settings.load().threads)"))
    waiting: list[socket.socket] = []

    def all_are_busy() -> bool:
        # Which worker takes a request is chance: more are sent until each thread has one.
        waiting.append(running.ask("/wait"))
        return running.count("waiting") == threads

    running.wait_until(all_are_busy, "that all threads are busy")

    liveness = running.probe("livenessProbe")
    probe = running.container["readinessProbe"]
    held = (probe["failureThreshold"] - 1) * probe["periodSeconds"] + probe["timeoutSeconds"]
    assert running.container["livenessProbe"]["timeoutSeconds"] > held, "liveness fails before readiness has"
    for _ in range(probe["failureThreshold"]):
        with pytest.raises(TimeoutError):
            read(running.probe("readinessProbe"))
    assert docker(*health) == "healthy"

    running.release()
    assert read(liveness) == OK, "liveness failed although the pod gets on"
    assert {read(connection) for connection in waiting} == {OK}
    assert read(running.ask("/readyz")) == OK


@pytest.mark.container
def test_what_comes_after_sigterm_ends_with_the_service(running: Running) -> None:
    """Gunicorn takes no new connection then, and the kernel refuses none before the last worker has ended."""
    with running.ask("/wait") as waiting:
        running.wait_until(lambda: running.count("waiting"), "the request in flight")
        docker("kill", "--signal", "TERM", running.identity)
        late = [running.ask("/") for _ in range(10)]
        running.release()
        assert waiting.recv(100).startswith(OK), "the request in flight was lost"

    docker("wait", running.identity)
    assert {read(connection) for connection in late} <= {OK, b""}, "half a response"
