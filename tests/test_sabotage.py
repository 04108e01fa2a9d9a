"""The contract can fail: the template is broken in known ways, and each must turn its row red for the stated reason."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PYTHONS, Bake

pytestmark = pytest.mark.container


@dataclass(frozen=True)
class Sabotage:
    """Replace `old` by `new` in a file of a baked project; `test` must fail and print `reason`."""

    file: str
    old: str
    new: str
    test: str
    reason: str
    then: "Sabotage | None" = None

    def apply(self, project: Path) -> None:
        """Break the project. The place must be there exactly once, or the sabotage would prove nothing."""
        path = project / self.file
        text = path.read_text()
        assert text.count(self.old) == 1, f"{self.old!r} stands {text.count(self.old)} times in {self.file}"
        path.write_text(text.replace(self.old, self.new))
        if self.then:
            self.then.apply(project)


USER = "USER 10001:10001\n"
CHECK = 'CMD ["python", "-I", "-S", "healthcheck.py"]'
COMMAND = 'CMD ["python", "-m", "app"]'
PIP = ' && rm -rf "${packages:?}" && mkdir "$packages" && chmod a-x /usr/local/bin/pip* \\\n'
COPY_APP = "COPY app /srv/app\n"
ALLOW_LIST = "# An allow-list: nothing enters the build context unless it is named here.\n*\n"
EXECUTABLE, IMPORTABLE = "test_image.py::test_no_build_tools", "test_image.py::test_no_installer_can_be_imported"
SHIPPED = "test_image.py::test_nothing_but_the_service_is_shipped"
CLEAN = "test_service.py::test_a_clean_life_leaves_a_clean_log"
STOP = "test_service.py::test_a_stop_lets_requests_in_flight_finish"

SABOTAGES = {
    "root": Sabotage("Dockerfile", USER, "", "test_image.py::test_user_is_numeric_and_not_root", "USER is root"),
    "root by number": Sabotage(
        "Dockerfile", USER, "USER 0:0\n", "test_image.py::test_user_is_numeric_and_not_root", "USER is 0, which is root"
    ),
    "user by name": Sabotage(
        "Dockerfile", USER, "USER nobody\n", "test_image.py::test_user_is_numeric_and_not_root", "it must be a number"
    ),
    "shell form": Sabotage(
        "Dockerfile", COMMAND, "CMD python -m app", "test_image.py::test_command_is_in_exec_form", "in shell form"
    ),
    "stop by SIGINT": Sabotage(
        "Dockerfile",
        "STOPSIGNAL SIGTERM",
        "STOPSIGNAL SIGINT",
        "test_image.py::test_stop_signal_is_sigterm",
        "STOPSIGNAL is SIGINT",
    ),
    "no health check": Sabotage(
        "Dockerfile",
        f"HEALTHCHECK --interval=30s --timeout=3s --start-period=30s --start-interval=1s --retries=3 \\\n    {CHECK}",
        "HEALTHCHECK NONE",
        "test_image.py::test_health_check_exists_and_works",
        "HEALTHCHECK must be there",
    ),
    "health check by curl": Sabotage(
        "Dockerfile",
        CHECK,
        'CMD ["curl", "-f", "http://localhost:5000/healthz"]',
        "test_image.py::test_health_check_exists_and_works",
        "health is not healthy",
    ),
    "health check that always succeeds": Sabotage(
        "healthcheck.py",
        "sys.exit(main())",
        "main()",
        "test_image.py::test_health_check_fails_where_nothing_listens",
        "exit code 0 without a service",
    ),
    "labels lost": Sabotage(
        "Dockerfile",
        "org.opencontainers.image.revision=",
        "revision=",
        "test_image.py::test_label_is_there",
        "label revision is missing",
    ),
    "labels frozen": Sabotage(
        "Dockerfile",
        '"$VERSION"',
        '"1.0"',
        "test_image.py::test_labels_carry_what_the_build_was_told",
        "'VERSION': '1.0'",
    ),
    "a second port": Sabotage(
        "Dockerfile",
        "EXPOSE 5000",
        "EXPOSE 5000 8000",
        "test_image.py::test_exactly_one_port_is_exposed_and_serves",
        "exposed: ['5000/tcp', '8000/tcp']",
    ),
    "pip left in": Sabotage("Dockerfile", PIP, "", EXECUTABLE, "build tools in the image: ['/usr/local/bin/pip"),
    "pip as a module": Sabotage("Dockerfile", PIP, " \\\n", IMPORTABLE, "site-packages/pip/__init__.py"),
    "compiler left in": Sabotage(
        "Dockerfile",
        PIP,
        f"{PIP} && cp /bin/true /usr/bin/gcc-14 \\\n",
        EXECUTABLE,
        "'/usr/bin/gcc-14'",
    ),
    "deny-list": Sabotage(
        ".dockerignore",
        ALLOW_LIST,
        ".git\n",
        SHIPPED,
        "srv/notes.txt",
        then=Sabotage("Dockerfile", COPY_APP, "COPY . /srv\n", SHIPPED, "srv/notes.txt"),
    ),
    "everything below app": Sabotage(".dockerignore", "**/.*\n", "", SHIPPED, "srv/app/.env"),
    "secret copied": Sabotage(
        "Dockerfile",
        "    python -m venv --without-pip /venv \\\n",
        "    python -m venv --without-pip /venv && { cp /etc/pip.conf /venv || true; } \\\n",
        SHIPPED,
        "venv/pip.conf",
    ),
    "oversize bodies accepted": Sabotage(
        "app/security.py",
        "    app.before_request(refuse_oversize_body)\n",
        "",
        "test_service.py::test_an_oversize_body_is_refused",
        "[b'405'] == [b'413']",
    ),
    "errors as HTML": Sabotage(
        "app/__init__.py",
        "    errors.init_app(app)\n",
        "",
        "test_service.py::test_errors_are_problem_details",
        "text/html",
    ),
    "control socket on": Sabotage(
        "gunicorn.conf.py", "control_socket_disable = True", "", CLEAN, "nothing to complain about"
    ),
    "log lines as text": Sabotage(
        "app/settings.py", 'variable("json"', 'variable("text"', CLEAN, "this line is not a JSON object"
    ),
    "heartbeat on disk": Sabotage(
        "gunicorn.conf.py",
        'worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None',
        "",
        CLEAN,
        "the service does not answer; its log:",
    ),
    "probes logged": Sabotage(
        "app/logs.py",
        "if path in health.PATHS:",
        "if not path:",
        "test_service.py::test_probes_are_not_logged",
        "GET /healthz 200",
    ),
    "any request id believed": Sabotage(
        "app/request_ids.py",
        'r"[A-Za-z0-9._-]{1,128}"',
        'r".+"',
        "test_service.py::test_a_forged_request_id_is_replaced",
        "'a b' != 'a b'",
    ),
    "no time to finish": Sabotage(
        "app/settings.py", 'variable("7"', 'variable("1"', STOP, "request in flight was lost"
    ),
    "killed, not stopped": Sabotage(
        "Dockerfile", COMMAND, f'ENTRYPOINT ["sh", "-c", "\\"$@\\"; exit $?", "-"]\n{COMMAND}', STOP, "was lost"
    ),
    "grace too short": Sabotage(
        "compose.yaml",
        "stop_grace_period: 15s",
        "stop_grace_period: 5s",
        "test_compose.py::test_the_grace_period_is_longer_than_a_stop_takes",
        "assert (0 + 7) < 5",
    ),
}


@pytest.mark.parametrize("sabotage", SABOTAGES.values(), ids=SABOTAGES)
def test_the_contract_turns_red(bake: Bake, engine: None, sabotage: Sabotage) -> None:
    project = bake(python_version=PYTHONS[0])
    sabotage.apply(project.path)

    with pytest.raises(AssertionError) as failure:
        project.run("pytest", f"tests/container/{sabotage.test}", "-p", "no:cacheprovider", CI="true")

    report = str(failure.value)
    assert "exit code 1\n" in report, "the tests did not run"
    assert f"FAILED tests/container/{sabotage.test}" in report, report
    assert sabotage.reason in report, report
