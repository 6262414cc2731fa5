"""The types of the browser client: strict, and what npm is given is what the sources say."""

import json
import subprocess
from pathlib import Path

from tests.npm import from_npm
from tests.test_wheel import PROJECT

HERE = Path(__file__).parent
LIBRARY = HERE.parent.parent / "squire_gatherings" / "browser"
FOR_A_PROGRAM = """
import { connect, type Change } from "squire-gatherings";

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


def test_the_types_are_strict_and_as_they_are_given(tmp_path: Path) -> None:
    compiler = from_npm(HERE, "typescript/bin/tsc")
    wrong = FOR_A_PROGRAM.replace("initial:", "inital:").replace("sum: number", "sum: Date")
    (tmp_path / "right.ts").write_text(FOR_A_PROGRAM)
    (tmp_path / "wrong.ts").write_text(wrong)
    settings = {
        "extends": str(HERE / "tsconfig.json"),
        "compilerOptions": {
            "rootDir": "/",
            "outDir": "out",
            "skipLibCheck": True,
            "paths": {"squire-gatherings": [str(LIBRARY / "index.js")]},
        },
        "include": ["*.ts", str(LIBRARY / "*.js")],
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps(settings))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    command = ["node", str(compiler), "-p", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    # Nothing is wrong but what is made to be: an option that there isn't, and a type.
    wrong_lines = {line.partition("(")[0] for line in done.stdout.splitlines() if line[0] != " "}
    assert wrong_lines == {"wrong.ts"}, done.stdout
    assert "inital" in done.stdout
    assert "Date" in done.stdout
    made = tmp_path / "out" / LIBRARY.relative_to("/")
    given = {file.name: file.read_text() for file in (LIBRARY / "types").glob("*.d.ts")}
    # Made by: node tests/browser/node_modules/typescript/bin/tsc -p tests/browser
    assert given == {file.name: file.read_text() for file in made.glob("*.d.ts")}


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
