"""Serves Nautobot on loopback: server.py PORT FOLDER. It ends when its standard input is closed.

FOLDER holds the data, which begins as a copy of what `template.py` made. Nautobot's own command runs it with uWSGI.
"""

import os
import shutil
import sys
import threading
from pathlib import Path

from services import HERE, VENV, environment, start, start_postgres, start_redis


def end_with_input():
    sys.stdin.buffer.read()
    # The processes that this one started end with it.
    os._exit(0)


def main(port, folder):
    threading.Thread(target=end_with_input, daemon=True).start()
    if not (folder / "postgres").exists():
        shutil.copytree(HERE / "template" / "postgres", folder / "postgres")
    parts = {start_postgres(folder).pid: "PostgreSQL", start_redis(folder).pid: "Redis"}
    command = [VENV / "bin" / "nautobot-server", "start", "--ini", HERE / "uwsgi.ini"]
    parts[start(command, env=environment(folder, port)).pid] = "Nautobot"
    ended, status = os.wait()
    sys.exit(f"{parts[ended]} has ended with {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())
