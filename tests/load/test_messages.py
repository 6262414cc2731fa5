"""The load test's messages: unknown fields do no harm."""

import math

from squire_gatherings._load.clients.messages import (
    DECODE,
    Conflict,
    Dispersed,
    Forward,
    Joined,
    Synced,
)

OP = '{"n":1,"a":2,"at":0.5,"pad":""}'


def test_fields_of_later_servers_are_ignored() -> None:
    joined = DECODE(
        b'{"type":"joined","gathering":"g","incarnation":"i","seq":1,"idle_timeout":2.5,'
        b'"expires_in":2.5,"max_ops":1000,"client":"c","ops":[%b],"by":[null],"epoch":"e","x":{}}'
        % OP.encode()
    )
    assert isinstance(joined, Joined)
    assert (joined.seq, joined.idle_timeout, len(joined.ops)) == (1, 2.5, 1)
    for kind, text in {
        Forward: f'{{"type":"forward","seq":1,"by":null,"op":{OP},"epoch":"e","x":1}}',
        Synced: f'{{"type":"synced","id":"1","seqs":[1],"ops":[{OP}],"epoch":"e","x":1}}',
        Conflict: '{"type":"conflict","id":"1","seq":1,"ops":[],"by":[],"message":"m","epoch":"e"}',
        Dispersed: '{"type":"dispersed","gathering":"g","incarnation":"i","reason":"idle",'
        '"seq":1,"idle_for":1.0,"x":1}',
    }.items():
        assert isinstance(DECODE(text.encode()), kind)


def test_a_gathering_may_have_no_end() -> None:
    joined = DECODE(
        b'{"type":"joined","incarnation":"i","seq":0,"idle_timeout":null,"expires_in":null}'
    )
    assert isinstance(joined, Joined)
    assert joined.idle_timeout == math.inf
