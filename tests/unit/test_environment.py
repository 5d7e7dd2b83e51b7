import os

from greenroom.process.command import child_environment


def test_child_environment_has_basics_and_extras() -> None:
    parent = {"PATH": "/bin", "HOME": "/h", "LC_TIME": "C", "SSL_CERT_FILE": "/ca.pem", "XDG_STATE_HOME": "/state"}
    assert child_environment(parent, {"GREENROOM_TASK": "task_1"}) == {**parent, "GREENROOM_TASK": "task_1"}


def test_child_environment_drops_the_rest() -> None:
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


def test_extras_override_parent() -> None:
    assert child_environment({"HOME": "/h", "PATH": "/bin"}, {"HOME": "/other"})["HOME"] == "/other"


def test_path_has_default() -> None:
    assert child_environment({}, {}) == {"PATH": os.defpath}
