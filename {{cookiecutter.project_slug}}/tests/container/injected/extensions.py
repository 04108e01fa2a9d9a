"""Loads every extension of the standard library inside a container; prints how many there are and which fail."""

import importlib
import json
import os

folder = os.path.join(os.path.dirname(os.__file__), "lib-dynload")
# Slim images lack Tk's libraries on purpose.
names = {file.split(".")[0] for file in os.listdir(folder)} - {"_tkinter"}
failed = {}
for name in sorted(names):
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed[name] = str(error)
print(json.dumps({"count": len(names), "failed": failed}))  # noqa: T201
