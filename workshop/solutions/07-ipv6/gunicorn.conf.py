"""How gunicorn serves the application."""

import socket

# One socket for IPv6 and IPv4, where the kernel has both.
bind = "[::]:5000" if socket.has_dualstack_ipv6() else "0.0.0.0:5000"
