import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.credentials import (
    check_name,
    make_access_key,
    make_tenant,
    read_tenant,
    seal_key,
    tenant_body,
    write_tenant,
)
from cli.files import lock_directory, read_json, write_private
from cli.ports import FIRST_PORT, LAST_PORT, PortChooser, can_listen, parse_address
from common.errors import BadConfig
from common.ports import Address


def test_a_written_file_is_whole_private_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["file"]


def test_an_absent_file_is_none_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    assert read_json(tmp_path / "x") is None
    (tmp_path / "x").write_text("{")
    with pytest.raises(BadConfig, match="cannot_read"):
        read_json(tmp_path / "x")


def test_a_second_holder_is_refused_and_told_who_holds_the_lock(tmp_path: Path) -> None:
    handle = lock_directory(tmp_path)
    with pytest.raises(BadConfig) as caught:
        lock_directory(tmp_path)
    assert caught.value.reason == "data_in_use"
    assert str(os.getpid()) in str(caught.value)
    os.close(handle)
    os.close(lock_directory(tmp_path))


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, signal; from pathlib import Path; from cli.files import lock_directory\n"
        "lock_directory(Path(sys.argv[1])); print('locked', flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(BadConfig):
            lock_directory(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        os.close(lock_directory(tmp_path))


def test_a_tenant_comes_back_from_its_private_file(tmp_path: Path) -> None:
    tenant = make_tenant()
    path = write_tenant(tmp_path, "default", tenant)
    assert path.stat().st_mode & 0o777 == 0o600
    again = read_tenant(path)
    assert (again.tenant_id, again.key) == (tenant.tenant_id, tenant.key)
    with pytest.raises(BadConfig, match="tenant_exists"):
        write_tenant(tmp_path, "default", make_tenant())


def test_the_coordinator_hears_neither_the_tenant_key_nor_the_secret() -> None:
    tenant = make_tenant()
    access_key, secret_key = make_access_key()
    said = json.dumps(
        [tenant_body("t", tenant), seal_key(tenant, access_key, secret_key, created_ms=1)]
    )
    assert secret_key not in said
    assert tenant.key.hex() not in said
    assert tenant._prover().private_key.hex() not in said
    assert (len(access_key), len(secret_key)) == (20, 40)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "-a", "é", "a" * 64, "a\n"])
def test_a_tenant_name_that_is_no_plain_file_name_is_refused(name: str) -> None:
    with pytest.raises(BadConfig, match="bad_name"):
        check_name(name)


@pytest.mark.parametrize("content", [None, "{}", '{"tenant_id": "00", "key": "zz"}'])
def test_a_missing_or_damaged_tenant_file_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "t.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadConfig):
        read_tenant(path)


def test_addresses_are_read_with_and_without_brackets() -> None:
    assert parse_address("127.0.0.1:9000") == Address("127.0.0.1", 9000)
    assert parse_address("[::1]:9000") == Address("::1", 9000)
    for wrong in ("9000", ":9000", "host:", "host:99999", "host:x"):
        with pytest.raises(BadConfig, match="bad_address"):
            parse_address(wrong)


def test_ports_are_chosen_below_the_outgoing_range_and_never_twice() -> None:
    chooser = PortChooser()
    chosen = [chooser.choose(None).port for _ in range(20)]
    assert len(set(chosen)) == 20
    assert all(FIRST_PORT <= port <= LAST_PORT for port in chosen)


def test_a_remembered_port_is_kept_while_it_is_free() -> None:
    first = PortChooser().choose(None)
    assert can_listen(first)
    again = PortChooser()
    assert again.choose(str(first)) == first
    assert again.choose(str(first)) != first
