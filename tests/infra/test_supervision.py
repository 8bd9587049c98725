"""The supervisor with real processes: Valkey and Postgres, which start in a moment."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import socketserver
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from infra.embedded import control, postgres, watchdog
from infra.embedded.accounts import Account, can_reach
from infra.embedded.control import start, stop
from infra.embedded.credentials import ensure_credentials
from infra.embedded.errors import ServiceFailedError
from infra.embedded.files import read_json, write_json
from infra.embedded.layout import ROOT, Layout
from infra.embedded.plan import databases_for
from infra.embedded.ports import DEFAULTS, choose_ports
from infra.embedded.postgres import ensure_databases
from infra.embedded.processes import serves
from infra.embedded.state import Phase, UnitState, read_state
from infra.embedded.status import read_status
from lakehouse.settings import Settings

VALKEY = frozenset({"valkey"})
POSTGRES = frozenset({"postgres"})


def layout_of(settings: Settings) -> Layout:
    return Layout.of(settings.home)


def unit(settings: Settings, name: str) -> UnitState:
    state = read_state(layout_of(settings))
    assert state is not None
    return state.units[name]


def supervisor(settings: Settings) -> int:
    state = read_state(layout_of(settings))
    assert state is not None
    return state.pid


def eventually(claim: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not claim() and time.monotonic() < deadline:
        time.sleep(0.02)
    return claim()


def left_behind(settings: Settings) -> list[int]:
    return watchdog.marked(str(layout_of(settings).home))


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_second_start_finds_everything_up(local: Settings) -> None:
    first = start(local, VALKEY)
    pids = supervisor(local), unit(local, "valkey").pid
    assert start(local, VALKEY) == first
    assert (supervisor(local), unit(local, "valkey").pid) == pids


def test_a_later_start_adds_what_is_missing(local: Settings) -> None:
    start(local, VALKEY)
    valkey = unit(local, "valkey").pid
    start(local, POSTGRES)
    assert unit(local, "postgres").phase is Phase.READY
    assert unit(local, "valkey").pid == valkey


def test_a_stop_leaves_nothing_and_a_second_one_finds_nothing(local: Settings) -> None:
    start(local, VALKEY | POSTGRES)
    assert stop(local.home)
    assert left_behind(local) == []
    assert not stop(local.home)


def test_a_taken_port_gives_way_to_the_next_and_is_remembered(local: Settings) -> None:
    layout = layout_of(local)
    layout.create()
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        write_json(layout.services, {"ports": {"valkey": taken}})
        start(local, VALKEY)
        chosen = read_json(layout.services)
        assert chosen is not None
        assert chosen["ports"]["valkey"] > taken
    stop(local.home)
    start(local, VALKEY)
    assert read_json(layout.services) == chosen


@pytest.mark.parametrize("service", ["postgres", "valkey"])
def test_a_port_lost_between_choice_and_start_gives_way_to_another(
    local: Settings, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        chosen = {**DEFAULTS, **choose_ports({"valkey": 6380, "postgres": 5433})}

        def too_early(*_: object) -> dict[str, int]:
            monkeypatch.setattr(control, "choose_ports", choose_ports)
            return {**chosen, service: taken}

        monkeypatch.setattr(control, "choose_ports", too_early)
        endpoints = start(local, frozenset({service}))
    assert unit(local, service).phase is Phase.READY
    stored = read_json(layout_of(local).services)
    assert stored is not None
    assert stored["ports"][service] > taken
    if service == "postgres":
        assert f":{stored['ports']['postgres']}/" in endpoints.postgres_url
        with psycopg.connect(endpoints.postgres_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


class Impostor(socketserver.BaseRequestHandler):
    """Answers a request for an AUTH and a PING as a Valkey would."""

    def handle(self) -> None:
        self.request.recv(1024)
        self.request.sendall(b"+OK\r\n+PONG\r\n")


def test_a_good_answer_of_another_program_is_not_taken_for_the_services_own(
    local: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where two state folders start at once and one's MLflow takes the port of the other's."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Impostor) as impostor:
        threading.Thread(target=impostor.serve_forever, daemon=True).start()
        taken = impostor.server_address[1]
        chosen = {**DEFAULTS, **choose_ports({"valkey": 6380, "postgres": 5433}), "valkey": taken}

        def too_early(*_: object) -> dict[str, int]:
            monkeypatch.setattr(control, "choose_ports", choose_ports)
            return chosen

        monkeypatch.setattr(control, "choose_ports", too_early)
        start(local, VALKEY)
        impostor.shutdown()
    stored = read_json(layout_of(local).services)
    assert stored is not None
    assert stored["ports"]["valkey"] > taken
    assert serves(supervisor(local), stored["ports"]["valkey"])
    assert not serves(supervisor(local), taken)


def test_a_later_service_whose_port_was_taken_meanwhile_finds_another(local: Settings) -> None:
    start(local, VALKEY)
    stored = read_json(layout_of(local).services)
    assert stored is not None
    before, valkey = stored["ports"]["postgres"], unit(local, "valkey").pid
    with socket.create_server(("127.0.0.1", before)):
        url = start(local, POSTGRES).postgres_url
    assert f":{before}/" not in url
    assert unit(local, "valkey").pid == valkey


def test_a_killed_supervisor_leaves_no_process_and_the_next_start_works(local: Settings) -> None:
    start(local, VALKEY | POSTGRES)
    members = [pid for pid in left_behind(local) if pid != os.getpid()]
    server = unit(local, "postgres").pid
    assert server is not None
    members += children_of(server)
    assert len(members) > 4
    os.kill(supervisor(local), signal.SIGKILL)
    assert eventually(lambda: not any(alive(pid) for pid in members))
    start(local, VALKEY | POSTGRES)
    assert unit(local, "postgres").phase is Phase.READY


def test_a_killed_service_comes_back(local: Settings) -> None:
    start(local, VALKEY)
    before = unit(local, "valkey")
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    assert eventually(lambda: unit(local, "valkey").restarts == 1)
    assert eventually(lambda: unit(local, "valkey").phase is Phase.READY)
    assert unit(local, "valkey").pid != before.pid


def test_a_killed_postgres_comes_back_with_what_was_committed(local: Settings) -> None:
    url = start(local, POSTGRES).postgres_url
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    before = unit(local, "postgres").pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    assert eventually(lambda: unit(local, "postgres").restarts == 1)
    assert eventually(lambda: unit(local, "postgres").phase is Phase.READY)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_a_killed_watchdog_is_replaced(local: Settings) -> None:
    start(local, VALKEY)
    served = unit(local, "valkey").pid
    dogs = [pid for pid in children_of(supervisor(local)) if pid != served]
    assert len(dogs) == 1
    os.kill(dogs[0], signal.SIGKILL)
    assert eventually(lambda: len(set(children_of(supervisor(local))) - {served, *dogs}) == 1)


def test_each_database_has_its_owner_and_strangers_are_shut_out(local: Settings) -> None:
    start(local, POSTGRES)
    credentials = ensure_credentials(layout_of(local))
    stored = read_json(layout_of(local).services)
    assert stored is not None
    databases = databases_for(local, credentials, stored["ports"]["postgres"])
    with psycopg.connect(databases.argilla) as connection:
        found = connection.execute("SELECT '[1,2]'::vector::text, current_user").fetchone()
    assert found == ("[1,2]", "argilla")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(
            databases.mlflow.replace("/mlflow", "/plata").replace("//plata", "//mlflow")
        )


def test_secrets_are_the_owners_alone_and_stay(local: Settings) -> None:
    start(local, VALKEY)
    layout = layout_of(local)
    made = ensure_credentials(layout)
    assert stat.S_IMODE(layout.secrets.stat().st_mode) == 0o600
    assert stat.S_IMODE(layout.plan.stat().st_mode) == 0o600
    stop(local.home)
    start(local, VALKEY)
    assert ensure_credentials(layout) == made


def test_no_secret_is_in_a_command_line(local: Settings) -> None:
    start(local, VALKEY | POSTGRES)
    credentials = ensure_credentials(layout_of(local))
    commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in left_behind(local)]
    assert not any(credentials.valkey in line or credentials.postgres in line for line in commands)


def test_a_service_that_cannot_start_is_named_with_the_gist_of_its_log(local: Settings) -> None:
    start(local, POSTGRES)
    stop(local.home)
    site = postgres.locate(layout_of(local), ensure_credentials(layout_of(local)).installation)
    version = (site.data / "PG_VERSION").read_text()
    (site.data / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(ServiceFailedError, match=r"(?s)postgres .*FATAL.*plata logs postgres"):
        start(local, POSTGRES)
    (site.data / "PG_VERSION").write_text(version)
    start(local, POSTGRES)
    assert unit(local, "postgres").phase is Phase.READY


def test_an_external_postgres_is_not_started_but_watched(
    local: Settings, postgres_url: str
) -> None:
    given = local.model_copy(update={"postgres_url": SecretStr(postgres_url)})
    endpoints = start(given, VALKEY | POSTGRES)
    assert endpoints.postgres_url == postgres_url
    lines = {line.service: line for line in read_status(given).services}
    assert (lines["postgres"].state, lines["postgres"].health) == ("external", "ok")
    state = read_state(layout_of(given))
    assert state is not None
    assert set(state.units) == {"valkey"}


def test_an_external_postgres_gets_the_other_databases(local: Settings, postgres_url: str) -> None:
    given = local.model_copy(update={"postgres_url": SecretStr(postgres_url)})
    layout = layout_of(local)
    layout.create()
    databases = databases_for(given, ensure_credentials(layout), 0)
    asyncio.run(ensure_databases(databases, external=True))
    asyncio.run(ensure_databases(databases, external=True))
    with psycopg.connect(databases.argilla) as connection:
        assert connection.execute("SELECT '[1]'::vector::text").fetchone() == ("[1]",)


def test_programs_are_copied_once_to_where_all_can_run_them(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    copied = postgres.copied_programs(postgres.packaged_programs(), shared)
    assert postgres.copied_programs(postgres.packaged_programs(), shared) == copied
    said = subprocess.check_output([copied / "bin" / "postgres", "--version"], text=True)
    assert said.startswith("postgres (PostgreSQL) 18")
    assert [path.name for path in shared.iterdir()] == [copied.name]


def test_a_closed_folder_on_the_way_is_noticed(tmp_path: Path) -> None:
    stranger = Account("nobody", 65534, 65534)
    (tmp_path / "closed").mkdir(mode=0o700)
    assert not can_reach(stranger, tmp_path / "closed" / "data")
    assert can_reach(None, tmp_path / "closed" / "data")


def test_an_ordinary_user_needs_nothing_else() -> None:
    """As root this becomes another account; as anybody else it is simply run."""
    python, switch = sys.executable, list[str]()
    if os.geteuid() == 0:
        python = shutil.which("python3.11", path="/usr/local/bin:/usr/bin") or python
        switch = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    packages = str(postgres.packaged_programs().parents[1])
    home = Path("/tmp") / f"plata ordinary {os.getpid()}"
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from infra.embedded.control import remove_data, start\n"
        "from lakehouse.settings import Settings\n"
        "home = Path(sys.argv[1])\n"
        "try:\n"
        "    start(Settings(home=home), frozenset({'postgres', 'valkey'}))\n"
        "    assert (home / 'postgres' / 'data' / 'PG_VERSION').exists()\n"
        "    print('up')\n"
        "finally:\n"
        "    remove_data(home)\n"
        "    home.rmdir()\n"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{packages}"}
    done = subprocess.run(
        [*switch, python, "-c", code, str(home)],
        env=env, capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert done.stdout == "up\n", done.stderr
