"""Remove folders that none of the chosen files is in, and say what to do next.

Nothing else is done here: a repository, an image or an environment is for its owner to make.
"""

import os
import shlex
from collections.abc import Iterator

# Folders that hold nothing but conditional files, the innermost first.
CONDITIONAL_FOLDERS = (
    *(".github/workflows", ".github", "tests/kubernetes"),
    *(f"kubernetes/components/{name}" for name in ("httproute", "ingress", "migrate", "name", "servicemonitor")),
    *("kubernetes/base", "kubernetes/components"),
    *("kubernetes/overlays/dev", "kubernetes/overlays/prod", "kubernetes/overlays", "kubernetes"),
)


def next_steps(slug: str, port: str, folder: str, in_repository: bool) -> Iterator[str]:
    """Yield the lines to print."""
    yield ""
    yield f"{slug} is ready. Next:"
    # Slashes do for the shells of Windows, too, and need no quotes there.
    yield f"  cd {shlex.quote(folder.replace(os.sep, '/'))}"
    yield f"  docker build -t {slug} ."
    yield f"  docker run --rm -p {port}:{port} {slug}"
    yield f"Then open http://localhost:{port}/"
    yield f"To keep it in {'the Git repository around it' if in_repository else 'Git'}:"
    if not in_repository:
        yield "  git init"
    yield "  git add ."
    yield f'  git commit -m "Add {slug}"'


def is_in_repository(folder: str) -> bool:
    """Return whether the folder or one above it is the root of a Git work tree."""
    above = os.path.dirname(folder)
    return os.path.exists(os.path.join(folder, ".git")) or (above != folder and is_in_repository(above))


def remove_empty_folders() -> None:
    """Remove empty folders of conditional files: cookiecutter skips a file whose name is empty, but makes its folder.

    No other: where a service is baked once more into its folder, there may be a repository with empty folders in it.
    """
    for folder in CONDITIONAL_FOLDERS:
        if os.path.isdir(folder) and not os.listdir(folder):
            os.rmdir(folder)


def main() -> None:
    """Print the commands that build, run and keep the new service."""
    # pre_gen_project.py let these pass, so their JSON is a Python literal as well; the folder is only compared.
    slug: str = {{cookiecutter.project_slug | tojson}}  # type: ignore[assignment, name-defined]
    port: str = {{cookiecutter.port | tojson}}  # type: ignore[assignment, name-defined]
    output: str = {{cookiecutter._output_dir | default("") | tojson}}  # type: ignore[assignment, name-defined]
    here = os.getcwd()
    remove_empty_folders()
    folder = slug if output == os.environ.get("PWD") else here
    print(*next_steps(slug, port, folder, is_in_repository(here)), sep="\n")


if __name__ == "__main__":
    main()
