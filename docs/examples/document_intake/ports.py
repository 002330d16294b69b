"""The port that the demo's site listens on."""

import errno
import os
import socket

from document_intake.handed_in import Refused

HOST = "127.0.0.1"


def free_port(port: int) -> int:
    """The port, or any that is free for 0. Raises `Refused` where it cannot be listened on."""
    with socket.socket() as tried:
        if os.name != "nt":
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise Refused(f"Port {port} of {HOST} {reason}; name another with --port, or --port 0 for any.") from error
        found: int = tried.getsockname()[1]
        return found
