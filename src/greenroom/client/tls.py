"""Makes a connection private. Imported only where an address is https; must not know what is said on it."""

import socket
import ssl


def secure(line: socket.socket, host: str) -> socket.socket:
    """Begin TLS on an open connection, with the certificates that this machine trusts."""
    return ssl.create_default_context().wrap_socket(line, server_hostname=host)
