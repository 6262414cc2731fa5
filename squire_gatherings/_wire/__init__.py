"""What server and client share of the wire: encodings, refusals, how `websockets` is used."""
