"""`muster up`: everything that a ledger needs, started in order, kept running, stopped in order.

PostgreSQL and NATS -> databases, roles, migrations -> relay, both APIs, worker -> the worked example.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from muster.children import CannotRun, Child, Program, Ready, both, together
from muster.embedded import (
    LOOPBACK,
    START_WITHIN_S,
    Nats,
    Port,
    PortTaken,
    Postgres,
    answers_ok,
    nats_in,
    port_like,
    postgres_in,
)
from muster.example import load
from muster.provision import PROJECT, Names, Passwords, Urls, provision
from muster.running import RUNNING, Running

NATS_PORT: Final = 4222
STARTS: Final = 3  # of a server whose port somebody else takes in the moment before it listens
HEALTH_EVERY_S: Final = 2.0
ILL_FOR: Final = 3  # looks in a row at a server that says it is not well, before it is started again
MENDING_S: Final = 30.0  # how long a server may take to be well again after that
STOP_ORDER: Final = (("commitments", "projections"), ("worker",), ("relay",), ("nats-server",), ("postgres",))


class HomeInUse(CannotRun):
    """Another runner works with this home."""

    def __init__(self, home: Path, holder: str) -> None:
        who = f" (pid {holder})" if holder else ""
        super().__init__(f"{home} is in use by another `muster up`{who}: stop that one, or choose another --home")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `muster up` was asked for. Port 0 means any free one."""

    home: Path
    commitments_port: int
    projections_port: int
    example: bool
    json: bool
    ledger: str
    database_url: str | None  # of a server to use instead of the embedded one, as a role that may create roles
    nats_url: str | None


@dataclass(slots=True)
class State:
    """What a home remembers between two runs, in state.json."""

    file: Path
    ports: dict[str, int] = field(default_factory=dict)
    example: dict[str, str] = field(default_factory=dict)  # ledger -> wanted, declined, loaded

    @classmethod
    def of(cls, home: Path) -> "State":
        """What `home` remembers; an unreadable file is no memory."""
        file = home / "state.json"
        known: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            known = json.loads(file.read_text())
        return cls(file, known.get("ports", {}), known.get("example", {}))

    def write(self) -> None:
        """Remember it."""
        making = self.file.with_suffix(".making")
        making.write_text(json.dumps({"ports": self.ports, "example": self.example}, indent=1))
        making.replace(self.file)


