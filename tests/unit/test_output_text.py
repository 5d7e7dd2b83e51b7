from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.process.run_folder import read_tail, read_text


def write_output(tmp_path: Path, raw: bytes) -> Path:
    path = tmp_path / "out"
    path.write_bytes(raw)
    return path


def test_short_output_is_whole(tmp_path: Path) -> None:
    assert read_text(write_output(tmp_path, "grün\n".encode()), 100) == "grün\n"
    assert read_text(write_output(tmp_path, b""), 100) == ""


def test_long_output_has_head_tail_and_path(tmp_path: Path) -> None:
    path = write_output(tmp_path, b"begin" + b"." * 5000 + b"end")
    text = read_text(path, 1000)
    assert text.startswith("begin")
    assert text.endswith("end")
    assert str(path) in text
    assert "5008 bytes" in text
    assert 900 < len(text.encode()) <= 1000


def test_invalid_characters_are_replaced(tmp_path: Path) -> None:
    assert read_text(write_output(tmp_path, b"a\0b\xffc"), 100) == "a\N{SYMBOL FOR NULL}b\N{REPLACEMENT CHARACTER}c"


@given(raw=st.binary(max_size=3000) | st.text(max_size=1000).map(str.encode), bytes_max=st.integers(600, 1200))
def test_text_never_exceeds_limit(tmp_path_factory: pytest.TempPathFactory, raw: bytes, bytes_max: int) -> None:
    path = tmp_path_factory.getbasetemp() / "out"
    path.write_bytes(raw)
    assert len(read_text(path, bytes_max).encode()) <= bytes_max
    assert len(read_tail(path, bytes_max).encode()) <= bytes_max


def test_tail_is_end(tmp_path: Path) -> None:
    assert read_tail(write_output(tmp_path, b"0123456789"), 4) == "6789"
    assert read_tail(write_output(tmp_path, "xxü".encode()), 2) == "ü"
    assert read_tail(write_output(tmp_path, "xxü".encode()), 1) == ""
    assert read_tail(tmp_path / "none", 4) == ""
