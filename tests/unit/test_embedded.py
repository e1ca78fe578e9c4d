import asyncio
import re
import signal
import socket
from pathlib import Path

import pytest

from muster.embedded import (
    LOOPBACK,
    Nats,
    Port,
    PortTaken,
    cache_mb,
    open_to_others,
    outlive,
    port_like,
    postgres_url,
)
from muster.provision import Names, NotALedgerName, Passwords, as_role, for_sqlalchemy, heads


def a_nats_server(*, home: Path = Path("/data/nats"), ledger: str = "ledger") -> Nats:
    return Nats(home=home, port=4222, monitor_port=8222, ledger=ledger, relay_password="s/e=c", server="nats-server")


def test_only_the_relay_may_publish_the_facts_of_its_ledger() -> None:
    config = a_nats_server(ledger="ukraine").config()
    assert 'deny: ["ukraine.>"]' in config
    assert "no_auth_user: anyone" in config


def test_jetstream_syncs_what_it_acknowledges() -> None:
    assert re.search(r"^ *sync_interval: always$", a_nats_server().config(), re.MULTILINE)


def test_a_strange_path_stays_one_string_in_the_configuration() -> None:
    assert r'store_dir: "/my \"own\" data/nats"' in a_nats_server(home=Path('/my "own" data/nats')).config()


@pytest.mark.parametrize(("memory_mb", "mb"), [(1_000, 125), (8_192, 1_024), (64_000, 2_048)])
def test_postgresql_keeps_its_pages_in_an_eighth_of_the_memory_or_two_gigabytes(memory_mb: int, mb: int) -> None:
    assert cache_mb(memory_mb) == mb


def test_passwords_are_quoted_in_urls() -> None:
    assert a_nats_server().relay_url == "nats://relay:s%2Fe%3Dc@127.0.0.1:4222"
    assert postgres_url(1, user="a", password="p@ss", database="d") == "postgresql://a:p%40ss@127.0.0.1:1/d"


def test_a_held_port_is_nobody_elses_yet_a_server_of_ours_may_listen_on_it() -> None:
    port, next_port = Port(), Port()
    next_port.release()
    assert next_port.number != port.number
    with socket.create_server((LOOPBACK, port.number)):
        with pytest.raises(PortTaken, match=str(port.number)):
            Port(port.number)
        other = port_like(port.number, 0)
        assert other.number != port.number
        other.release()
    port.release()


def test_a_free_port_that_is_wished_for_is_had() -> None:
    port = Port()
    wished = port.number
    port.release()
    again = port_like(0, wished)
    assert again.number == wished
    again.release()


def test_a_file_below_a_closed_directory_is_not_open_to_others(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "program"
    program.touch(mode=0o755)
    assert not open_to_others(program)
    assert open_to_others(Path("/bin/sh").resolve())


async def test_an_empty_directory_is_outlived_at_once(tmp_path: Path) -> None:
    async with asyncio.timeout(1):
        await outlive(tmp_path, "postgres", signal.SIGTERM)


@pytest.mark.parametrize("name", ["ledger", "a", "a_1", "x" * 32])
def test_names_of_ledgers(name: str) -> None:
    assert Names(name).projections_reader == f"{name}_projections_reader"


@pytest.mark.parametrize("name", ["", "Ledger", "1a", "a-b", "a.b", "a b", "x" * 33, "ä", "a\n"])
def test_what_cannot_name_a_ledger_is_refused(name: str) -> None:
    with pytest.raises(NotALedgerName):
        Names(name)


def test_a_password_is_made_once_and_read_by_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    first = Passwords(file).of("relay")
    assert Passwords(file).of("relay") == first != Passwords(file).of("postgres")
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_role_takes_the_place_of_the_admin_in_a_url() -> None:
    url = as_role("postgres://root:x@db.example:6432/postgres?sslmode=require", "ledger", "p/w", "log")
    assert url == "postgresql://ledger:p%2Fw@db.example:6432/log?sslmode=require"
    assert for_sqlalchemy(url) == "postgresql+asyncpg://ledger:p%2Fw@db.example:6432/log?ssl=require"


def test_heads_are_the_revisions_that_none_follows(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('revision = "a"\ndown_revision = None\n')
    (tmp_path / "b.py").write_text('revision: str = "b"\ndown_revision: str | None = "a"\n')
    (tmp_path / "c.py").write_text('revision = "c"\ndown_revision = "a"\n')
    assert heads(tmp_path) == {"b", "c"}
    (tmp_path / "d.py").write_text('revision = "d"\ndown_revision = ("b", "c")\n')
    assert heads(tmp_path) == {"d"}
    assert heads(tmp_path / "nowhere") == set()
