"""The call about alerts: what needs a user."""

from greenroom.domain.attention import Attention
from greenroom.server.ask import Ask
from greenroom.server.operations import API, Operations
from greenroom.service import attention
from greenroom.service.world import World
from greenroom.store.transaction import Reader

calls = Operations()


@calls.read(f"{API}/attention", list[Attention])
def list_attention(world: World, reader: Reader, request: Ask[None]) -> object:
    """List the open alerts (what needs a user now), oldest first."""
    return attention.list_all(world, reader, request.caller)
