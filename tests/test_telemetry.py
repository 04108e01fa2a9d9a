"""docs/recipes/telemetry-metrics.md: a collector gets what is measured, and the log names the same trace."""

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import BIN, Bake, docker, free_port, wait_for_page
from tests.recipes import follow, started_by, with_all_before

# A collector that writes down what it gets. It runs with the packages of the service, which has those of the protocol.
COLLECTOR = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print(MessageToJson(REQUESTS[self.path].FromString(body), indent=None), flush=True)
        self.send_response(200)
        self.end_headers()


ThreadingHTTPServer(("", int(sys.argv[1])), Collector).serve_forever()
"""

pytestmark = [pytest.mark.container, pytest.mark.slow]


@pytest.fixture
def collected(bake: Bake, image_tag: str, tmp_path: Path) -> Iterator[tuple[list[dict[str, object]], list[str]]]:
    """Return the log lines of a service that has served one page, and what its collector got."""
    recipe = with_all_before(["telemetry-metrics"])
    project = started_by(recipe, bake)
    follow(recipe, project)
    project.build_image(image_tag)
    port, collector, got = free_port(), free_port(), tmp_path / "collected"
    options = (
        "--read-only",
        "--add-host=collector:host-gateway",
        "--env=OTEL_SERVICE_NAME=shop",
        "--env=WEB_CONCURRENCY=2",
    )
    endpoint = f"--env=OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:{collector}"
    with got.open("w") as output:
        program = [str(project.environment / BIN / "python"), "-c", COLLECTOR, str(collector)]
        sink = subprocess.Popen(program, stdout=output, stderr=subprocess.DEVNULL)
    identity = docker("run", "--detach", f"--publish=127.0.0.1:{port}:5000", *options, endpoint, image_tag)
    try:
        wait_for_page(port)
        docker("stop", identity)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", identity) == "0"
        yield [json.loads(line) for line in docker("logs", identity).splitlines()], got.read_text().splitlines()
    finally:
        sink.kill()
        sink.wait()
        docker("rm", "--force", identity)


def test_a_span_and_a_metric_are_sent_and_the_log_has_the_ids(
    collected: tuple[list[dict[str, object]], list[str]],
) -> None:
    log, sent = collected
    [line] = [line for line in log if line.get("path") == "/"]
    received = "\n".join(sent)

    assert [line for line in log if line["level"] not in {"INFO", "DEBUG"}] == []
    assert '"name": "http.server.request.duration"' in received
    assert received.count('"name": "GET /"') == 1
    assert f'"traceId": {_base64(line["trace_id"])}' in received
    assert f'"spanId": {_base64(line["span_id"])}' in received


def _base64(identity: object) -> str:
    """Return an id as the protocol's JSON has it."""
    return f'"{base64.b64encode(bytes.fromhex(str(identity))).decode()}"'
