"""A clock that tests move. It stands in for the system's clock wherever a `Clock` is expected."""


class MovedClock:
    """A clock that moves only by its methods, for tests and simulation."""

    def __init__(self, wall: float = 1_760_000_000.0, monotonic: float = 1_000.0) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._slept = 0.0

    def wall(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def boottime(self) -> float:
        return self._monotonic + self._slept

    def advance(self, seconds: float) -> None:
        """Advance all three readings by `seconds`."""
        assert seconds >= 0
        self._wall += seconds
        self._monotonic += seconds

    def sleep(self, seconds: float) -> None:
        """Simulate that the machine sleeps: `wall` and `boottime` advance, `monotonic` does not."""
        assert seconds >= 0
        self._wall += seconds
        self._slept += seconds

    def step_wall(self, seconds: float) -> None:
        """Simulate that the wall clock is set, forwards or backwards. No time passes."""
        self._wall += seconds
