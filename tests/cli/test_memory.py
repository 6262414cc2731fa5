"""How much memory the process may use, as control groups say it."""

from pathlib import Path

import pytest

from squire_gatherings._cli.memory import memory_allowed


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_here_it_is_something() -> None:
    assert 2**20 < memory_allowed() < 2**60


@pytest.mark.parametrize(
    ("files", "allowed"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000\n"}, 1000),
        # The smallest of the limits around it counts.
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": "500\n",
                "sys/fs/cgroup/a/b/memory.max": "1000\n",
            },
            500,
        ),
        # In a container the path is that of the host, and the root is its own.
        ({"proc/self/cgroup": "0::/../x\n", "sys/fs/cgroup/memory.max": "700\n"}, 700),
        (
            {
                "proc/self/cgroup": "5:cpu,memory:/a\n4:cpuset:/b\n",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "800\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            800,
        ),
    ],
)
def test_the_least_limit_counts(files: dict[str, str], allowed: int, tmp_path: Path) -> None:
    for path, text in files.items():
        write(tmp_path, path, text)
    assert memory_allowed(tmp_path) == allowed


@pytest.mark.parametrize("text", ["max", "", "-1", "0", "nonsense"])
def test_without_a_limit_it_is_the_machine(text: str, tmp_path: Path) -> None:
    machine = memory_allowed(tmp_path)
    write(tmp_path, "proc/self/cgroup", "0::/a\nnonsense\n")
    write(tmp_path, "sys/fs/cgroup/a/memory.max", text)
    assert memory_allowed(tmp_path) == machine
