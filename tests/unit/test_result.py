"""A command's own result: the result file, and the output of known agent CLIs.

The files in `printed/` are the output of the versions in their names, run against a small API that succeeded, or that
answered 401, 403, 429 or 529. Only long parts that are not read were removed: tools, prices, ids.
"""

import os
from pathlib import Path

import msgspec
import pytest

from greenroom.client import printed
from greenroom.client.result import RESULT_BYTES_MAX, Result, read_result
from greenroom.clock import instant_of
from greenroom.settings.harness import RESULT_FORMATS

RECORDS = Path(__file__).parent / "printed"
CLAUDE, OPENCODE = "claude-code-2.1.197", "opencode-1.18.33"
RESETS = instant_of(1795245731)


def told(tmp_path: Path, file: bytes | None = None, stdout: bytes = b"", format: str | None = None) -> Result | None:
    (tmp_path / "stdout").write_bytes(stdout)
    if file is not None:
        (tmp_path / "result.json").write_bytes(file)
    return read_result(format, tmp_path / "result.json", tmp_path / "stdout")


def failure(tmp_path: Path, file: bytes | None = None, stdout: bytes = b"", format: str | None = None) -> str:
    """The reason of a result, which must be a failed one."""
    result = told(tmp_path, file, stdout, format)
    assert result is not None
    assert ("failed", None, None) == (result.status, result.until, result.text)
    return result.reason


def test_a_command_that_says_nothing_has_its_exit_code_alone(tmp_path: Path) -> None:
    assert told(tmp_path, stdout=b'{"type":"result","subtype":"success","is_error":true,"result":"x"}\n') is None
    assert told(tmp_path, b" \n") is None


@pytest.mark.parametrize(
    ("file", "result"),
    [
        (b'{"status":"done","text":"lit"}', Result(status="done", text="lit")),
        (b'{"status":"done"}', Result(status="done")),
        (b'{"status":"failed","reason":"no lamp"}', Result(status="failed", reason="no lamp")),
        (b'{"status":"login_required"}', Result(status="login_required")),
        (b'{"status":"rate_limited"}', Result(status="rate_limited")),
        (
            b'{"status":"rate_limited","until":"2026-11-21T08:00:00+01:00"}',
            Result(status="rate_limited", until="2026-11-21T07:00:00.000Z"),
        ),
        (b'{"status":"done","text":"a\\u0000b"}', Result(status="done", text="a\N{SYMBOL FOR NULL}b")),
    ],
)
def test_the_file_says_how_it_ended(tmp_path: Path, file: bytes, result: Result) -> None:
    assert result == told(tmp_path, file)


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (b"done", "makes no sense"),
        (b"{", "makes no sense"),
        (b"[" * 100_000, "makes no sense"),
        (b"\xff\xfe", "makes no sense"),
        (b'{"status":"finished"}', "finished"),
        (b'{"status":"done","until":"2026-11-21T07:00:00Z"}', "says nothing beside the status 'done'"),
        (b'{"status":"rate_limited","until":"tomorrow"}', "should be an instant with its zone"),
        (b'{"status":"rate_limited","until":"2026-11-21T07:00:00"}', "should be an instant with its zone"),
        (b'{"status":"rate_limited","until":1795245731}', "until"),
        (b'{"status":"done","txt":"lit"}', "txt"),
        (b'{"status":"done","text":7}', "text"),
        (b'{"status":"failed","reason":"' + b"x" * 20_000 + b'"}', "reason"),
        (b'{"status":"done","text":"' + b"x" * RESULT_BYTES_MAX + b'"}', "longer than"),
    ],
)
def test_a_file_that_makes_no_sense_is_a_failure_that_says_so(tmp_path: Path, file: bytes, why: str) -> None:
    assert why in failure(tmp_path, file)


def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "result.json")
    assert "no plain file" in failure(tmp_path)
    os.unlink(tmp_path / "result.json")
    (tmp_path / "result.json").mkdir()
    assert "Is a directory" in failure(tmp_path)


