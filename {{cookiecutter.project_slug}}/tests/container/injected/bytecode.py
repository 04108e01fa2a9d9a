"""Mounted into a container by the contract: prints, as JSON, which importable modules lack valid hash-based bytecode.

A .pyc by time stamp (PEP 552: flag 0) is not counted as valid: whatever rewrites the dates of a layer makes it stale.
"""

import importlib.util
import json
import sys
from pathlib import Path


def verdict(source: Path) -> str:
    """Return "valid", or what is wrong with the compiled form of a module."""
    cached = Path(importlib.util.cache_from_source(str(source)))
    if not cached.exists():
        return "not compiled"
    header = cached.read_bytes()[:16]
    if header[:4] != importlib.util.MAGIC_NUMBER:
        return "compiled for another Python"
    if not header[4] & 1:
        return "compiled by time stamp"
    return "valid" if header[8:16] == importlib.util.source_hash(source.read_bytes()) else "compiled from other source"


def main() -> None:
    """Look at all modules below sys.path, as they are found from the working directory."""
    folders = {str(Path.cwd()), *sys.path[1:]}
    sources = {source for folder in folders if Path(folder).is_dir() for source in Path(folder).rglob("*.py")}
    found: dict[str, list[str]] = {}
    for source in sorted(sources):
        found.setdefault(verdict(source), []).append(str(source))
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
