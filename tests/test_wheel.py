"""The wheel: its content, and that the examples run on it with the public face alone.

It is installed in an environment of its own, which has our dependencies and not the checkout.
"""

import ast
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
from attrs import frozen

from tests.test_docs import EXAMPLES

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FACES = {
    "squire_gatherings",
    "squire_gatherings.admin",
    "squire_gatherings.client",
    "squire_gatherings.testing",
}


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without the variables that lead to the checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def expect(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr


@frozen
class Installed:
    wheel: Path
    python: Path


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build the wheel and install it in a new environment, without a network."""
    place = tmp_path_factory.mktemp("wheel")
    expect(run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place, cwd=ROOT))
    [wheel] = place.glob("*.whl")
    venv.create(place / "env", with_pip=False)
    python = place / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    expect(run(*pip, "--no-index", "--no-deps", wheel, cwd=place))
    # This adds our dependencies. Python reads only the .pth files of the environment's own
    # directory, so it doesn't find the checkout's editable installation.
    [packages] = (place / "env").glob("lib/python*/site-packages")
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "dependencies.pth").write_text("".join(f"{path}\n" for path in paths))
    return Installed(wheel, python)


def test_it_holds_the_package_and_nothing_else(installed: Installed) -> None:
    with ZipFile(installed.wheel) as archive:
        names = set(archive.namelist())
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        info = metadata.removesuffix("/METADATA")
        described = archive.read(metadata).decode()
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    package = ROOT / "squire_gatherings"
    tracked = {
        str(path.relative_to(ROOT))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "squire_gatherings/py.typed" in tracked
    expected = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    assert names == tracked | {f"{info}/{name}" for name in expected}
    assert f"\nVersion: {PROJECT['version']}\n" in described
    assert "squire-gatherings = " in entry_points


def test_its_commands_say_the_version(installed: Installed, tmp_path: Path) -> None:
    says = f"squire-gatherings {PROJECT['version']}\n"
    script = installed.python.with_name("squire-gatherings")
    for command in ([script], [installed.python, "-m", "squire_gatherings"]):
        done = run(*command, "--version", cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, says, "")


def test_the_checkout_is_not_found(installed: Installed, tmp_path: Path) -> None:
    code = (
        "import importlib.util as util, squire_gatherings;"
        "print(squire_gatherings.__file__, util.find_spec('benchmarks'))"
    )
    done = run(installed.python, "-c", code, cwd=tmp_path)
    assert done.stdout.startswith(str(installed.python.parents[1])), done.stdout
    assert done.stdout.endswith(" None\n")


ONE_AFTER_THE_OTHER = """
import os, pathlib, sys
for file in map(pathlib.Path, sys.argv[1:]):
    os.chdir(file.parent)
    exec(compile(file.read_text(), str(file), "exec"), {"__name__": "__main__"})
"""
"""Runs examples in one process: `tests/test_docs.py` gives each a process of its own."""


def test_the_examples_run_on_it(installed: Installed, tmp_path: Path) -> None:
    files = [tmp_path / str(one.id) / "example.py" for one in EXAMPLES]
    for file, one in zip(files, EXAMPLES, strict=True):
        file.parent.mkdir()
        file.write_text(str(one.values[0]))
    command: list[str | Path] = [installed.python, "-W", "error", "-c", ONE_AFTER_THE_OTHER]
    done = run(*command, *files, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_imports_only_the_public_face(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [str(node.module)]
        else:
            continue
        ours = {module for module in modules if module.split(".")[0] == "squire_gatherings"}
        assert ours <= FACES


def checked(installed: Installed, program: str, folder: Path) -> str:
    """Return what a strict type checker says about a program that uses the installed wheel."""
    (folder / "program.py").write_text(program)
    options = ["--strict", "--no-error-summary", "--python-executable", str(installed.python)]
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'wheel'}"
    done = run(sys.executable, "-m", "mypy", *options, cache, "program.py", cwd=folder)
    assert not done.stderr
    return done.stdout


def test_the_readme_pleases_a_type_checker(installed: Installed, tmp_path: Path) -> None:
    [code] = [one.values[0] for one in EXAMPLES if str(one.id).startswith("README")]
    assert checked(installed, str(code), tmp_path) == ""


@pytest.mark.parametrize(
    "call",
    [
        "squire_gatherings.open_hall(idle_timout=3600)",
        "squire_gatherings.open_hall(idle_timeout='1h')",
        "squire_gatherings.client.open_client('ws://h', first_pawse=1)",
        "squire_gatherings.ServerSettings(ping_intervall=1)",
    ],
)
def test_a_type_checker_finds_a_misspelt_setting(
    call: str, installed: Installed, tmp_path: Path
) -> None:
    [complaint, *_] = checked(
        installed, f"import squire_gatherings.client\n\n{call}\n", tmp_path
    ).splitlines()
    assert complaint.startswith("program.py:3: error: ")
