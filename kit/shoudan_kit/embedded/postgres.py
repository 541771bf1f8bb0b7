"""PostgreSQL 18 as a child of this process, from the programs a Python package carries."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self
from urllib.parse import quote

import asyncpg

from shoudan_kit.embedded.binaries import postgres_bin, postgres_version
from shoudan_kit.embedded.home import EmbeddedError, Home, temporary_roots, unprivileged_user
from shoudan_kit.embedded.roles import Admin, Roles, quoted
from shoudan_kit.process.child import Child, User, size, tail
from shoudan_kit.process.polling import until
from shoudan_kit.process.ports import free_port

Profile = Literal["production", "test"]

SUPERUSER: Final = "postgres"
START_S_MAX: Final = 300  # recovery of a full WAL takes its time, and begins anew when it is ended
STOP_S_MAX: Final = 20
AGAIN_S_MAX: Final = 10  # how long a folder or port may be held by a server on its way out
CONNECTIONS: Final = 150
_SOCKET_DIR_MAX: Final = 80  # a socket's whole path has 107 bytes
_ENV: Final = {"PATH": "/usr/bin:/bin", "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}

# Never tuned away: what a commit promises must be true in tests, too.
_ALWAYS: Final[Mapping[str, str]] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "data_sync_retry": "off",  # a failed fsync must stop the server: pages may be lost
    "restart_after_crash": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "jit": "off",  # statements here are short; compiling them costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    "deadlock_timeout": "1s",
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "log_parameter_max_length": "0",  # parameters hold people's phone numbers
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",  # statements may hold such values as literals
    "cluster_name": "shoudan",
}
# Half-open connections must not keep locks: without these, killed clients stall all others.
_PROFILES: Final[Mapping[str, Mapping[str, str]]] = {
    "production": {
        "idle_in_transaction_session_timeout": "10s",
        "transaction_timeout": "15s",
        "client_connection_check_interval": "5s",
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "30s",
    },
    "test": {
        "recovery_init_sync_method": "syncfs",  # a database per test: file by file takes minutes
        "idle_in_transaction_session_timeout": "2s",
        "transaction_timeout": "10s",
        "client_connection_check_interval": "1s",
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "2",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "10s",
    },
}
# The last holder of the folder or the port may need a moment to go; then the start is tried again.
_PASSING: Final = (
    re.compile(r'lock file "[^"]*" already exists'),
    re.compile("pre-existing shared memory block"),
    re.compile("could not create any TCP/IP sockets"),
)


class DatabaseUrls(NamedTuple):
    """How a service reaches its database: as itself, and as the owner of its tables."""

    service: str
    owner: str


class Postgres:
    """One server. Restarts keep port, socket and passwords, so addresses given out stay true."""

    def __init__(
        self, home: Home, bin_dir: Path, port: int, profile: Profile, connections: int
    ) -> None:
        self.name: Final = "postgres"
        self.home, self.port, self.profile = home, port, profile
        self._connections = connections
        self._bin = bin_dir
        self._data = home.path / "data"
        self.log_path = home.path / "postgres.log"
        self.socket_dir = _socket_dir(home)
        self._password = home.secret("superuser.password")
        self._roles = Roles(home)
        self._child: Child | None = None

    @classmethod
    async def start(
        cls,
        data_dir: Path | None = None,
        *,
        port: int | None = None,
        profile: Profile = "production",
        connections: int = CONNECTIONS,
        again_s_max: float = AGAIN_S_MAX,
        programs: Callable[[User | None], Path] = postgres_bin,
    ) -> Self:
        """A server that accepts connections. Without `data_dir` its data goes with it.

        It is started again for `again_s_max` while a server on its way out holds its folder or port.

        Raises EmbeddedError: folder in use or not ours, programs missing, server not coming up.
        """
        user = unprivileged_user()
        bin_dir = await asyncio.to_thread(programs, user)
        home = await asyncio.to_thread(Home.open, data_dir, "postgres", user)
        try:
            postgres = cls(home, bin_dir, port or free_port(), profile, connections)
            await postgres.launch(again_s_max)
            async with postgres.admin() as db:
                await postgres._roles.ensure_owner(db)
                await postgres._roles.ensure_reader(db)
        except BaseException:
            home.close()
            raise
        return postgres

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def version(self) -> str:
        return postgres_version(self._bin)

    @property
    def pid(self) -> int:
        return self._running.pid

    async def launch(self, again_s_max: float = AGAIN_S_MAX) -> None:
        """Make the data folder if there is none, start the server, wait until it accepts connections."""
        if not (self._data / "PG_VERSION").is_file():
            await self._initdb()
        again_until = time.monotonic() + again_s_max
        while True:
            await self._drop_stale_pid_file()
            said_before = size(self.log_path)
            self._child = self._spawn()
            if await until(self._settled, START_S_MAX) and self._accepting():
                return
            await self._child.stop(signal.SIGQUIT, 5)
            said = tail(self.log_path, start=said_before)
            passing = any(sign.search(said) for sign in _PASSING)
            if not passing or time.monotonic() > again_until:
                raise EmbeddedError(f"PostgreSQL did not start; {self.log_path} ends:\n{said}")
            await asyncio.sleep(0.1)

    async def healthy(self) -> bool:
        """Whether a client gets an answer."""
        try:
            async with asyncio.timeout(3), self.admin() as db:
                return await db.fetchval("SELECT 1") == 1
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False

    async def wait(self) -> int:
        """The exit code, when the server has ended."""
        return await self._running.wait()

    def send(self, number: int) -> None:
        """Send a signal to the postmaster."""
        self._running.send(number)

    async def kill(self) -> None:
        """End it as a power cut would end it."""
        self.send(signal.SIGKILL)
        await self.wait()

    async def stop(self) -> None:
        """Stop fast: sessions are ended, the data is left clean. May be repeated."""
        if self._child and not await self._ended_by(signal.SIGINT, STOP_S_MAX):
            await self._child.stop(signal.SIGQUIT, 5)

    async def restart(self) -> None:
        await self.stop()
        await self.launch()

    async def aclose(self) -> None:
        """Stop, release the folder, remove it if it was only for now."""
        if self.home.ephemeral and self._child:
            # Data about to be removed need no checkpoint; with a hundred databases it takes 20 s.
            await self._child.stop(signal.SIGQUIT, STOP_S_MAX)
        await self.stop()
        if self.socket_dir.parent != self.home.path:
            shutil.rmtree(self.socket_dir, ignore_errors=True)
        self.home.close()

    # ------------------------------------------------------------ databases

    async def provision(self, services: Iterable[str]) -> dict[str, DatabaseUrls]:
        """For each service a role and a database, both named shoudan_<service>. Repeats change nothing."""
        urls: dict[str, DatabaseUrls] = {}
        async with self.admin() as db:
            for service in services:
                database = f"{self._roles.prefix}{service}"
                await self._roles.ensure(db, database)
                known = await db.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database)
                if not known:
                    await self._create(db, database, None, database)
                urls[service] = self.urls(service, database)
        return urls

    async def create_database(
        self, database: str, *, service: str | None = None, template: str | None = None
    ) -> None:
        """A new database, owned by the owner role; `service`'s role may connect to it."""
        async with self.admin() as db:
            role = f"{self._roles.prefix}{service}" if service else None
            if role:
                await self._roles.ensure(db, role)
            await self._create(db, database, template, role)

    async def drop_database(self, database: str) -> None:
        """Remove it, connections included. Nothing happens if there is none."""
        async with self.admin() as db:
            await db.execute(f"DROP DATABASE IF EXISTS {quoted(database)} WITH (FORCE)")

    async def _create(
        self, db: Admin, database: str, template: str | None, role: str | None
    ) -> None:
        """Only the owner, the reader and `role` may connect; a template hands no such rights on."""
        source = f" TEMPLATE {quoted(template)}" if template else ""
        owner = quoted(self._roles.owner)
        await db.execute(f"CREATE DATABASE {quoted(database)} OWNER {owner}{source}")
        await db.execute(f"REVOKE ALL ON DATABASE {quoted(database)} FROM PUBLIC")
        for name in filter(None, (self._roles.reader, role)):
            await db.execute(f"GRANT CONNECT ON DATABASE {quoted(database)} TO {quoted(name)}")

    def urls(self, service: str, database: str) -> DatabaseUrls:
        """How `service` reaches `database`."""
        return DatabaseUrls(
            self.url(database, f"{self._roles.prefix}{service}"), self.url(database)
        )

    def url(self, database: str, user: str | None = None) -> str:
        """For SQLAlchemy, over the private socket; as the owner role unless another is named."""
        where = f"host={quote(str(self.socket_dir), safe='/')}&port={self.port}"
        return f"postgresql+asyncpg://{self._login(user)}@/{quote(database)}?{where}"

    def tcp_url(self, database: str, user: str | None = None) -> str:
        """The same over loopback TCP, for programs that know no sockets."""
        return f"postgresql+asyncpg://{self._login(user)}@127.0.0.1:{self.port}/{quote(database)}"

    def _login(self, user: str | None) -> str:
        role = user or self._roles.owner
        password = self._password if role == SUPERUSER else self._roles.password(role)
        return f"{quote(role)}:{quote(password)}"

    @asynccontextmanager
    async def admin(self, database: str = "postgres") -> AsyncGenerator[Admin]:
        """A connection as the superuser, without the time-outs services have."""
        db = await asyncpg.connect(
            host=str(self.socket_dir),
            port=self.port,
            user=SUPERUSER,
            password=self._password,
            database=database,
            timeout=10,
            server_settings={
                "statement_timeout": "0",
                "transaction_timeout": "0",
                "lock_timeout": "30s",
                "application_name": "shoudan admin",
            },
        )
        try:
            yield db
        finally:
            await db.close(timeout=5)

    # ------------------------------------------------------------ the process

    @property
    def _running(self) -> Child:
        if self._child is None:
            raise EmbeddedError("PostgreSQL has not been started")
        return self._child

    def _spawn(self) -> Child:
        options = {
            **_ALWAYS,
            **_PROFILES[self.profile],
            "max_connections": str(self._connections),
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_dir),
        }
        argv = [str(self._bin / "postgres"), "-D", str(self._data)]
        for option, value in options.items():
            argv += ["-c", f"{option}={value}"]
        # SIGINT is the fast shutdown: clean data even if our own process was killed.
        return Child.spawn(
            argv,
            env=_ENV,
            output=self.log_path,
            user=self.home.user,
            death_signal=signal.SIGINT,
            cwd=Path("/"),
        )

    async def _initdb(self) -> None:
        """In a folder beside that is renamed when whole: a killed start leaves no half-made cluster."""
        draft = self.home.path / "data.new"
        await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
        argv = [str(self._bin / "initdb"), "--pgdata", str(draft), "--username", SUPERUSER]
        argv += ["--pwfile", str(self.home.path / "superuser.password"), "--data-checksums"]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self.home.ephemeral:
            argv.append("--no-sync")
        output = self.home.path / "initdb.log"
        child = Child.spawn(argv, env=_ENV, output=output, user=self.home.user, cwd=Path("/"))
        try:
            done = await child.ended(START_S_MAX)
        finally:
            await child.stop(signal.SIGKILL)
        if not done or child.code != 0:
            raise EmbeddedError(f"initdb failed:\n{tail(output)}")
        draft.rename(self._data)

    def _settled(self) -> bool:
        return self._accepting() or self._running.code is not None

    def _accepting(self) -> bool:
        """The postmaster writes its state to line 8 of its pid file; line 1 tells whose file it is."""
        lines = self._pid_file()
        ours = len(lines) > 7 and lines[0].strip() == str(self._running.pid)
        return ours and lines[7].strip() == "ready" and self._running.code is None

    def _pid_file(self) -> list[str]:
        with suppress(FileNotFoundError):
            return (self._data / "postmaster.pid").read_text(errors="replace").splitlines()
        return []

    async def _drop_stale_pid_file(self) -> None:
        """Deal with what a killed run left behind; the home's lock says that no other run is alive.

        A postmaster still on its way out is waited for. A pid that has been given to some other
        process since (after a reboot, say) would make PostgreSQL refuse for ever: that file is removed.
        All else PostgreSQL judges better itself.
        """
        lines = self._pid_file()
        if not lines or not lines[0].strip().isdigit():
            return
        pid = int(lines[0])
        if self._runs_here(pid):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGINT)
            await until(lambda: not self._runs_here(pid), STOP_S_MAX)
        elif _alive(pid):
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _runs_here(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == self._data.resolve()
        except OSError:
            return False

    async def _ended_by(self, number: int, within_s: float) -> bool:
        child = self._running
        child.send(number)
        return await child.ended(within_s)


def _alive(pid: int) -> bool:
    """Without /proc every process counts as another one, and PostgreSQL's own judgement stands."""
    return Path(f"/proc/{pid}").exists()


def _socket_dir(home: Home) -> Path:
    """A private folder with a path short enough for a socket."""
    if len(str(home.path)) < _SOCKET_DIR_MAX - len("/socket"):
        return home.folder("socket")
    root = min((one for one in temporary_roots() if one.is_dir()), key=lambda one: len(str(one)))
    made = Path(tempfile.mkdtemp(prefix="shoudan-socket-", dir=root))
    if home.user:
        os.chown(made, home.user.uid, home.user.gid)
    return made
