"""Measure what baking costs, against cookiecutter on a template that holds one file: `make bench-bake`.

Both are baked in turn, by cookiecutter's own command line, offline and without questions. The ratio is the median of
those of the pairs, as the two of a pair ran under the same load.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEMPLATE = Path(__file__).parents[1]
ROUNDS = 21
TARGET = 1.5


def empty_template(folder: Path) -> Path:
    """Make the smallest template there is: one question, one file, no hooks."""
    service = folder / "{{cookiecutter.project_slug}}"
    service.mkdir(parents=True)
    (service / "README.md").write_text("{{ cookiecutter.project_slug }}\n")
    (folder / "cookiecutter.json").write_text(json.dumps({"project_slug": "hello-service"}))
    return folder


def bake(template: Path) -> float:
    """Bake the defaults into a folder of its own; return the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--no-input", "--default-config", "--output-dir", folder]
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "cookiecutter", str(template), *options], check=True, capture_output=True)
        return time.monotonic() - began


def main() -> int:
    """Print the medians and the ratio; return 1 if it is not below the target."""
    with tempfile.TemporaryDirectory() as folder:
        templates = {"empty template": empty_template(Path(folder, "template")), "this template": TEMPLATE}
        seconds: dict[str, list[float]] = {name: [] for name in templates}
        for _ in range(ROUNDS):
            for name, template in templates.items():
                seconds[name].append(bake(template))
    for name, values in seconds.items():
        print(f"{name}: {statistics.median(values) * 1000:.0f} ms")
    pairs = zip(seconds["this template"], seconds["empty template"], strict=True)
    ratio = statistics.median(ours / empty for ours, empty in pairs)
    print(f"ratio: {ratio:.2f} (target: below {TARGET})")
    return 0 if ratio < TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
