"""The PostgreSQL of a test run stops after the last process that uses it, however that process ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import server_folder
from tests.waiting import wait_until

OWNER_SCRIPT = """
import sys
from pathlib import Path
from tests.postgres import PostgresServer, server_folder
server = PostgresServer(server_folder(Path(sys.argv[1])))
print(server.run_as_superuser("SELECT 1"), server._server.get_pid(), flush=True)
sys.stdin.read()
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


@pytest.mark.process
def test_server_stops_after_last_user(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER_SCRIPT, str(tmp_path)]
    processes = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        for _ in range(2)
    ]
    try:
        server_pids = []
        for process in processes:
            assert process.stdout is not None
            answer, pid = process.stdout.readline().split()
            assert answer == "[(1,)]"
            server_pids.append(int(pid))
        assert server_pids[0] == server_pids[1]
        processes[0].kill()
        processes[0].wait()
        assert is_running(server_pids[0])
        assert server_folder(tmp_path).exists()
    finally:
        for process in processes:
            with process:
                process.kill()
    wait_until(lambda: not is_running(server_pids[0]), "the server has exited")
    wait_until(
        lambda: not [*server_folder(tmp_path).parent.glob(f"{server_folder(tmp_path).name}*")], "its folder is removed"
    )
