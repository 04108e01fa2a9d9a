"""Mounted into a container by the contract: prints, as JSON, the version of Python and what cannot be looked up."""

import json
import platform
import socket
import ssl
import zoneinfo

missing = []
if ssl.create_default_context().cert_store_stats()["x509_ca"] < 50:
    missing.append("the certificates that TLS to other services needs")
try:
    zoneinfo.ZoneInfo("Europe/Berlin")
except zoneinfo.ZoneInfoNotFoundError:
    missing.append("time zones")
for name, port in (("localhost", 80), (None, "https")):
    try:
        socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except OSError:
        missing.append(f"the address of {name}" if name else f"the port of {port}")
print(json.dumps({"python": platform.python_version(), "missing": missing}))  # noqa: T201
