"""The PostgreSQL of a test run stops after the last process that uses it, however that process ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import place_of
from tests.waiting import wait_until

USER = """
import sys
from pathlib import Path
from tests.postgres import Server, place_of
server = Server(place_of(Path(sys.argv[1])))
print(server.admin("SELECT 1"), server._server.get_pid(), flush=True)
sys.stdin.read()
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


@pytest.mark.process
def test_a_server_outlives_one_killed_user_and_not_the_last(tmp_path: Path) -> None:
    command = [sys.executable, "-c", USER, str(tmp_path)]
    users = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        for _ in range(2)
    ]
    try:
        servers = []
        for user in users:
            assert user.stdout is not None
            said, pid = user.stdout.readline().split()
            assert said == "[(1,)]"
            servers.append(int(pid))
        assert servers[0] == servers[1]
        users[0].kill()
        users[0].wait()
        assert is_alive(servers[0])
        assert place_of(tmp_path).exists()
    finally:
        for user in users:
            with user:
                user.kill()
    wait_until(lambda: not is_alive(servers[0]), "the server has exited")
    wait_until(lambda: not [*place_of(tmp_path).parent.glob(f"{place_of(tmp_path).name}*")], "its folder is removed")
