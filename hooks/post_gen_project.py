"""Say what to do next."""

import json
import os
import shlex

ANSWERS: dict[str, str] = json.loads({{cookiecutter | tojson | tojson}})  # type: ignore[arg-type, name-defined]


def main() -> None:
    """Print the commands that build and run the new service."""
    slug, port = ANSWERS["project_slug"], ANSWERS["port"]
    print(
        f"\n{slug} is ready. Next:\n"
        f"  cd {shlex.quote(os.getcwd())}\n"
        f"  docker build -t {slug} .\n"
        f"  docker run --rm -p {port}:{port} {slug}\n"
        f"Then open http://localhost:{port}/"
    )


if __name__ == "__main__":
    main()
