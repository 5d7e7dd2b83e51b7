"""A transport that adds the machine's current token to every request."""

from collections.abc import Callable, Iterator, Mapping

from greenroom.client.transport import UNREACHABLE, Response, Transport
from greenroom.domain.errors import Unavailable


class MachineLine:
    """Wraps `line` and adds the machine's token to each of its requests.

    The token is read for each request: a server that was set up again has new tokens. Before the machine is registered
    there is none; the request then raises Unavailable, so that callers retry it as if the server were unreachable.
    """

    def __init__(self, line: Transport, token_now: Callable[[], str | None]) -> None:
        self._line = line
        self._read_token = token_now

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        return self._line.request(method, path, body, self._with_token(headers), timeout_s)

    def stream(self, path: str, headers: Mapping[str, str], silence_s: float) -> tuple[Response, Iterator[bytes]]:
        return self._line.stream(path, self._with_token(headers), silence_s)

    def drop(self) -> None:
        self._line.drop()

    def close(self) -> None:
        self._line.close()

    def _with_token(self, headers: Mapping[str, str]) -> dict[str, str]:
        token = self._read_token()
        if token is None:
            raise Unavailable(
                "This machine is not registered with the server yet.",
                "Wait until the daemon has registered it.",
                UNREACHABLE,
            )
        return {**headers, "Authorization": f"Bearer {token}"}
