"""What the service must be given to start: a value for each setting that has no default."""

import re
from dataclasses import Field, fields
from typing import Any

from app.settings import REQUIRED, Settings


def accepted(item: "Field[Any]", value: str) -> bool:
    """Tell whether a setting takes a value."""
    try:
        item.metadata["parse"](value)
    except (ValueError, LookupError):
        return False
    return True


# The words of every rule hold a value that keeps it.
NEEDED = {
    item.name.upper(): next(word for word in re.findall(r"[^\s,]+", item.metadata["words"]) if accepted(item, word))
    for item in fields(Settings)
    if item.metadata["default"] is REQUIRED
}
