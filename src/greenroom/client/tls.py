"""Wraps a connection in TLS. Imported only for an https address (see `plain`)."""

import socket
import ssl


def wrap_in_tls(connection: socket.socket, host: str) -> socket.socket:
    """Start TLS on an open connection, with the certificates that this machine trusts."""
    return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
