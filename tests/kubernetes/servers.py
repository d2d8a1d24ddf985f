"""The servers that a deployment has beside its cluster: an S3 store and PostgreSQL, real ones, on this machine.

Here: starting and ending them. They die with the program that started them, also when that is killed. Not here: the
cluster (cluster.py), an S3 server that fails as told (../faulty_s3.py).
Pods of a cluster made here share the machine's network and reach 127.0.0.1; for another cluster let
GROUNDPLAN_TEST_HOST name an address of this machine that its pods reach.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host import bring_packages, find
from processes import run, wait_for

BUCKET = "groundplan"
REGION = "us-east-1"
CONNECTIONS = 200  # each run pod holds a few; the default of 100 is for less


def host() -> str:
    return os.environ.get("GROUNDPLAN_TEST_HOST", "127.0.0.1")


class ServerDied(Exception):
    """A server ended by itself; the message ends with its log."""


@dataclass(frozen=True, kw_only=True)
class S3:
    """A running S3 server with one empty bucket."""

    endpoint: str
    access_key: str
    secret_key: str
    folder: Path  # the bucket's objects are files below it
    access_log: Path  # a line for each request, as S3 itself writes them
    bucket: str = BUCKET

    @property
    def env(self) -> dict[str, str]:
        """The environment that leads obstore, boto3 and dagster-aws to it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,  # boto3 reads this one
            "AWS_ALLOW_HTTP": "true",
        }

    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
        )


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A running PostgreSQL with one empty database."""

    host: str
    port: int
    user: str
    password: str
    database: str

    @property
    def url(self) -> str:
        return f"postgresql+psycopg2://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"


@contextmanager
def serve_s3(folder: Path) -> Iterator[S3]:
    """versitygw over an empty folder (on a file system with extended attributes)."""
    folder.mkdir(parents=True)
    port = free_port()
    log = folder.with_suffix(".access")
    s3 = S3(
        endpoint=f"http://{host()}:{port}",
        access_key=secrets.token_hex(10),
        secret_key=secrets.token_hex(20),
        folder=folder / BUCKET,
        access_log=log,
    )
    program = Path(run(Path(__file__).with_name("bring"), "versitygw", seconds=1800).strip()) / "versitygw"
    # not as arguments: those are for everybody to read in the list of processes
    root = {"ROOT_ACCESS_KEY_ID": s3.access_key, "ROOT_SECRET_ACCESS_KEY": s3.secret_key}
    command = [
        str(program),
        "--port",
        f"{host()}:{port}",
        "--region",
        REGION,
        "--quiet",
        "--access-log",
        str(log),
        "posix",
        str(folder),
    ]
    with _running("versitygw", command, folder.with_suffix(".log"), port, os.environ | root):
        s3.client().create_bucket(Bucket=BUCKET)
        yield s3


@contextmanager
def serve_postgres() -> Iterator[Postgres]:
    """A new PostgreSQL in a temporary folder, run by the user `postgres` where this is root (it refuses root)."""
    if not _pg_program("initdb"):
        bring_packages({"initdb": "postgresql"})
    here = Postgres(
        host=host(), port=free_port(), user="groundplan", password=secrets.token_hex(16), database="groundplan"
    )
    folder = Path(tempfile.mkdtemp(prefix="groundplan-postgres-"))  # not below pytest's: others may not look in there
    try:
        password = folder / "password"
        password.write_text(here.password)
        user = ""
        if os.geteuid() == 0:
            user = "postgres"
            account = pwd.getpwnam(user)
            for path in (folder, password):
                os.chown(path, account.pw_uid, account.pw_gid)
        data = folder / "data"
        run(
            *_as(user),
            _pg_program("initdb"),
            f"--pgdata={data}",
            f"--username={here.user}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        settings = {
            "listen_addresses": here.host,
            "port": here.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": CONNECTIONS,
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [_pg_program("postgres"), "-D", str(data), *words]
        # SIGTERM would wait until the last client leaves
        with _running("postgres", command, folder / "log", here.port, user=user, ending=signal.SIGINT):
            run(
                "env",
                f"PGPASSWORD={here.password}",
                _pg_program("createdb"),
                "-h",
                here.host,
                "-p",
                str(here.port),
                "-U",
                here.user,
                here.database,
            )
            yield here
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as found:
        found.bind((host(), 0))
        return int(found.getsockname()[1])


@contextmanager
def _running(
    name: str,
    command: Sequence[str],
    log: Path,
    port: int,
    env: Mapping[str, str] | None = None,
    user: str = "",
    ending: signal.Signals = signal.SIGTERM,
) -> Iterator[None]:
    """A server that dies with us, from the moment that its port answers."""
    words = [*_as(user), "--pdeathsig", ending.name.removeprefix("SIG"), *command]
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd="/")

    def answers() -> bool:
        if process.poll() is not None:
            raise ServerDied(f"{name} died with {process.returncode}: {log.read_text('utf-8', 'replace')[-2000:]}")
        with socket.socket() as probe:
            return probe.connect_ex((host(), port)) == 0

    try:
        wait_for(f"{name} to listen", answers)
        yield
    finally:
        process.send_signal(ending)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _as(user: str) -> list[str]:
    """The words that go before a command to run it as another user; an empty name is the own one."""
    return ["setpriv", *([f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else [])]


def _pg_program(name: str) -> str:
    """Debian keeps the server's programs off the PATH, in a folder for each version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    return find(name) or next((str(folder / name) for folder in reversed(folders) if (folder / name).exists()), "")
