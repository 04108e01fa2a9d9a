"""What Git keeps out of the repository."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

IGNORED = Path(__file__).parents[2] / ".gitignore"


@pytest.mark.skipif(not (IGNORED.exists() and shutil.which("git")), reason="only what the image needs is here")
@pytest.mark.parametrize("name", [".env", ".venv/pyvenv.cfg", "wheelhouse/a.whl"])
def test_git_ignores_what_is_this_machines_own(tmp_path: Path, name: str) -> None:
    alone = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", "init", "--quiet", tmp_path], env=alone, check=True)
    shutil.copy(IGNORED, tmp_path)
    asked = subprocess.run(["git", "check-ignore", "--quiet", name], cwd=tmp_path, env=alone, check=False)

    assert asked.returncode == 0, f"Git would take {name} into the repository: keep it in .gitignore"
