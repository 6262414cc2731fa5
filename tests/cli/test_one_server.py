"""One server for each file: a second one is refused, and nothing keeps the next one out."""

from pathlib import Path

from tests.forked import run, serving


def test_a_second_server_on_a_file_is_refused(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/rooms.sqlite3"
    for _ in range(2):
        with serving("--store", store) as (process, _):
            code, out, err = run("serve", "--port", "0", "--store", store, cwd=tmp_path)
            assert (code, out) == (2, "")
            where = f"{tmp_path}/rooms.sqlite3"
            assert err == f"squire_gatherings: error: {where}: in use by process {process.pid}\n"
            process.kill()
