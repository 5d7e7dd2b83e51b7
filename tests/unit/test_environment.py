import os

from greenroom.process.environment import child_environment


def test_a_child_gets_what_it_needs_and_what_it_is_given() -> None:
    parent = {"PATH": "/bin", "HOME": "/h", "LC_TIME": "C", "SSL_CERT_FILE": "/ca.pem", "XDG_STATE_HOME": "/state"}
    assert child_environment(parent, {"GREENROOM_TASK": "task_1"}) == {**parent, "GREENROOM_TASK": "task_1"}


def test_nothing_else_leaks() -> None:
    parent = {
        "PATH": "/bin",
        "GREENROOM_TOKEN": "operator",
        "GREENROOM_URL": "http://127.0.0.1:1",
        "GREENROOM_DATA_DIR": "/d",
        "GITHUB_TOKEN": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "NODE_OPTIONS": "--inspect",
        "PYTHONPATH": "/elsewhere",
        "LCX": "no locale",
    }
    assert child_environment(parent, {}) == {"PATH": "/bin"}


def test_what_is_given_wins() -> None:
    assert child_environment({"HOME": "/h", "PATH": "/bin"}, {"HOME": "/other"})["HOME"] == "/other"


def test_there_is_always_a_path() -> None:
    assert child_environment({}, {}) == {"PATH": os.defpath}