def test_a_long_text_keeps_its_head_and_its_tail(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(msgspec.json.encode({"status": "done", "text": "é" * 3000 + "end"}))
    result = read_result(None, tmp_path / "result.json", tmp_path / "none", text_bytes_max=1000)
    assert result is not None
    assert result.text is not None
    assert len(result.text.encode()) <= 1000
    assert result.text.startswith("éé")
    assert result.text.endswith("éend")
    assert "the middle of 6003 bytes is left out" in result.text


def test_the_file_counts_more_than_what_was_printed(tmp_path: Path) -> None:
    stdout = (RECORDS / f"{CLAUDE}-session-limit.jsonl").read_bytes()
    result = told(tmp_path, b'{"status":"failed","reason":"by hand"}', stdout, "claude-code")
    assert Result(status="failed", reason="by hand") == result


@pytest.mark.parametrize(
    ("record", "result"),
    [
        (f"{CLAUDE}-done.jsonl", Result(status="done", text="The lamp is lit.")),
        (f"{CLAUDE}-done-plain.json", Result(status="done", text="The lamp is lit.")),
        (f"{CLAUDE}-done-verbose.json", Result(status="done", text="The lamp is lit.")),
        (
            f"{CLAUDE}-session-limit.jsonl",
            Result(status="rate_limited", until=RESETS, reason="You've hit your session limit · resets 7:22am (UTC)"),
        ),
        (f"{CLAUDE}-rate-limit.jsonl", "rate_limited"),
        (f"{CLAUDE}-rate-limit-plain.json", "rate_limited"),
        (f"{CLAUDE}-no-login.jsonl", Result(status="login_required", reason="Not logged in · Please run /login")),
        (f"{CLAUDE}-no-login-plain.json", "failed"),  # it has no status and no error code, only the sentence
        (f"{CLAUDE}-wrong-key.jsonl", "login_required"),
        (f"{CLAUDE}-wrong-key-plain.json", "login_required"),
        (f"{CLAUDE}-login-revoked.jsonl", "login_required"),
        (f"{CLAUDE}-no-credit.jsonl", Result(status="login_required", reason="Credit balance is too low")),
        (f"{CLAUDE}-overloaded.jsonl", "failed"),
        (f"{OPENCODE}-done.jsonl", Result(status="done", text="The lamp is lit.")),
        (
            f"{OPENCODE}-wrong-key.jsonl",
            Result(status="login_required", reason="Incorrect API key provided: none."),
        ),
    ],
)
def test_what_was_really_printed_is_understood(tmp_path: Path, record: str, result: Result | str) -> None:
    format = next(name for name in printed.FORMATS if record.startswith(name))
    read = told(tmp_path, stdout=(RECORDS / record).read_bytes(), format=format)
    assert read is not None
    assert result == (read.status if isinstance(result, str) else read)


def test_every_record_is_looked_at() -> None:
    marks = [mark for mark in vars(test_what_was_really_printed_is_understood)["pytestmark"] if mark.args]
    assert {path.name for path in RECORDS.iterdir()} == {case[0] for case in marks[0].args[1]}


@pytest.mark.parametrize("stdout", [b"", b"All done!\n", b'{"type":"assistant"}\n', b"\xff\n[[[", b'{"type":"result"}'])
def test_a_command_that_prints_no_result_has_failed_though_it_ended_well(tmp_path: Path, stdout: bytes) -> None:
    for name in printed.FORMATS:
        assert f"no result in the format {name!r}" in failure(tmp_path, stdout=stdout, format=name)


def test_a_sentence_is_never_judged(tmp_path: Path) -> None:
    line = b'{"type":"result","subtype":"success","is_error":%s,"result":"API Error: 429 rate limit, please log in"}'
    for is_error, status in ((b"true", "failed"), (b"false", "done")):
        result = told(tmp_path, stdout=line % is_error, format="claude-code")
        assert result is not None
        assert status == result.status


def test_of_very_long_output_the_end_counts(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b'{"type":"x","y":"' + b"z" * (RESULT_BYTES_MAX + 1) + b'"}\n')
    with open(tmp_path / "stdout", "ab") as file:
        file.write((RECORDS / f"{CLAUDE}-done.jsonl").read_bytes())
    result = read_result("claude-code", tmp_path / "result.json", tmp_path / "stdout")
    assert Result(status="done", text="The lamp is lit.") == result


def test_a_long_reason_is_cut(tmp_path: Path) -> None:
    line = msgspec.json.encode({"type": "error", "error": {"name": "E", "data": {"message": "x" * 100_000}}})
    assert len(failure(tmp_path, stdout=line, format="opencode")) <= 4096


def test_what_was_kept_in_several_files_is_read_to_its_end(tmp_path: Path) -> None:
    raw = (RECORDS / f"{CLAUDE}-session-limit.jsonl").read_bytes()
    (tmp_path / "stdout").write_bytes(b"lost\n")
    (tmp_path / "stdout.1000").write_bytes(raw)
    result = read_result("claude-code", tmp_path / "result.json", tmp_path / "stdout")
    assert result is not None
    assert ("rate_limited", RESETS) == (result.status, result.until)


def test_a_format_of_another_version_is_a_failure_that_says_so(tmp_path: Path) -> None:
    assert "knows no format 'newer'" in failure(tmp_path, stdout=b"{}", format="newer")


def test_an_error_of_a_helper_s_conversation_is_not_the_run_s(tmp_path: Path) -> None:
    stdout = (
        b'{"type":"assistant","error":"rate_limit","parent_tool_use_id":"t"}\n'
        b'{"type":"result","subtype":"error_max_turns","is_error":true}\n'
    )
    result = told(tmp_path, stdout=stdout, format="claude-code")
    assert Result(status="failed", reason="error_max_turns") == result


def test_settings_know_the_formats_that_can_be_read() -> None:
    assert set(printed.FORMATS) == set(RESULT_FORMATS)
