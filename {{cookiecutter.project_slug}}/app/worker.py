"""gunicorn's threaded worker, taught to wait for slow clients without giving them a thread.

gthread hands a connection to one of its few threads with the first byte, and the thread then waits for the rest: as
many slow clients as there are threads, and nobody else is served. It also closes connections on the thread that accepts
them, waiting up to 2 s for each client. Here the event loop does all waiting: a thread gets a request once it is there.

This builds on internals of gunicorn. Row 20 of the container contract shows at an update whether they still hold.
"""

import errno
import os
import re
import socket
import struct
import time
from collections import deque
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.http import wsgi
from gunicorn.workers.gthread import TConn, ThreadWorker

from app import logs

# How long a request may take to arrive, and how long a client may pause in a body that is read by a thread.
REQUEST_SECONDS = 10
# How long a closed connection still takes what the client is sending, so that no reset destroys the answer under way
# (RFC 9112, section 9.6).
LINGER_SECONDS = 2
# How long access lines of the log wait for others to be written with.
LOG_SECONDS = 0.05
# More than gunicorn accepts as headers: what is longer goes to a thread, which refuses it.
HEADER_BYTES = 64 * 1024
# Longer bodies are left to the thread. With it, a worker buffers 64 MiB at the very most: 1000 connections at once.
BODY_BYTES = 64 * 1024

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,10})[ \t]*(?:\r\n|$)", re.IGNORECASE)
REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def is_complete(data: bytes) -> bool:
    """Tell whether a thread can handle the request that `data` begins with, without waiting for the client."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return len(data) >= HEADER_BYTES
    length = CONTENT_LENGTH.search(data, 0, end + 2)
    if length is None:
        return True
    announced, arrived = int(length[1]), len(data) - end - 4
    return arrived >= announced or announced > BODY_BYTES


class Connection(TConn):  # type: ignore[misc]
    """A connection whose graceful end is left to the event loop."""

    def __init__(self, worker: "Worker", *arguments: Any) -> None:
        """Take the arguments of TConn, after the worker that has accepted the connection."""
        super().__init__(*arguments)
        self.worker = worker
        # A thread that reads a long body must not wait for ever.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", REQUEST_SECONDS, 0))

    def close(self, graceful: bool = False) -> None:
        """Close at once, or gracefully: stop sending, and drop what still comes for a while."""
        if graceful:
            self.worker.linger(self)
        else:
            super().close()


class Pieces(list[bytes]):
    """Stands in for a socket, and keeps what is sent."""

    sendall = list.append


class Response(wsgi.Response):  # type: ignore[misc]
    """A response whose headers leave together with the first piece of its body: one system call and packet, not two."""

    sock: Any

    def write(self, arg: bytes) -> None:
        """Send a piece of the body, the first one with the headers before it."""
        if self.headers_sent:
            super().write(arg)
            return
        connection = self.sock
        self.sock = pieces = Pieces()
        try:
            super().write(arg)
        finally:
            self.sock = connection
        connection.sendall(b"".join(pieces))


class Worker(ThreadWorker):  # type: ignore[misc]
    """The worker class for gunicorn.conf.py."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take the arguments of ThreadWorker."""
        super().__init__(*arguments, **options)
        self.lingering: deque[Connection] = deque()
        self.next_flush = 0.0

    def init_process(self) -> None:
        """Run the worker."""
        wsgi.Response = Response
        logs.BatchHandler.batching = True
        super().init_process()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Go through the event loop once, which writes the log as well."""
        super().wait_for_and_dispatch_events(LOG_SECONDS if logs.waiting() else timeout)
        if time.monotonic() >= self.next_flush:
            for handler in logs.waiting():
                handler.flush()
            self.next_flush = time.monotonic() + LOG_SECONDS

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, and let it wait for its request."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in {errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED}:
                return
            raise
        self.nr_conns += 1
        self.enqueue_req(Connection(self, self.cfg, client, address, listener.getsockname()))

    def enqueue_req(self, connection: Connection) -> None:
        """Hand the connection to a thread if its next request is there, else wait for it in the event loop."""
        if self.has_arrived(connection):
            super().enqueue_req(connection)
            return
        connection.timeout = time.monotonic() + REQUEST_SECONDS
        self.pending_conns.append(connection)
        self.poller.register(connection.sock, EVENT_READ, partial(self.on_pending_socket_readable, connection))

    def on_pending_socket_readable(self, connection: Connection, client: socket.socket) -> None:
        """Take in more of the request; the time it may take goes on running."""
        if self.has_arrived(connection):
            self.poller.unregister(client)
            self.pending_conns.remove(connection)
            super().enqueue_req(connection)

    def has_arrived(self, connection: Connection) -> bool:
        """Read what has come and tell whether it is a request, or the end of the connection."""
        connection.init()
        buffer = connection.parser.unreader.buf
        data = buffer.getvalue()
        if data and is_complete(data):
            return True
        try:
            received = connection.sock.recv(HEADER_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        buffer.seek(0, os.SEEK_END)
        buffer.write(received)
        return not received or is_complete(data + received)

    def murder_pending(self) -> None:
        """End the wait for requests that did not arrive in time, and the lingering of closed connections."""
        now = time.monotonic()
        for connection in self.pending_conns:
            if connection.timeout > now:
                break
            if connection.parser.unreader.buf.getvalue():
                with suppress(OSError):
                    connection.sock.send(REQUEST_TIMEOUT, socket.MSG_DONTWAIT)
        super().murder_pending()
        while self.lingering and self.lingering[0].timeout <= now:
            self.stop_lingering(self.lingering[0])

    def _cap_keepalive(self, deadline: float) -> None:
        """Let connections without a request delay a stop no longer than those that are kept alive."""
        super()._cap_keepalive(deadline)
        for connection in self.pending_conns:
            connection.timeout = min(connection.timeout, deadline)

    def _keepalive_after(self, connection: Connection, keepalive: bool) -> bool:
        """Keep a connection only if the body of its request has been read: no thread waits for the rest of it."""
        if keepalive and getattr(connection.parser.mesg.body.reader, "length", None) == 0:
            return True  # nothing to read, as in nearly every GET: spare the system calls
        return keepalive and bool(connection.parser.finish_body(deadline=time.monotonic() + 0.01))

    def linger(self, connection: Connection) -> None:
        """Say that nothing more will be sent, and close once the client has noticed or its time is over."""
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            return
        connection.timeout = time.monotonic() + LINGER_SECONDS
        self.lingering.append(connection)
        self.poller.register(connection.sock, EVENT_READ, partial(self.on_lingering_socket_readable, connection))

    def on_lingering_socket_readable(self, connection: Connection, client: socket.socket) -> None:
        """Drop what the client still sends; close when it has closed."""
        try:
            ended = not client.recv(HEADER_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            ended = False
        except OSError:
            ended = True
        if ended:
            self.stop_lingering(connection)

    def stop_lingering(self, connection: Connection) -> None:
        """Close the connection for good."""
        self.lingering.remove(connection)
        self.poller.unregister(connection.sock)
        connection.close()
