"""The contract can fail: the template is broken in known ways, and each must turn its row red for the stated reason."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PYTHONS, Bake
from tools.questions import base_image

pytestmark = [pytest.mark.container, pytest.mark.slow]


@dataclass(frozen=True)
class Sabotage:
    """Replace `old` by `new` in a file of a baked project; `test` must fail and print `reason`."""

    file: str
    old: str
    new: str
    test: str
    reason: str
    then: "Sabotage | None" = None
    image: str = "slim"
    python: str = PYTHONS[0]

    def apply(self, project: Path) -> None:
        """Break the project. The place must be there exactly once, or the sabotage would prove nothing."""
        path = project / self.file
        text = path.read_text()
        assert text.count(self.old) == 1, f"{self.old!r} stands {text.count(self.old)} times in {self.file}"
        path.write_text(text.replace(self.old, self.new))
        if self.then:
            self.then.apply(project)


# Another Python whose base image is there.
OTHER = PYTHONS[1] if len(PYTHONS) > 1 else "3.13"
NO_ROOT = "test_image.py::test_user_is_numeric_and_not_root"
USER = "USER 10001:10001\nSTOP"
CHECK = 'CMD ["python", "-I", "-S", "healthcheck.py"]'
COMMAND = 'CMD ["python", "-m", "app"]'
PIP = ' && rm -rf "${packages:?}" && mkdir "$packages" && chmod a-x /usr/local/bin/pip* \\\n'
COPY_APP = "COPY app /srv/app\n"
ALLOW_LIST = "# An allow-list: nothing enters the build context unless it is named here.\n*\n"
EXECUTABLE, IMPORTABLE = "test_image.py::test_no_build_tools", "test_image.py::test_no_installer_can_be_imported"
SHIPPED = "test_build.py::test_nothing_but_the_service_is_shipped"
COMPILED = "test_image.py::test_all_code_is_compiled"
CLEAN = "test_service.py::test_a_clean_life_leaves_a_clean_log"
WITHOUT_METRICS = "test_metrics.py::test_without_metrics_there_is_nothing_of_them[off]"
STOP = "test_service.py::test_a_stop_lets_requests_in_flight_finish"
SOON = "test_image.py::test_a_service_that_hangs_is_noticed_soon"
WRITABLE = "test_image.py::test_code_is_not_writable"
SECRET = "test_image.py::test_no_variable_of_the_image_holds_a_secret"
LOOKUPS = "test_image.py::test_certificates_time_zones_and_names_are_found"
EFFECT = "test_service.py::test_a_setting_has_its_effect"
HOPS = "test_service.py::test_as_many_proxies_are_believed_as_there_are[no proxy]"
FAILURE = "test_service.py::test_a_failure_is_told_and_nothing_else_of_it"
LINES = "test_service.py::test_every_request_has_one_line_with_exactly_these_fields"
CANARY = "test_service.py::test_no_line_holds_what_a_client_keeps_secret"
SHARED = "test_compose.py::test_nothing_of_the_host_is_shared"
MEANT = "test_compose.py::test_its_environment_is_what_is_meant"
# Gives a file the capability to open the ports below 1024.
CAPABLE = 'import os; os.setxattr("/bin/able", "security.capability", bytes.fromhex("0100000200040000" + "00" * 12))'
ENV = "PYTHONUNBUFFERED=1 PORT"
CONFIGURATION = 'forwarded_allow_ips = ""\n'
READ_ONLY = "    # Nothing to write to, no privileges to gain"
ENVIRONMENT = 'environment: { PORT: "${PORT:-5000}" }\n    env_file'

SABOTAGES = {
    "root": Sabotage("Dockerfile", USER, "STOP", NO_ROOT, "USER is root"),
    "root by number": Sabotage(
        "Dockerfile",
        USER,
        "USER 0:0\nSTOP",
        NO_ROOT,
        "USER is 0, which is root",
    ),
    "user by name": Sabotage(
        "Dockerfile",
        USER,
        "USER nobody\nSTOP",
        NO_ROOT,
        "it must be a number",
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
        "not healthy; last probe",
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
        "    --mount=type=secret,id=pip,target=/etc/pip.conf \\\n"
        "    python -m venv --without-pip /venv && { cp /etc/pip.conf /venv || true; } \\\n",
        SHIPPED,
        "venv/pip.conf",
    ),
    "oversize bodies accepted": Sabotage(
        "app/bodies.py",
        "        if announced > limit:\n            raise RequestEntityTooLarge\n",
        "",
        "test_service.py::test_an_oversize_body_is_refused",
        "[b'405'] == [b'413']",
    ),
    "chunked bodies cut": Sabotage(
        "app/bodies.py",
        "            if len(whole) > limit:\n                raise RequestEntityTooLarge\n",
        "            if len(whole) > limit:\n                break\n",
        "test_service.py::test_an_oversize_chunked_body_is_refused_and_not_cut",
        "[b'200'] == [b'413']",
    ),
    "a part of a body taken for the whole": Sabotage(
        "app/bodies.py",
        "            if len(data) < wanted:\n",
        "            if False:\n",
        "test_service.py::test_a_body_that_ends_early_is_not_taken_for_whole[plain]",
        "[b'200'] == [b'400']",
    ),
    "a malformed body is the service's fault": Sabotage(
        "app/bodies.py",
        "        except Exception:  # servers",
        "        except KeyError:  # servers",
        "test_service.py::test_a_body_that_ends_early_is_not_taken_for_whole[malformed chunk]",
        "[b'500'] == [b'400']",
    ),
    "connections closed under the client": Sabotage(
        "app/bodies.py",
        "    if body := environ.get(ENVIRON_KEY):\n",
        "    if body := environ.get(None):\n",
        "test_service.py::test_a_client_that_is_still_sending_gets_the_refusal",
        "assert [[",
    ),
    "a view ends its worker": Sabotage(
        "app/middleware.py",
        "        except BaseException as error:\n",
        "        except Exception as error:\n",
        "test_service.py::test_a_view_cannot_end_its_worker",
        "RemoteDisconnected",
    ),
    "IPv4 only": Sabotage(
        "gunicorn.conf.py",
        "'[::]' if socket.has_dualstack_ipv6() else '0.0.0.0'",
        "'0.0.0.0'",
        "test_service.py::test_it_serves_on_ipv6",
        "nothing listens on the address of IPv6",
    ),
    "SIGTERM unheard at first": Sabotage(
        "app/__main__.py",
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n",
        "",
        "test_service.py::test_sigterm_has_a_handler_before_anything_is_loaded",
        "['False', 'False'] == ['True', 'False']",
    ),
    "ETags of fixed dates": Sabotage(
        "Dockerfile",
        " + \\\n && find /srv -type f ! -name '*.py' ! -name '*.pyc' \\\n"
        """        -exec sh -c 'for file; do touch -d "@$(cksum <"$file" | cut -d" " -f1)" "$file"; done' - {} +\n""",
        " +\n",
        "test_build.py::test_a_file_that_has_changed_is_sent_again",
        "a file that has changed has the same ETag",
    ),
    "modes of the checkout": Sabotage(
        "Dockerfile",
        "chmod -R u=rwX,go=rX /srv \\\n && ",
        "",
        "test_build.py::test_a_checkout_for_one_user_only_builds_the_same_image",
        "the service does not answer",
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
        "app/settings.py", 'default="json"', 'default="text"', CLEAN, "this line is not a JSON object"
    ),
    "temporary files on disk": Sabotage(
        "Dockerfile",
        " TMPDIR=/dev/shm",
        "",
        "test_service.py::test_the_page_is_served",
        "the service does not answer; its log ends with",
    ),
    "probes logged": Sabotage(
        "app/access_log.py",
        "path not in health.PATHS and ",
        "",
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
        "app/settings.py", "3600, default=7)", "3600, default=1)", STOP, "request in flight was lost"
    ),
    "killed, not stopped": Sabotage(
        "Dockerfile", COMMAND, f'ENTRYPOINT ["sh", "-c", "\\"$@\\"; exit $?", "-"]\n{COMMAND}', STOP, "was lost"
    ),
    "secret by ARG": Sabotage(
        "Dockerfile",
        "FROM base AS builder\n",
        'FROM base AS builder\nARG TOKEN=c0ffee-canary-7d1b\nRUN echo "$TOKEN" >/root/.netrc && mkdir /venv'
        " && cp /root/.netrc /venv/\n",
        SHIPPED,
        "venv/.netrc",
    ),
    "standard library uncompiled": Sabotage(
        "Dockerfile",
        ' && python -m compileall -qf --invalidation-mode unchecked-hash -x site-packages "$lib" \\\n',
        "",
        COMPILED,
        "modules not compiled, ['/usr/local/lib/python3",
    ),
    "compiled by time stamp": Sabotage(
        "Dockerfile",
        "compileall -q --invalidation-mode unchecked-hash /venv",
        "compileall -q /venv",
        COMPILED,
        "compiled by time stamp",
    ),
    "code uncompiled": Sabotage(
        "Dockerfile",
        "python -I -S -m compileall -q --invalidation-mode unchecked-hash /srv \\\n && ",
        "",
        COMPILED,
        "modules not compiled, ['/srv/app/__init__.py'",
    ),
    "imports of the service put off": Sabotage(
        "app/__init__.py",
        'sys.get_lazy_imports() == "all"',
        'sys.get_lazy_imports() == "some"',
        "test_image.py::test_whatever_the_service_imports_is_loaded_at_its_start",
        "app.security: ['WSGIEnvironment', 'ProxyFix', 'Settings']",
        python="3.15",
    ),
    "code of the service's user": Sabotage(
        "Dockerfile",
        "COPY --link --from=code /srv /srv",
        "COPY --link --chown=10001 --from=code /srv /srv",
        "test_image.py::test_code_is_not_writable",
        "the service could change",
    ),
    "setuid files": Sabotage(
        "Dockerfile",
        " && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \\\n",
        "",
        "test_image.py::test_no_file_gives_the_rights_of_its_owner",
        "'/usr/bin/su'",
    ),
    "a folder for everybody": Sabotage(
        "Dockerfile",
        "# ---- wheels",
        "RUN mkdir -m 777 /data\n# ---- wheels",
        "test_image.py::test_only_temporary_folders_are_writable_by_all",
        "writable by all: ['/data']",
    ),
    "too large": Sabotage(
        "Dockerfile",
        "# ---- wheels",
        "RUN head -c 15000000 /dev/urandom >/ballast\n# ---- wheels",
        "test_image.py::test_size_and_layers_stay_within_budget",
        "MB on disk",
    ),
    "a little too large": Sabotage(
        "Dockerfile",
        "# ---- wheels",
        "RUN head -c 2000000 /dev/urandom >/ballast\n# ---- wheels",
        "test_image.py::test_little_is_added_to_the_base",
        "MB above python:",
    ),
    "code before dependencies": Sabotage(
        "Dockerfile",
        "FROM base AS builder\n",
        f"FROM base AS builder\n{COPY_APP}",
        "test_build.py::test_a_change_of_code_installs_nothing",
        "the packages were installed again",
    ),
    "lock without hashes": Sabotage(
        "requirements.txt",
        "\nflask==",
        "\nunhashed==1.0\nflask==",
        "test_build.py::test_everything_is_locked_with_hashes",
        "['unhashed==1.0']",
    ),
    "hashes not asked for": Sabotage(
        "Dockerfile",
        " --require-hashes -r /tmp/requirements.txt",
        " -r /tmp/requirements.txt",
        "test_build.py::test_everything_is_locked_with_hashes",
        "without --require-hashes",
    ),
    "dates of the build": Sabotage(
        "Dockerfile",
        " \\\n && find /venv -exec touch -hd @0 {} +",
        "",
        "test_build.py::test_two_builds_of_one_source_give_the_same_layers",
        ": /venv/bin: date",
    ),
    "virtual environment moved": Sabotage(
        "Dockerfile",
        "--link --from=builder /venv /venv",
        "--link --from=builder /venv /opt/venv",
        "test_service.py::test_the_page_is_served",
        "no such file or directory",
        then=Sabotage(
            "Dockerfile",
            "PATH=/venv/bin:$PATH PYTHONUNBUFFERED",
            "PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED",
            "",
            "",
            then=Sabotage("Dockerfile", COMMAND, 'CMD ["gunicorn"]', "", ""),
        ),
    ),
    "files for one user only": Sabotage(
        "Dockerfile",
        "COPY --link --from=code /srv /srv",
        "COPY --link --chown=10001 --chmod=500 --from=code /srv /srv",
        "test_service.py::test_it_runs_as_any_user",
        "the service does not answer",
    ),
    "needs the network": Sabotage(
        "app/__init__.py",
        "    app = Flask(__name__)\n",
        '    import socket\n\n    socket.socket(type=2).connect(("192.0.2.1", 9))\n    app = Flask(__name__)\n',
        "test_service.py::test_it_runs_without_a_network",
        "not healthy",
    ),
    "health check without an answer": Sabotage(
        "healthcheck.py",
        'return None if response.split(None, 2)[1:2] == [b"200"]',
        "return None if True",
        "test_service.py::test_it_becomes_unhealthy_when_its_workers_hang",
        "not unhealthy",
        then=Sabotage(
            "healthcheck.py",
            'response = ask(int(os.environ["PORT"]))',
            'response = connect(int(os.environ["PORT"])).close() or b""',
            "",
            "",
        ),
    ),
    "healthy after half a minute": Sabotage(
        "Dockerfile",
        " --start-interval=1s",
        "",
        "test_service.py::test_it_becomes_healthy_soon",
        "the first probe comes 30 s after the start",
    ),
    "workers that take memory apart": Sabotage(
        "gunicorn.conf.py",
        "prepare_the_end(os.getpid())\n",
        "",
        "test_service.py::test_a_stop_takes_no_more_memory_than_the_service",
        "the kernel killed a process for lack of memory",
    ),
    "drain removed": Sabotage(
        "gunicorn.conf.py",
        "                prepare_the_drain(arbiter, environment.drain_delay)\n",
        "                pass\n",
        "test_service.py::test_readiness_ends_before_the_service_does",
        "the service stopped before /readyz said that it would",
    ),
    "a fixed port": Sabotage(
        "gunicorn.conf.py",
        "{environment.port}",
        "5000",
        "test_service.py::test_the_port_is_taken_from_the_environment",
        "the service does not answer",
    ),
    "workers fixed at 4": Sabotage(
        "gunicorn.conf.py",
        "environment.web_concurrency or capacity.default_workers(environment)",
        "4",
        "test_service.py::test_the_number_of_workers_is_taken_from_the_environment",
        "assert 4 == 1",
    ),
    "environment unchecked": Sabotage(
        "app/__main__.py",
        'if settings.load().metrics == "prometheus":',
        "if False:",
        "test_service.py::test_bad_values_end_the_container_with_one_clear_line_each",
        "Traceback (most recent call last)",
    ),
    "limits ignored": Sabotage(
        "app/capacity.py",
        "fitting = 1 + further",
        "fitting = math.inf",
        "test_service.py::test_workers_follow_the_limits",
        "== 1",
    ),
    "too much for the smallest limit": Sabotage(
        "app/__init__.py",
        "config = config or settings.load()\n",
        "config = config or settings.load()\n    global BALLAST\n    BALLAST = bytearray(80_000_000)\n",
        "test_service.py::test_the_smallest_memory_limit_is_enough",
        "the service does not answer",
    ),
    "one process": Sabotage(
        "gunicorn.conf.py",
        "environment.web_concurrency or capacity.default_workers(environment)",
        "1",
        "test_faults.py::test_a_killed_worker_takes_only_its_own_requests_along",
        "a single worker holds every request",
    ),
    "a cache without bound": Sabotage(
        "app/views.py",
        '    return "<p>Hello',
        '    CACHE.append(bytearray(1_000))\n    return "<p>Hello',
        "test_faults.py::test_memory_after_load_stays_within_budget",
        "memory grew in each of 6 rounds of 2000 requests",
        then=Sabotage("app/views.py", "blueprint = ", "CACHE: list[bytearray] = []\nblueprint = ", "", ""),
    ),
    "metrics: each worker for itself": Sabotage(
        "app/metrics.py",
        "import time\n",
        'import os\nimport time\n\nos.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)\n',
        "test_metrics.py::test_the_requests_of_all_workers_are_added_up",
        "0 of 900",
    ),
    "metrics: the dead at work": Sabotage(
        "app/exporter.py",
        "                mark_process_dead(pid)",
        "                pass",
        "test_metrics.py::test_no_count_goes_backwards_where_workers_are_killed",
        "still in flight",
    ),
    "metrics: paths as routes": Sabotage(
        "app/metrics.py",
        "request.url_rule.rule if request.url_rule else UNMATCHED",
        "request.path",
        "test_metrics.py::test_clients_cannot_add_series",
        "not counted",
    ),
    "metrics: verbs as methods": Sabotage(
        "app/metrics.py",
        "            method = method if method in METHODS else OTHER_METHOD\n",
        "",
        "test_metrics.py::test_clients_cannot_add_series",
        "VERB99",
    ),
    "metrics: no separate process": Sabotage(
        "app/__main__.py",
        "_exporter = start_exporter()",
        'os.environ["PROMETHEUS_MULTIPROC_DIR"] = "/dev/shm"',
        "test_metrics.py::test_metrics_are_there_while_the_workers_hang",
        "one more process than workers",
    ),
    "metrics: a scraper takes a thread": Sabotage(
        "app/exporter.py",
        "threading.active_count() < MAX_CONNECTIONS",
        "True",
        "test_metrics.py::test_slow_scrapers_hurt_nobody",
        "each slow scraper holds a thread",
    ),
    "metrics: a hook of gunicorn": Sabotage(
        "app/__main__.py",
        "        _exporter = start_exporter()",
        '        os.environ["PROMETHEUS_MULTIPROC_DIR"] = "/dev/shm"',
        "test_metrics.py::test_hooks_of_the_owner_do_not_switch_metrics_off",
        "one more process than workers",
        then=Sabotage(
            "gunicorn.conf.py",
            "prepare_the_fork(os.getpid())",
            "\n\ndef on_starting(_):\n    from app.__main__ import start_exporter\n\n    start_exporter()\n",
            "",
            "",
        ),
    ),
    "metrics: always on": Sabotage(
        "app/__main__.py",
        'if settings.load().metrics == "prometheus":',
        "if True:",
        WITHOUT_METRICS,
        "(4, True, False, True) == (3, False, False, False)",
    ),
    "metrics: imported by all": Sabotage(
        "app/__init__.py",
        "    from app import errors,",
        "    import prometheus_client\n\n    from app import errors,",
        WITHOUT_METRICS,
        "(3, False, False, True) == (3, False, False, False)",
    ),
    "metrics: on the port of the service": Sabotage(
        "app/settings.py",
        '        if values.get("metrics") == "prometheus" and ',
        "        if False and ",
        "test_metrics.py::test_metrics_need_a_port_of_their_own",
        "too many values to unpack",
    ),
    "grace too short": Sabotage(
        "compose.yaml",
        "stop_grace_period: 15s",
        "stop_grace_period: 5s",
        "test_compose.py::test_the_grace_period_is_longer_than_a_stop_takes",
        "assert (0 + 7) < 5",
    ),
    "limits that compose ignores": Sabotage(
        "compose.yaml",
        "    deploy:\n",
        "    x-deploy:\n",
        "test_compose.py::test_every_resource_has_a_limit",
        "no limit for: cpus, memory, pids",
    ),
    "a log without end": Sabotage(
        "compose.yaml",
        '      options: { mode: non-blocking, max-buffer-size: 4m, max-size: 10m, max-file: "3" }\n',
        "",
        "test_compose.py::test_what_compose_promises_is_in_force[LogConfig]",
        "LogConfig of the running container is {'Type': 'json-file', 'Config': {}}",
    ),
    "capabilities kept": Sabotage(
        "compose.yaml",
        "    cap_drop: [ALL]\n",
        "",
        "test_compose.py::test_the_kernel_enforces_it",
        "capabilities 0 2818844155",
    ),
    "not started again": Sabotage(
        "compose.yaml",
        "restart: unless-stopped",
        'restart: "no"',
        "test_compose.py::test_it_starts_again_after_its_process_has_ended",
        "the container was not started again",
    ),
    "proxy: replicas published": Sabotage(
        "compose.proxy.yaml",
        "    ports: !reset []\n",
        "",
        "test_proxy.py::test_the_proxy_alone_can_be_reached",
        "web-a is published",
    ),
    "proxy: addresses believed": Sabotage(
        "haproxy.cfg",
        "    http-request set-header X-Forwarded-For %[src]\n",
        "",
        "test_proxy.py::test_a_client_cannot_choose_its_address",
        "assert '192.0.2.1' != '192.0.2.1'",
    ),
    "proxy: requests passed on as they come": Sabotage(
        "haproxy.cfg",
        "    option http-buffer-request\n",
        "",
        "test_proxy.py::test_slow_clients_do_not_stop_others_being_served[length]",
        "assert 503 == 200",
    ),
    "proxy: buffers of 16 kB": Sabotage(
        "haproxy.cfg",
        "    tune.bufsize 1114112\n    tune.buffers.limit 800\n",
        "",
        "test_proxy.py::test_slow_clients_do_not_stop_others_being_served[20 kB at once]",
        "assert 503 == 200",
    ),
    "H4 asked every half hour": Sabotage(
        "Dockerfile",
        "--interval=30s",
        "--interval=30m",
        SOON,
        "--interval=1800s and --retries=3: noticed after minutes",
    ),
    "H5 forgiven 300 times": Sabotage("Dockerfile", "--retries=3", "--retries=300", SOON, "and --retries=300: noticed"),
    "H6 a probe that may take minutes": Sabotage("Dockerfile", "--timeout=3s", "--timeout=5m", SOON, "--timeout=300s"),
    "D1 the folder of the code": Sabotage(
        "Dockerfile",
        "find /srv -exec touch -hd @0 {} + ",
        "find /srv -exec touch -hd @0 {} + && chown 10001 /srv/app ",
        WRITABLE,
        "1 of its files and folders: ['/srv/app']",
    ),
    "D1 a folder for the group": Sabotage(
        "Dockerfile",
        "find /srv -exec touch -hd @0 {} + ",
        "find /srv -exec touch -hd @0 {} + && chmod g+w /srv/app ",
        WRITABLE,
        "'/srv/app'",
    ),
    "D3 a password in ENV": Sabotage(
        "Dockerfile", ENV, f"DB_PASSWORD=hunter2 {ENV}", SECRET, "who pulls the image reads DB_PASSWORD"
    ),
    "D3 a password in a URL": Sabotage(
        "Dockerfile", ENV, f"CACHE=redis://u:hunter2@cache/0 {ENV}", SECRET, "who pulls the image reads CACHE"
    ),
    "D3 a token as an argument": Sabotage(
        "Dockerfile",
        "FROM ${RUNTIME} AS runtime\n",
        "FROM ${RUNTIME} AS runtime\nARG API_TOKEN=hunter2\n",
        SECRET,
        "API_TOKEN",
    ),
    "D5 a stage on another Python": Sabotage(
        "Dockerfile",
        "FROM upstream AS base",
        f"FROM {base_image(OTHER)} AS base",
        "test_image.py::test_python_is_the_one_of_the_base",
        f"Python {OTHER}",
    ),
    "D8 a tool of the network": Sabotage(
        "Dockerfile",
        PIP,
        f"{PIP} && cp /bin/true /usr/bin/nc.openbsd \\\n",
        "test_image.py::test_no_tool_of_the_network_is_added",
        "tools of the network in the image: ['/usr/bin/nc.openbsd']",
    ),
    "D10 capabilities of a file": Sabotage(
        "Dockerfile",
        PIP,
        f"{PIP} && cp /bin/true /bin/able && python -c '{CAPABLE}' \\\n",
        "test_image.py::test_no_file_gives_the_rights_of_its_owner",
        "file capabilities, which nothing may have: ['/usr/bin/able']",
    ),
    "R4 settings overruled by the image": Sabotage(
        "Dockerfile", ENV, f'GUNICORN_CMD_ARGS="--timeout=30" {ENV}', EFFECT, "TIMEOUT=2 has no effect: gunicorn has 30"
    ),
    "R3 requests in flight are waited for": Sabotage(
        "gunicorn.conf.py",
        "prepare_the_end(os.getpid())\n",
        "prepare_the_end(os.getpid())\n\n\ndef post_worker_init(worker):\n    worker.cfg.set('graceful_timeout', 7)\n\n"
        "\ndef when_ready(server):\n    server.cfg.set('graceful_timeout', 7)\n",
        EFFECT,
        "GRACEFUL_TIMEOUT=1: a request",
    ),
    "E8 another limit of bodies": Sabotage(
        "app/middleware.py",
        "limit: int) -> None:\n        ",
        "limit: int) -> None:\n        limit = 2**20\n        ",
        EFFECT,
        "MAX_BODY_BYTES=10",
    ),
    "L6 one level for all": Sabotage(
        "gunicorn.conf.py", "environment.log_level, ", '"info", ', EFFECT, "LOG_LEVEL=warning: "
    ),
    "E4 gunicorn trusts everybody": Sabotage(
        "gunicorn.conf.py", CONFIGURATION, 'forwarded_allow_ips = "*"\n', HOPS, "with TRUSTED_HOPS=0, views see"
    ),
    "E5 a host is believed": Sabotage(
        "app/middleware.py",
        "        request_id = request_ids.enter(environ)\n",
        '        environ["HTTP_HOST"] = environ.get("HTTP_X_FORWARDED_HOST", environ.get("HTTP_HOST", ""))\n'
        "        request_id = request_ids.enter(environ)\n",
        HOPS,
        "with TRUSTED_HOPS=0, views see",
    ),
    "E2 no headers on a failure": Sabotage(
        "app/middleware.py",
        "            headers = security.completed(",
        '            headers = headers if status[:1] == "5" else security.completed(',
        FAILURE,
        "a response with status 500 lacks X-Content-Type-Options",
    ),
    "E3 Werkzeug's debugger": Sabotage(
        "app/__init__.py",
        "    middleware.init_app(app, config)\n",
        "    middleware.init_app(app, config)\n    if app.debug:\n        import werkzeug.debug\n\n"
        "        app.wsgi_app = werkzeug.debug.DebuggedApplication(app.wsgi_app, evalex=True)\n",
        FAILURE,
        "the page shows what has failed, and where",
    ),
    "L1 no line for a failure": Sabotage(
        "app/access_log.py",
        "if path not in health.PATHS and ",
        'if path not in health.PATHS and str(resp.status)[0] != "5" and ',
        LINES,
        "0 access lines of a request with status 500",
    ),
    "L3 the address in the line": Sabotage(
        "app/access_log.py",
        '"duration_ms": milliseconds}',
        '"duration_ms": milliseconds, "address": req.remote_addr[0]}',
        LINES,
        "fields too many or too few: ['address']",
    ),
    "L4 headers in the log": Sabotage(
        "gunicorn.conf.py",
        "prepare_the_end(os.getpid())\n",
        "prepare_the_end(os.getpid())\n\n\ndef pre_request(worker, req):\n    worker.log.debug('%s', req.headers)\n",
        CANARY,
        "what a client keeps secret is in the log",
    ),
    "L2 the query of a failure": Sabotage(
        "app/middleware.py",
        'environ.get("PATH_INFO"), environ["REQUEST_METHOD"])',
        'environ.get("RAW_URI"), environ["REQUEST_METHOD"])',
        CANARY,
        "what a client keeps secret is in the log",
    ),
    "P1 the engine's socket": Sabotage(
        "compose.yaml",
        READ_ONLY,
        f'    volumes: ["/var/run/docker.sock:/var/run/docker.sock"]\n{READ_ONLY}',
        SHARED,
        "/docker.sock as /var/run/docker.sock",
    ),
    "P1 the host's files": Sabotage(
        "compose.yaml", READ_ONLY, f'    volumes: ["/etc:/host:ro"]\n{READ_ONLY}', SHARED, "/etc as /host"
    ),
    "P2 the host's processes": Sabotage(
        "compose.yaml", READ_ONLY, f"    pid: host\n{READ_ONLY}", SHARED, "PidMode=host"
    ),
    "P2 a signal to the host's processes": Sabotage(
        "compose.yaml",
        READ_ONLY,
        f"    pid: host\n{READ_ONLY}",
        "test_compose.py::test_it_starts_again_after_its_process_has_ended",
        "PidMode is host: SIGTERM would reach processes outside of the container",
    ),
    "P3 the host's memory": Sabotage("compose.yaml", READ_ONLY, f"    ipc: host\n{READ_ONLY}", SHARED, "IpcMode=host"),
    "P4 one more port": Sabotage(
        "compose.yaml",
        '"${PORT:-5000}" }]\n',
        '"${PORT:-5000}" }, { host_ip: "127.0.0.1", target: 9464 }]\n',
        "test_compose.py::test_only_its_port_is_published",
        "published: 5000/tcp, 9464/tcp",
    ),
    "P5 a hop is trusted": Sabotage(
        "compose.yaml",
        ENVIRONMENT,
        ENVIRONMENT.replace(" }\n", ', TRUSTED_HOPS: "1" }\n'),
        MEANT,
        "needs: TRUSTED_HOPS=1",
    ),
    "P5 a debugger for all": Sabotage(
        "compose.yaml",
        ENVIRONMENT,
        ENVIRONMENT.replace(" }\n", ', FLASK_DEBUG: "1" }\n'),
        MEANT,
        "needs: FLASK_DEBUG=1",
    ),
    "proxy: not trusted": Sabotage(
        "compose.proxy.yaml",
        "{TRUSTED_HOPS:-1}",
        "{TRUSTED_HOPS:-0}",
        "test_proxy.py::test_a_client_cannot_choose_its_address",
        "all clients have the address of the proxy",
    ),
    "proxy: one hop too many": Sabotage(
        "compose.proxy.yaml",
        "{TRUSTED_HOPS:-1}",
        "{TRUSTED_HOPS:-2}",
        "test_proxy.py::test_a_client_cannot_choose_its_address",
        "all clients have the address of the proxy",
    ),
    "proxy: the engine's socket": Sabotage(
        "compose.proxy.yaml",
        'haproxy.cfg:ro"]',
        'haproxy.cfg:ro", "/var/run/docker.sock:/var/run/docker.sock"]',
        "test_proxy.py::test_nothing_of_the_host_is_shared",
        "proxy shares with the host: ",
    ),
    "X1 distroless: no certificates": Sabotage(
        "distroless.sh",
        "cp -L /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/\n",
        "",
        LOOKUPS,
        "the certificates that TLS",
        image="distroless",
    ),
    "X1 distroless: no time zones": Sabotage(
        "distroless.sh",
        "cp -a /usr/share/zoneinfo usr/share/\n",
        "",
        LOOKUPS,
        "no way to find time zones",
        image="distroless",
    ),
    "X1 distroless: no names": Sabotage(
        "distroless.sh", "protocols,services} etc/", "protocols} etc/", LOOKUPS, "the port of https", image="distroless"
    ),
    "distroless: a shell": Sabotage(
        "distroless.sh",
        "cp -a /usr/local/bin/python* usr/local/bin/\n",
        "cp -a /usr/local/bin/python* usr/local/bin/\ncp /bin/dash usr/local/bin/sh\n",
        "test_image.py::test_a_distroless_image_has_neither_shell_nor_package_manager",
        "in a distroless image: ['/usr/local/bin/sh']",
        image="distroless",
    ),
    "distroless: a library forgotten": Sabotage(
        "distroless.sh",
        "ldconfig -r .\n",
        "rm usr/lib/*/libsqlite3*\nldconfig -r .\n",
        "test_image.py::test_every_extension_of_python_can_be_loaded",
        "libsqlite3.so.0",
        image="distroless",
    ),
    "distroless: dates": Sabotage(
        "distroless.sh",
        "find . -exec touch -hd @0 {} +\n",
        "",
        "test_build.py::test_two_builds_of_one_source_give_the_same_layers",
        ": /usr/local/bin: date",
        image="distroless",
    ),
    "distroless: all of Debian": Sabotage(
        "distroless.sh",
        "cp -a /usr/share/zoneinfo usr/share/\n",
        "cp -a /usr/share/zoneinfo /usr/bin usr/share/\n",
        "test_image.py::test_size_and_layers_stay_within_budget",
        "MB on disk",
        image="distroless",
    ),
}


@pytest.mark.parametrize("sabotage", SABOTAGES.values(), ids=SABOTAGES)
def test_the_contract_turns_red(bake: Bake, proxy_image: None, sabotage: Sabotage) -> None:
    if sabotage.python not in PYTHONS:
        pytest.skip(f"no image of Python {sabotage.python}: PYTHONS names {' '.join(PYTHONS)} only")
    project = bake(python_version=sabotage.python, image=sabotage.image)
    sabotage.apply(project.path)

    with pytest.raises(AssertionError) as failure:
        project.run("pytest", f"tests/container/{sabotage.test}", "-p", "no:cacheprovider", CI="true")

    report = str(failure.value)
    assert "exit code 1\n" in report, "the tests did not run"
    # ERROR: the image does not serve at all, which the fixture that starts it says.
    assert re.search(f"(FAILED|ERROR) tests/container/{re.escape(sabotage.test)}", report), report
    assert sabotage.reason in report, report
