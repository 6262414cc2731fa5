"""What trio-websocket's client does when the server misbehaves: why ours isn't made of it.

Prints one line for each answer of a server; docs/dependencies.md quotes them. All in memory,
on a virtual clock: "waits for ever" means for a virtual hour.
"""

import importlib.metadata

import trio
from trio.testing import MockClock, memory_stream_pair
from trio_websocket import wrap_client_stream

ANSWERS = {
    "closes during the handshake": b"",
    "closes in the middle of a refusal": b"HTTP/1.1 503 Busy\r\nContent-Length: 30\r\n\r\ncut",
    "answers a malformed handshake": b"HTTP/1.1 101 Switching\r\n\r\n",
    "answers something else than HTTP": b"SSH-2.0-OpenSSH_9\r\n\r\n",
    "refuses": b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n",
}


def leaves(error: BaseException) -> str:
    """Name what is inside an exception group, however deep."""
    if isinstance(error, BaseExceptionGroup):
        return f"group of {', '.join(leaves(one) for one in error.exceptions)}"
    return repr(error)


async def try_to_connect(answer: bytes) -> str:
    ours, theirs = memory_stream_pair()

    async def serve() -> None:
        await theirs.receive_some()
        await theirs.send_all(answer)
        await theirs.aclose()

    try:
        with trio.fail_after(3600):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                await wrap_client_stream(nursery, ours, "host", "/")  # type: ignore[arg-type]
    except trio.TooSlowError:
        return "waits for ever"
    except Exception as error:
        return leaves(error)
    return "connected"


def main() -> None:
    print("trio-websocket", importlib.metadata.version("trio-websocket"))
    for name, answer in ANSWERS.items():
        outcome = trio.run(try_to_connect, answer, clock=MockClock(autojump_threshold=0))
        print(f"{name}: {outcome}")


if __name__ == "__main__":
    main()
