"""Rules: what a client must do, and where the protocol says so; and those that hold always."""

from attrs import frozen

PAGE = "docs/protocol.md"
LONGEST = 500
"""How many characters are told of what a client did."""


@frozen
class Rule:
    """What a client must do, and where the protocol says so."""

    text: str
    anchor: str

    @property
    def link(self) -> str:
        """Where it stands."""
        return f"{PAGE}#{self.anchor}"


class Failed(Exception):
    """A client broke a rule; says what it did."""

    def __init__(self, rule: Rule, did: str) -> None:
        # What the client said may be in it.
        did = did if len(did) <= LONGEST else f"{did[:LONGEST]}…"
        self.did = "".join(one if one.isprintable() else "?" for one in did)
        self.rule = rule
        super().__init__(f"{rule.text} The client {self.did}. ({rule.link})")


LINES = Rule(
    "A client under test, and its adapter, live on and keep to the lines of docs/conformance.md.",
    "what-a-client-sends",
)
MESSAGES = Rule(
    "A client sends the messages of the protocol, and no others.", "what-a-client-sends"
)
FIRST = Rule("The first message of a connection is `join`, and only that.", "join")
CLIENT_ID = Rule(
    "A client joins with the same `client`, a secret of at least 16 characters, each time.", "join"
)
IN_THE_URL = Rule("A token never goes into the URL.", "join")
TOKENS = Rule("A client that has a token says it in each join.", "join")
SINCE = Rule(
    "`since` is the last seq that the client has, and `epoch` is the epoch of that op.", "epochs"
)
KNOWN = Rule("A client that asks for proofs says the last one again when it returns.", "proofs")
ACKS = Rule("`ack` says up to which seq the client has everything.", "ack")
SYNC_IDS = Rule("A sync keeps its id, whenever it is sent again.", "sync")
ONCE = Rule("A sync that was answered isn't sent again.", "after-a-lost-connection")
BASE = Rule("`base` is the last seq that the client had when it made the ops.", "sync")
EACH_ONCE = Rule("A client takes each op once, and in the order of the seqs.", "forward")
ANSWERS = Rule("Each sync has one outcome, and it is the server's answer.", "sync")
GOODBYE = Rule("A client that leaves says `leave`, or closes the WebSocket.", "leave")
