"""For tests of agents, clients and plugins: a real server in this process, a clock that the test moves, seeded entropy.

Nothing here needs a test framework, and no other part of Greenroom imports it. `docs/python.md` describes it.
"""

from greenroom.testing.clock import MovedClock
from greenroom.testing.entropy import SeededEntropy
from greenroom.testing.in_process import InMemoryServer, server

__all__ = ["InMemoryServer", "MovedClock", "SeededEntropy", "server"]
