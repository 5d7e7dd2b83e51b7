"""A command's own result: the result file, and the output of known agent CLIs.

The files in `agent_cli_outputs/` are the output of the versions in their names, run against a small API that succeeded,
or that answered 401, 403, 429 or 529. Only long parts that are not read were removed: tools, prices, ids.
"""

import os
from pathlib import Path

import msgspec
import pytest

from greenroom.client import agent_cli_output
from greenroom.client.command_result import RESULT_BYTES_MAX, CommandResult, read_result
from greenroom.clock import format_instant
from greenroom.settings.harness import RESULT_FORMATS

RECORDS = Path(__file__).parent / "agent_cli_outputs"
CLAUDE, OPENCODE = "claude-code-2.1.197", "opencode-1.18.33"
RESETS = format_instant(1795245731)


def read_command_result(
    tmp_path: Path, file: bytes | None = None, stdout: bytes = b"", format: str | None = None
) -> CommandResult | None:
    (tmp_path / "stdout").write_bytes(stdout)
    if file is not None:
        (tmp_path / "result.json").write_bytes(file)
    return read_result(format, tmp_path / "result.json", tmp_path / "stdout")


def failed_reason(tmp_path: Path, file: bytes | None = None, stdout: bytes = b"", format: str | None = None) -> str:
    """The reason of a result, which must be a failed one."""
    result = read_command_result(tmp_path, file, stdout, format)
    assert result is not None
    assert ("failed", None, None) == (result.status, result.until, result.text)
    return result.reason


def test_no_result_without_file_and_format(tmp_path: Path) -> None:
    assert (
        read_command_result(tmp_path, stdout=b'{"type":"result","subtype":"success","is_error":true,"result":"x"}\n')
        is None
    )
    assert read_command_result(tmp_path, b" \n") is None


@pytest.mark.parametrize(
    ("file", "result"),
    [
        (b'{"status":"done","text":"lit"}', CommandResult(status="done", text="lit")),
        (b'{"status":"done"}', CommandResult(status="done")),
        (b'{"status":"failed","reason":"no lamp"}', CommandResult(status="failed", reason="no lamp")),
        (b'{"status":"login_required"}', CommandResult(status="login_required")),
        (b'{"status":"rate_limited"}', CommandResult(status="rate_limited")),
        (
            b'{"status":"rate_limited","until":"2026-11-21T08:00:00+01:00"}',
            CommandResult(status="rate_limited", until="2026-11-21T07:00:00.000Z"),
        ),
        (
            b'{"status":"rate_limited","until":"0001-01-01T00:00:00Z"}',
            CommandResult(status="rate_limited", until="0001-01-01T00:00:00.000Z"),
        ),
        (b'{"status":"done","text":"a\\u0000b"}', CommandResult(status="done", text="a\N{SYMBOL FOR NULL}b")),
    ],
)
def test_result_file_statuses(tmp_path: Path, file: bytes, result: CommandResult) -> None:
    assert result == read_command_result(tmp_path, file)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"done", "is invalid"),
        (b"{", "is invalid"),
        (b"[" * 100_000, "is invalid"),
        (b"\xff\xfe", "is invalid"),
        (b'{"status":"finished"}', "finished"),
        (b'{"status":"done","until":"2026-11-21T07:00:00Z"}', "needs the status 'rate_limited', not 'done'"),
        *(
            (f'{{"status":"rate_limited","until":"{until}"}}'.encode(), "must be an instant with its zone")
            for until in ("", "-1", "NaN", "9999-12-31T23:59:59.9999Z", "0001-01-01T00:00:00+14:00", "99999-01-01Z")
        ),
        (b'{"status":"rate_limited","until":"tomorrow"}', "must be an instant with its zone"),
        (b'{"status":"rate_limited","until":"2026-11-21T07:00:00"}', "must be an instant with its zone"),
        (b'{"status":"rate_limited","until":1795245731}', "until"),
        (b'{"status":"done","txt":"lit"}', "txt"),
        (b'{"status":"done","text":7}', "text"),
        (b'{"status":"failed","reason":"' + b"x" * 20_000 + b'"}', "reason"),
        (b'{"status":"done","text":"' + b"x" * RESULT_BYTES_MAX + b'"}', "longer than"),
    ],
)
def test_invalid_result_file_is_failure(tmp_path: Path, file: bytes, reason: str) -> None:
    assert reason in failed_reason(tmp_path, file)


def test_result_must_be_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "result.json")
    assert "not a regular file" in failed_reason(tmp_path)
    os.unlink(tmp_path / "result.json")
    (tmp_path / "result.json").mkdir()
    assert "Is a directory" in failed_reason(tmp_path)


