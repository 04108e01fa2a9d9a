"""Cold starts: an image goes to a registry of this machine, compressed one way or another, and is pulled and run.

The registry is Debian's docker-registry, on loopback: what the network would take comes on top, by the compressed size.
"""

import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from benchmarks.measures import SILENT
from tools import engine

SERVER = "docker-registry"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+"
SETTINGS = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:0"}}
"""


# As docker push does it, and as BuildKit does it for compression=zstd.
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda layer: gzip.compress(layer, 6),
    "zstd": lambda layer: zstd.compress(layer, 3),
}


def possible() -> bool:
    """Tell whether there is a registry to pull from."""
    return shutil.which(SERVER) is not None


@contextmanager
def registry(seconds: float = 30) -> Iterator[str]:
    """Run a registry until the end of the `with` block; yield its address, once it listens."""
    with tempfile.TemporaryDirectory() as folder:
        settings, log = (Path(folder) / name for name in ("settings.yml", "log"))
        settings.write_text(SETTINGS.format(folder=folder))
        with (
            log.open("w") as output,
            subprocess.Popen((SERVER, "serve", str(settings)), stdout=output, stderr=output) as process,
        ):
            try:
                deadline = time.monotonic() + seconds
                while not (found := re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text())):
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit(f"{SERVER} does not listen; its log ends with: {log.read_text()[-500:]}")
                    time.sleep(0.1)
                yield found[1]
            finally:
                process.terminate()


@dataclass(frozen=True)
class Stored:
    """An image in a registry, and the bytes of its compressed layers."""

    reference: str
    size: int

    def cold_start(self) -> tuple[float, float]:
        """Pull the image, run it until its first 200, and remove it; return the seconds that either took."""
        began = time.monotonic()
        engine.run("pull", "--quiet", self.reference)
        pulled = time.monotonic() - began
        try:
            with engine.started(self.reference, *SILENT, from_process=False) as (_, seconds):
                return pulled, seconds
        finally:
            engine.run("image", "rm", "--force", self.reference)


def push(image: str, address: str, name: str, compression: str) -> Stored:
    """Put an image into a registry, with its layers compressed.

    Each layer gets one small file more: the engine shares none of them with images that it has, so all are pulled.
    """
    url = f"http://{address}/v2/{name}"
    source = engine.Image(image)
    layers = [marked(layer, f"{name} {compression} {number}") for number, layer in enumerate(source.raw_layers())]
    config = {
        "architecture": engine.output("image", "inspect", "--format", "{{.Architecture}}", image),
        "os": "linux",
        "config": source.config,
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]},
    }
    blobs = [COMPRESSIONS[compression](layer) for layer in layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _upload(url, json.dumps(config).encode(), CONFIG),
        "layers": [_upload(url, blob, f"{LAYER}{compression}") for blob in blobs],
    }
    put = f"{url}/manifests/{compression}"
    requests.put(put, json.dumps(manifest), headers={"Content-Type": MANIFEST}, timeout=60).raise_for_status()
    return Stored(f"{address}/{name}:{compression}", sum(map(len, blobs)))


def marked(layer: bytes, mark: str) -> bytes:
    """Return a layer with a file more, which makes it another layer."""
    content = io.BytesIO(layer)
    with tarfile.open(fileobj=content, mode="a") as archive:
        file = tarfile.TarInfo(".benchmark")
        file.size = len(mark)
        archive.addfile(file, io.BytesIO(mark.encode()))
    return content.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _upload(url: str, content: bytes, media_type: str) -> dict[str, Any]:
    """Put a blob into the registry; return its descriptor."""
    opened = requests.post(f"{url}/blobs/uploads/", timeout=60)
    opened.raise_for_status()
    place = opened.headers["Location"]
    requests.put(place, content, params={"digest": _digest(content)}, timeout=60).raise_for_status()
    return {"mediaType": media_type, "size": len(content), "digest": _digest(content)}
