"""The page's files, as they are served: to anybody, with nothing from elsewhere."""

import re
from pathlib import Path

from tests.admin.port import open_port


async def test_the_page_is_given_to_anybody_and_may_do_little(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        answer = await port.stranger.get("/")
        assert (answer.status_code, answer.headers["content-type"]) == (
            200,
            "text/html; charset=utf-8",
        )
        policy = dict(
            part.partition(" ")[::2]
            for part in answer.headers["content-security-policy"].split("; ")
        )
        assert policy["default-src"] == policy["form-action"] == "'none'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert port.hall.store.name not in answer.text
        # As for all else, the host must be ours.
        answer = await port.stranger.get("/", headers={"Host": "evil.example"})
        assert answer.status_code == 421
        assert (await port.stranger.get("/page/index.html")).status_code == 404
        assert (await port.stranger.get("/page/../app.py")).status_code == 404


async def test_all_that_it_refers_to_is_there_and_its_own(tmp_path: Path) -> None:
    async with open_port(tmp_path) as port:
        seen, wanted = set(), {"/"}
        while wanted:
            path = wanted.pop()
            seen.add(path)
            answer = await port.stranger.get(path)
            assert answer.status_code == 200, path
            text = answer.text
            outside = set(re.findall(r"\w+://[^\s\"'`]*", text)) - {"http://www.w3.org/2000/svg"}
            assert not outside, (path, outside)
            assert not re.search(r"\sstyle=|\son\w+=\"|innerHTML|eval\(", text), path
            found = re.findall(r'(?:src|href)="(/[^"]*)"', text)
            found += [f"/page/{name}" for name in re.findall(r'from "\./([^"]+)"', text)]
            wanted |= set(found) - seen
    kinds = {path.rpartition(".")[2] for path in seen}
    assert kinds == {"/", "css", "mjs", "svg"}
    assert {"/page/main.mjs", "/page/clock.mjs", "/page/dialogs.mjs"} <= seen
