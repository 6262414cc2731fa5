"""What it costs to check a signed token: the time for which a join holds everybody else up."""

import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import trio
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from squire_gatherings import JwtAuthenticator, Unauthorized
from squire_gatherings._auth.minting import mint

CHECKS = 500
NOW = int(time.time())
CLAIMS = {"sub": "alice", "role": "member", "gatherings": ["club-7-*"], "exp": NOW + 3600}

Key = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


KEYS = {
    "EdDSA": pem(ed25519.Ed25519PrivateKey.generate()),
    "ES256": pem(ec.generate_private_key(ec.SECP256R1())),
    "RS256, 2048 bits": pem(rsa.generate_private_key(65537, 2048)),
    "RS256, 4096 bits": pem(rsa.generate_private_key(65537, 4096)),
    "HS256": b"0123456789abcdef" * 2,
}


async def cost(check: JwtAuthenticator, token: str) -> float:
    """Return the median time of a check, in microseconds."""
    times = []
    for _ in range(CHECKS):
        began = time.perf_counter()
        with suppress(Unauthorized):
            await check(token, "club-7-finals")
        times.append(time.perf_counter() - began)
    return median(times) * 1e6


def main() -> None:
    print("| key | good | forged | forged, 4,096 characters |")
    print("| --- | --- | --- | --- |")
    with TemporaryDirectory() as folder:
        for name, key in KEYS.items():
            file = Path(folder, name)
            file.write_bytes(key)
            file.chmod(0o600)
            check = JwtAuthenticator([file])
            good = mint(str(file), CLAIMS)
            large = mint(str(file), CLAIMS | {"pad": "x" * 2300})
            at = good.rindex(".") + 9
            forged = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :]
            large = large[:-20] + ("A" if large[-20] != "A" else "B") + large[-19:]
            shown = [trio.run(cost, check, one) for one in (good, forged, large)]
            print(f"| {name} | " + " | ".join(f"{one:.0f} us" for one in shown) + " |")


if __name__ == "__main__":
    main()