class Voice:
    """Says what happens, each line with the seconds since the start; a terminal also sees what is being done."""

    def __init__(self, *, to_stderr: bool) -> None:
        self.console = Console(stderr=to_stderr, highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._status: Status | None = None

    def say(self, text: str) -> None:
        """One line about something that is through."""
        self.console.print(f"[dim]{time.monotonic() - self._began:6.2f} s[/dim]  {escape(text)}")

    def doing(self, text: str) -> None:
        """What is going on; only a terminal shows it. Empty: nothing any more."""
        if not self.console.is_terminal:
            return
        if self._status is None:
            self._status = self.console.status("")
        if text:
            self._status.update(escape(text))
            self._status.start()
        else:
            self._status.stop()


async def up(options: Options, voice: Voice) -> None:
    """Run everything until SIGTERM, SIGINT or SIGHUP, then stop it in order. A second signal hurries.

    Raises:
        CannotRun: Something did not start, or died again and again; says why. All else is stopped by then.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    with held(options.home):
        async with AsyncExitStack() as resources:
            runner = Runner(options, voice, resources)
            try:
                if await unless(stop, runner.begin()):
                    await unless(stop, runner.watch())
            finally:
                stop.set()  # from here on a signal means: hurry
                await runner.end(hurry)


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do `work` to its end and say True, or drop it and say False as soon as `stop` is set."""
    doing, waiting = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((doing, waiting), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
            return True
        return False
    finally:
        waiting.cancel()
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)


@contextlib.contextmanager
def held(home: Path) -> Iterator[None]:
    """Keep `home` (made when it is not there) from other runners. The kernel lets go of it with our process.

    Raises:
        HomeInUse: Another runner holds it.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / "logs").mkdir(mode=0o700, exist_ok=True)
        lock = (home / "lock").open("a+")
    except OSError as error:
        raise CannotRun(f"{home} cannot be used: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise HomeInUse(home, lock.read().strip()) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


class Runner:
    """What runs for one home."""

    def __init__(self, options: Options, voice: Voice, resources: AsyncExitStack) -> None:
        self.options = options
        self.voice = voice
        self.names = Names(options.ledger)
        self.state = State.of(options.home)
        self.passwords = Passwords(options.home / "secrets.json")
        self.children: dict[str, Child] = {}
        self._keeping: list[asyncio.Task[None]] = []
        self._resources = resources
        self._nats: Nats | None = None

    async def begin(self) -> None:
        """Start everything; return when all is ready and said."""
        options = self.options
        commitments_port = self._api_port("commitments", options.commitments_port)
        projections_port = self._api_port("projections", options.projections_port)
        if commitments_port == projections_port:
            raise CannotRun(f"both services on port {commitments_port}? Choose another with --projections-port N")
        if options.ledger not in self.state.example:
            self.state.example[options.ledger] = "wanted" if options.example else "declined"
            self.state.write()
        roles, (nats_url, relay_url) = await both(self._databases(), self._stream())
        commitments, projections = (f"http://{LOOPBACK}:{port}" for port in (commitments_port, projections_port))
        self.voice.doing("starting both services")
        await together(
            self._service(
                "commitments",
                "services.commitments",
                "api",
                f"{commitments}/readyz",
                MUSTER_COMMITMENTS_HOST=LOOPBACK,
                MUSTER_COMMITMENTS_PORT=str(commitments_port),
                MUSTER_COMMITMENTS_DATABASE_URL=roles.commitments,
                MUSTER_NATS_URL=nats_url,
            ),
            self._service(
                "relay",
                "services.commitments",
                "relay",
                f"http://{LOOPBACK}:{(relay_port := self._port('relay'))}/healthz",
                MUSTER_RELAY_PORT=str(relay_port),
                MUSTER_COMMITMENTS_DATABASE_URL=roles.commitments,
                MUSTER_NATS_URL=relay_url,
            ),
            self._service(
                "worker",
                "services.projections",
                "worker",
                f"http://{LOOPBACK}:{(worker_port := self._port('worker'))}/healthz",
                MUSTER_WORKER_PORT=str(worker_port),
                MUSTER_PROJECTIONS_DATABASE_URL=roles.projections,
                MUSTER_NATS_URL=nats_url,
            ),
            self._service(
                "projections",
                "services.projections",
                "api",
                f"{projections}/readyz",
                MUSTER_PROJECTIONS_HOST=LOOPBACK,
                MUSTER_PROJECTIONS_PORT=str(projections_port),
                MUSTER_PROJECTIONS_DATABASE_URL=roles.projections_reader,
                MUSTER_NATS_URL=nats_url,
            ),
        )
        Running(
            commitments=commitments,
            projections=projections,
            relay=f"http://{LOOPBACK}:{relay_port}",
            worker=f"http://{LOOPBACK}:{worker_port}",
            ledger=options.ledger,
            nats_url=relay_url,
            log_url=roles.commitments,
            log_owner_url=roles.commitments_owner,
            read_models_url=roles.projections,
        ).write(options.home)
        self._resources.callback((options.home / RUNNING).unlink, missing_ok=True)
        await self._load_example(commitments)
        self.voice.doing("")
        self._say_ready(
            {
                "commitments": commitments,
                "projections": projections,
                "nats": nats_url,
                "database": roles.commitments,
                "projections_database": roles.projections,
            }
        )

    async def watch(self) -> None:
        """Keep everything running; return only by raising.

        Raises:
            CrashLoop: A child dies again and again.
        """
        watching = [*self._keeping]
        if self._nats:
            watching.append(asyncio.create_task(watch_health(self.children["nats-server"], self._nats.ready)))
            self._keeping.append(watching[-1])
        done, _ = await asyncio.wait(watching, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def end(self, hurry: asyncio.Event) -> None:
        """Stop everything that was started, what feeds on others first."""
        self.voice.doing("stopping")
        for names in STOP_ORDER:
            stopping = [self.children[name] for name in names if name in self.children]
            await asyncio.gather(*(child.stop(hurry) for child in stopping))
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        self.voice.doing("")
        if self.children:
            self.voice.say("stopped")

    # ---------------------------------------------------------------------------------------------- the steps

    async def _databases(self) -> Urls:
        admin_url = self.options.database_url
        if admin_url:
            admin_url = urlunsplit(urlsplit(admin_url)._replace(scheme="postgresql"))
            self.voice.say(f"PostgreSQL: yours on {urlsplit(admin_url).netloc.rpartition('@')[2]}")
        else:
            admin_url = (await self._postgres()).url
        self.voice.doing("migrating")
        roles = await provision(admin_url, self.names, self.passwords)
        self.voice.say("databases, roles and migrations")
        return roles

    async def _stream(self) -> tuple[str, str]:
        """The URL of NATS for readers, and the one for the relay."""
        if self.options.nats_url:
            self.voice.say(f"NATS: yours on {urlsplit(self.options.nats_url).netloc.rpartition('@')[2]}")
            return self.options.nats_url, self.options.nats_url
        self._nats = await self._nats_server()
        return self._nats.url, self._nats.relay_url

    async def _postgres(self) -> Postgres:
        data = self.options.home / "postgres"
        self.voice.doing("starting PostgreSQL" if data.exists() else "making the database")
        tries = 0
        while True:
            tries += 1
            port = self._port("postgres")
            server = await postgres_in(data, password=self.passwords.of("postgres"), port=port)
            program = self._resources.enter_context(server.program(self._log("postgres")))
            if await self._started(program, server.ready, port, last=tries == STARTS):
                self.voice.say(f"PostgreSQL on {LOOPBACK}:{port}")
                return server

    async def _nats_server(self) -> Nats:
        tries = 0
        while True:
            tries += 1
            port = self._port("nats", NATS_PORT)
            server = await nats_in(
                self.options.home / "nats",
                ledger=self.names.ledger,
                relay_password=self.passwords.of("nats-relay"),
                port=port,
                monitor_port=self._port("nats-monitor"),
            )
            program = server.program(self._log("nats-server"))
            if await self._started(program, server.ready, port, last=tries == STARTS):
                self.voice.say(f"NATS on {LOOPBACK}:{port}")
                return server

    async def _service(self, name: str, module: str, role: str, url: str, **env: str) -> None:
        program = Program(
            name=name,
            command=(sys.executable, "-P", "-m", module, role),
            log=self._log(name),
            cwd=PROJECT,
            env={
                **env,
                "MUSTER_LEDGER": self.names.ledger,
                "PYTHONUNBUFFERED": "1",
                "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(PROJECT)))),
            },
        )

        async def ready() -> str | None:
            return await answers_ok(url)

        await self._started(program, ready, last=True)
        self.voice.say(f"{name} on {url.rpartition('/')[0]}")

    async def _started(self, program: Program, ready: Ready, port: int = 0, *, last: bool) -> bool:
        """Start it, to be kept from now on. False: somebody took its port, and there may be another try."""
        child = self.children[program.name] = Child(program, self.voice.say)
        try:
            await child.start(ready, within_s=START_WITHIN_S)
        except CannotRun:
            await child.stop(asyncio.Event())
            if last or not is_taken(port):
                raise
            return False
        self._keeping.append(asyncio.create_task(child.keep(), name=program.name))
        return True

    async def _load_example(self, commitments: str) -> None:
        """Tell the ledger the worked example, once in its life; a failure is said, the next start tries again."""
        wanted = self.options.example and self.state.example[self.options.ledger] == "wanted"
        if not wanted:
            return
        self.voice.doing("loading the worked example")
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout may be promised to a script
                loaded = await asyncio.to_thread(load, commitments)
        except Exception as error:  # noqa: BLE001 - whatever it is, the ledger runs, and its user is told
            self.voice.say(f"the worked example was not loaded: {type(error).__name__}: {error}")
            return
        if loaded.refused:
            self.voice.say(
                f"the worked example: {len(loaded.refused)} lines were refused, the first: {loaded.refused[0]}"
            )
            return
        self.state.example[self.options.ledger] = "loaded"
        self.state.write()
        self.voice.say(
            f"the worked example is loaded: {loaded.recorded} facts recorded, {loaded.already} there already"
        )

    def _say_ready(self, where: dict[str, str]) -> None:
        if self.options.json:
            print(json.dumps(where), flush=True)  # noqa: T201 - the one line a script waits for
        self.voice.say("ready")
        rows = {
            "the page": f"{where['projections']}/",
            "commitments": f"{where['commitments']}/docs",
            "projections": f"{where['projections']}/docs",
            "events": f"{without_password(where['nats'])}, stream {self.names.ledger.upper()}",
            "the log": f"{without_password(where['database'])}, passwords in {self.options.home / 'secrets.json'}",
        }
        for what, place in rows.items():
            self.voice.console.print(f"          [bold]{what:<12}[/bold] {escape(place)}")
        self.voice.console.print(
            f"          Ctrl-C stops everything; the data stays in {escape(str(self.options.home))}"
        )

    # ------------------------------------------------------------------------------------------ what they need

    def _log(self, name: str) -> Path:
        return self.options.home / "logs" / f"{name}.log"

    def _api_port(self, service: str, wanted: int) -> int:
        """Hold `wanted` for an API; a port that was asked for is not silently another one."""
        try:
            port = Port(wanted)
        except PortTaken as error:
            raise CannotRun(f"{error}: choose another with --{service}-port N (0: any free one)") from error
        self._resources.callback(port.release)
        return port.number

    def _port(self, name: str, default: int = 0) -> int:
        """Hold a port that nobody chose: `default` if free, else the one of the last run, else any."""
        port = port_like(default, self.state.ports.get(name, 0))
        self._resources.callback(port.release)
        self.state.ports[name] = port.number
        self.state.write()
        return port.number


async def watch_health(child: Child, ready: Ready, *, every_s: float = HEALTH_EVERY_S) -> None:
    """Start a server again that runs but says it is not well (NATS, once its disk was full). Does not return."""
    ill = 0
    while True:
        await asyncio.sleep(every_s)
        why = await ready() if child.pid else None
        ill = ill + 1 if why else 0
        if why and ill >= ILL_FOR:
            await child.restart(f"it says it is not well ({why})")
            ill = 0
            await well_again(ready, within_s=MENDING_S)


async def well_again(ready: Ready, *, within_s: float) -> None:
    """Wait until `ready` answers None, or the seconds are over."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and await ready() is not None:  # noqa: ASYNC110 - nothing tells us
        await asyncio.sleep(0.2)


def is_taken(port: int) -> bool:
    """Whether somebody listens on `port`."""
    try:
        Port(port).release()
    except PortTaken:
        return True
    return False


def without_password(url: str) -> str:
    """`url` as a screen may show it."""
    parts = urlsplit(url)
    user, _, server = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{server}" if user else server))
