"""The metrics of a service, judged by Prometheus' own tool. What they count is tested in the service."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PYTHONS, Bake, docker, free_port, skip_or_fail, wait_for_page
from tests.readme import blocks, page_of_docs
from tools.demo import page

PAGE = page_of_docs("metrics")


@pytest.fixture(scope="module")
def promtool() -> str:
    """Return the path of promtool, or skip where there is none."""
    return shutil.which("promtool") or skip_or_fail("metrics are judged by promtool, which is not here")


def _judged(*command: str, text: str | None = None) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}{done.stderr}"


@pytest.mark.container
def test_promtool_has_no_findings_and_a_metric_of_the_owner_is_among_them(
    bake: Bake, promtool: str, image_tag: str
) -> None:
    project = bake(python_version=PYTHONS[0])
    [metric] = re.findall(r"`(prometheus_client\.Counter\(.+?\))`", PAGE)
    views = project.path / "app/views.py"
    code = views.read_text().replace("from flask", "import prometheus_client\nfrom flask")
    code = code.replace("blueprint = ", f"ORDERS = {metric}\nblueprint = ").replace(
        "    return", "    ORDERS.inc()\n    return"
    )
    views.write_text(code)
    project.build_image(image_tag)

    port, scraped = free_port(), free_port()
    publish = (f"--publish=127.0.0.1:{port}:5000", f"--publish=127.0.0.1:{scraped}:9464")
    identity = docker("run", "--detach", "--env=METRICS=prometheus", "--env=WEB_CONCURRENCY=3", *publish, image_tag)
    try:
        for _ in range(10):
            wait_for_page(port)
        metrics = page(scraped, "/metrics")
    finally:
        docker("rm", "--force", identity)

    assert "\norders_total 10.0\n" in metrics
    for name in re.findall(r"^\| `(http_\w+)` \|", PAGE, re.MULTILINE):
        assert f"# TYPE {name} " in metrics
    _judged(promtool, "check", "metrics", text=metrics)


def test_promtool_can_read_the_configuration_of_the_page(promtool: str, tmp_path: Path) -> None:
    [configuration] = blocks(PAGE, "yaml")
    (tmp_path / "prometheus.yml").write_text(configuration)

    assert "names: [web]" in configuration
    _judged(promtool, "check", "config", str(tmp_path / "prometheus.yml"))
