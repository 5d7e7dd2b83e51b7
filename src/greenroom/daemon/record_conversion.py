"""Decodes the daemon's JSON files, and converts those of versions before store schema 4, which had other field names.

Files are converted as they are read and written with the present names. Limits: a daemon of such a version cannot read
what this one writes, so a downgrade loses restart states, run records and unsent reports.
"""

from typing import Any, Final, TypeVar

import msgspec

Shape = TypeVar("Shape", bound=msgspec.Struct)

FIELDS: Final = {
    "deaths": "failures",
    "ends": "failures",
    "in_a_row": "consecutive",
    "last_end": "last_failure_id",
    "last_end_at": "last_failure_at",
    "owes_trial": "owes_probe_run",
    "rest": "hold",
    "rests_until": "hold_until",
    "trial": "probe",
    "wish": "spec",
}
VALUES: Final = {"parked": "crash_looping", "unparked": "recovered"}
"""Values of the fields `hold` and `kind`."""


def decode_record(data: bytes, shape: type[Shape]) -> Shape:
    """Decode a JSON document. Raises msgspec.MsgspecError for anything that is not of this shape."""
    return msgspec.convert(converted(msgspec.json.decode(data)), type=shape)


def converted(value: Any) -> Any:
    """The value with the present names; what has them already stays as it is."""
    if isinstance(value, list):
        return [converted(item) for item in value]
    if not isinstance(value, dict):
        return value
    new = {FIELDS.get(name, name): converted(item) for name, item in value.items()}
    for name in ("hold", "kind"):
        if isinstance(new.get(name), str):
            new[name] = VALUES.get(new[name], new[name])
    return new
