"""The types of the browser client: strict, and what npm is given is what the sources say."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.npm import from_npm
from tests.test_wheel import PROJECT

HERE = Path(__file__).parent
LIBRARY = HERE.parent.parent / "squire_gatherings" / "browser"
FOR_A_PROGRAM = """
import { connect, GatheringError, type Change } from "squire-gatherings";

interface Op { add: number }
const room = connect("wss://h", "friday", {
  initial: 0,
  fold: (sum, op) => sum + (op as Op).add,
  token: async (why) => (why === "join" ? "a" : null),
});
const sum: number = room.state;
const seqs: number[] = await room.submit({ add: 1 });
room.addEventListener("dispersed", ({ detail }) => console.log(detail.reason, detail.idleFor));
for await (const one of room.changes()) { const change: Change = one; console.log(change, sum); }
console.log(seqs);
"""


@pytest.fixture(scope="module")
def tsc() -> list[str]:
    return ["node", str(from_npm(HERE, "typescript/bin/tsc"))]


def run(*command: str, cwd: Path = HERE) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    return done.stdout if done.returncode else ""


def test_the_types_are_strict_and_as_they_are_given(tsc: list[str], tmp_path: Path) -> None:
    assert run(*tsc, "-p", ".", "--skipLibCheck", "--outDir", str(tmp_path)) == ""
    given = {file.name: file.read_text() for file in (LIBRARY / "types").glob("*.d.ts")}
    # Made by: node tests/browser/node_modules/typescript/bin/tsc -p tests/browser
    assert given == {file.name: file.read_text() for file in tmp_path.glob("*.d.ts")}


def test_a_program_is_checked_by_them(tsc: list[str], tmp_path: Path) -> None:
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "squire-gatherings").symlink_to(LIBRARY)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "right.ts").write_text(FOR_A_PROGRAM)
    wrong = FOR_A_PROGRAM.replace("initial:", "inital:").replace("sum: number", "sum: Date")
    (tmp_path / "wrong.ts").write_text(wrong)
    options = ["--strict", "--skipLibCheck", "--noEmit", "--target", "es2022"]
    said = run(*tsc, *options, "--module", "nodenext", "right.ts", "wrong.ts", cwd=tmp_path)
    assert "right.ts" not in said
    assert "inital" in said
    assert "Date" in said


def test_the_package_is_whole() -> None:
    package = json.loads((LIBRARY / "package.json").read_text())
    assert package["version"] == PROJECT["version"]
    assert (LIBRARY / package["main"]).is_file()
    assert (LIBRARY / package["types"]).is_file()
    for file in LIBRARY.glob("*.js"):
        for line in file.read_text().splitlines():
            # Nothing from elsewhere, and nothing to build.
            assert "require(" not in line
            if line.startswith(("import ", "export ", "} from ")) and ' from "' in line:
                assert ' from "./' in line, line
