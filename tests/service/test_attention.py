"""Many agents lost at the same time raise one alert, which their return resolves."""

from tests.service.house import House


def crowd(count: int) -> House:
    house = House()
    house.room(roles=tuple(f"role{number}" for number in range(count)))
    for number in range(count):
        house.join(f"role{number}", f"c{number}")
    return house


def raised(house: House) -> list[str]:
    return [event.type for event in house.events() if event.type.startswith("attention.")]


def test_half_of_all_falling_silent_is_told_once() -> None:
    house = crowd(6)
    for _ in range(10):
        house.pass_time(30)
        for number in range(3):
            house.beat(f"role{number}", f"c{number}")
    assert ["attention.raised"] == raised(house)


def test_it_is_resolved_when_most_are_back_even_after_a_restart_of_the_server() -> None:
    house = crowd(4)
    house.pass_time(200)
    assert ["attention.raised"] == raised(house)
    house.open()
    for number in range(3):
        house.join(f"role{number}", f"c{number}")
    house.pass_time(2)
    assert ["attention.raised", "attention.resolved"] == raised(house)


def test_fewer_than_half_or_fewer_than_three_are_not_told() -> None:
    house = crowd(7)
    for _ in range(5):
        house.pass_time(30)
        for number in range(4):
            house.beat(f"role{number}", f"c{number}")
    assert [] == raised(house)
    pair = crowd(2)
    pair.pass_time(200)
    assert [] == raised(pair)


def test_silences_far_apart_are_not_one() -> None:
    house = crowd(4)
    for leaver in range(4):
        for _ in range(10):
            house.pass_time(30)
            for number in range(leaver + 1, 4):
                house.beat(f"role{number}", f"c{number}")
    assert [] == raised(house)