def test_long_result_text_keeps_head_and_tail(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(msgspec.json.encode({"status": "done", "text": "é" * 3000 + "end"}))
    result = read_result(None, tmp_path / "result.json", tmp_path / "none", text_bytes_max=1000)
    assert result is not None
    assert result.text is not None
    assert len(result.text.encode()) <= 1000
    assert result.text.startswith("éé")
    assert result.text.endswith("éend")
    assert "the middle of 6003 bytes is left out" in result.text


def test_file_overrides_printed_result(tmp_path: Path) -> None:
    stdout = (RECORDS / f"{CLAUDE}-session-limit.jsonl").read_bytes()
    result = read_command_result(tmp_path, b'{"status":"failed","reason":"by hand"}', stdout, "claude-code")
    assert CommandResult(status="failed", reason="by hand") == result


@pytest.mark.parametrize(
    ("record", "result"),
    [
        (f"{CLAUDE}-done.jsonl", CommandResult(status="done", text="The lamp is lit.")),
        (f"{CLAUDE}-done-plain.json", CommandResult(status="done", text="The lamp is lit.")),
        (f"{CLAUDE}-done-verbose.json", CommandResult(status="done", text="The lamp is lit.")),
        (
            f"{CLAUDE}-session-limit.jsonl",
            CommandResult(
                status="rate_limited", until=RESETS, reason="You've hit your session limit · resets 7:22am (UTC)"
            ),
        ),
        (f"{CLAUDE}-rate-limit.jsonl", "rate_limited"),
        (f"{CLAUDE}-rate-limit-plain.json", "rate_limited"),
        (
            f"{CLAUDE}-no-login.jsonl",
            CommandResult(status="login_required", reason="Not logged in · Please run /login"),
        ),
        (f"{CLAUDE}-no-login-plain.json", "failed"),  # it has no status and no error code, only the sentence
        (f"{CLAUDE}-wrong-key.jsonl", "login_required"),
        (f"{CLAUDE}-wrong-key-plain.json", "login_required"),
        (f"{CLAUDE}-login-revoked.jsonl", "login_required"),
        (f"{CLAUDE}-no-credit.jsonl", CommandResult(status="login_required", reason="Credit balance is too low")),
        (f"{CLAUDE}-overloaded.jsonl", "failed"),
        (f"{OPENCODE}-done.jsonl", CommandResult(status="done", text="The lamp is lit.")),
        (
            f"{OPENCODE}-wrong-key.jsonl",
            CommandResult(status="login_required", reason="Incorrect API key provided: none."),
        ),
    ],
)
def test_recorded_outputs_are_parsed(tmp_path: Path, record: str, result: CommandResult | str) -> None:
    format = next(name for name in agent_cli_output.FORMATS if record.startswith(name))
    found = read_command_result(tmp_path, stdout=(RECORDS / record).read_bytes(), format=format)
    assert found is not None
    assert result == (found.status if isinstance(result, str) else found)


def test_every_record_is_tested() -> None:
    marks = [mark for mark in vars(test_recorded_outputs_are_parsed)["pytestmark"] if mark.args]
    assert {path.name for path in RECORDS.iterdir()} == {case[0] for case in marks[0].args[1]}


@pytest.mark.parametrize("stdout", [b"", b"All done!\n", b'{"type":"assistant"}\n', b"\xff\n[[[", b'{"type":"result"}'])
def test_missing_printed_result_is_failure(tmp_path: Path, stdout: bytes) -> None:
    for name in agent_cli_output.FORMATS:
        assert f"no result in the format {name!r}" in failed_reason(tmp_path, stdout=stdout, format=name)


def test_sentences_are_not_interpreted(tmp_path: Path) -> None:
    line = b'{"type":"result","subtype":"success","is_error":%s,"result":"API Error: 429 rate limit, please log in"}'
    for is_error, status in ((b"true", "failed"), (b"false", "done")):
        result = read_command_result(tmp_path, stdout=line % is_error, format="claude-code")
        assert result is not None
        assert status == result.status


def test_end_of_long_output_counts(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b'{"type":"x","y":"' + b"z" * (RESULT_BYTES_MAX + 1) + b'"}\n')
    with open(tmp_path / "stdout", "ab") as file:
        file.write((RECORDS / f"{CLAUDE}-done.jsonl").read_bytes())
    result = read_result("claude-code", tmp_path / "result.json", tmp_path / "stdout")
    assert CommandResult(status="done", text="The lamp is lit.") == result


@pytest.mark.parametrize(
    "resets", [b"-1", b"0", b"1e400", b"1e15", b"NaN", b'"soon"', b"null", b"true", b"[]", b"{}", b"1796000000000"]
)
def test_absurd_end_in_printed_result_is_none(tmp_path: Path, resets: bytes) -> None:
    raw = (RECORDS / f"{CLAUDE}-session-limit.jsonl").read_bytes()
    assert b"1795245731" in raw
    result = read_command_result(tmp_path, stdout=raw.replace(b"1795245731", resets), format="claude-code")
    assert result is not None
    assert ("rate_limited", None) == (result.status, result.until)


def test_long_reason_is_cut(tmp_path: Path) -> None:
    line = msgspec.json.encode({"type": "error", "error": {"name": "E", "data": {"message": "x" * 100_000}}})
    assert len(failed_reason(tmp_path, stdout=line, format="opencode")) <= 4096


def test_result_in_split_output_is_found(tmp_path: Path) -> None:
    raw = (RECORDS / f"{CLAUDE}-session-limit.jsonl").read_bytes()
    (tmp_path / "stdout").write_bytes(b"lost\n")
    (tmp_path / "stdout.1000").write_bytes(raw)
    result = read_result("claude-code", tmp_path / "result.json", tmp_path / "stdout")
    assert result is not None
    assert ("rate_limited", RESETS) == (result.status, result.until)


def test_unknown_format_is_failure(tmp_path: Path) -> None:
    assert "Unknown result format 'newer'" in failed_reason(tmp_path, stdout=b"{}", format="newer")


def test_subagent_error_is_ignored(tmp_path: Path) -> None:
    stdout = (
        b'{"type":"assistant","error":"rate_limit","parent_tool_use_id":"t"}\n'
        b'{"type":"result","subtype":"error_max_turns","is_error":true}\n'
    )
    result = read_command_result(tmp_path, stdout=stdout, format="claude-code")
    assert CommandResult(status="failed", reason="error_max_turns") == result


def test_settings_formats_match_parsers() -> None:
    assert set(agent_cli_output.FORMATS) == set(RESULT_FORMATS)
