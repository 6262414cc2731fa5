"""Checks of what an embedding program hands in: as strict as the codecs are with what is sent."""

from datetime import datetime

from squire_gatherings._values.errors import BadRequest
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.ids import MAX_ID_LENGTH
from squire_gatherings._values.messages import (
    MAX_TOKEN_LENGTH,
    Ack,
    Fetch,
    Leave,
    PresenceUpdate,
    Proof,
    Refresh,
    Sync,
)
from squire_gatherings._values.op import Op
from squire_gatherings._values.text import check_text


def check_seq(seq: object, what: str) -> int:
    """Return what can be a seq. Raises `BadRequest`, which is a `ValueError`."""
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq < 2**63:
        raise BadRequest(f"{what} is a whole number from 0 on, not {seq!r:.80}")
    return seq


def check_id(text: object, what: str) -> str:
    """Return what can be the id of a message, a client or an incarnation. Raises `BadRequest`."""
    try:
        return check_text(text, what, MAX_ID_LENGTH)
    except ValueError as error:
        raise BadRequest(str(error)) from None


def check_epoch(epoch: object) -> None:
    """Raise `BadRequest` for what can't be an epoch; that of old ops is empty."""
    if epoch != "":
        check_id(epoch, "epoch")


def check_proof(proof: object) -> None:
    """Raise `BadRequest` for what can't be a proof."""
    if not isinstance(proof, Proof):
        raise BadRequest(f"what is known is a Proof, not {proof!r:.80}")
    check_seq(proof.seq, "the seq of a proof")
    check_id(proof.head, "the head of a proof")


def point_in_log(at: object) -> tuple[int | None, int | None]:
    """Return a seq, or an instant in milliseconds since 1970 (UTC).

    Raises:
        ValueError: It is neither a seq nor a `datetime` with a time zone, since 1970.
    """
    if not isinstance(at, datetime):
        return check_seq(at, "at"), None
    return None, instant(at, "at")


def instant(at: datetime, what: str) -> int:
    """Return an instant in milliseconds since 1970 (UTC).

    Raises:
        ValueError: It has no time zone, or is before 1970.
    """
    if at.tzinfo is None:
        raise ValueError(f"{what} is a datetime without a time zone")
    return check_seq(int(at.timestamp() * 1000), what)


def check_identity(identity: object) -> None:
    """Raise `TypeError` for what doesn't say who somebody is."""
    if not isinstance(identity, Identity):
        raise TypeError(f"who asks is an Identity, not {identity!r:.80}")


def check_message(message: object) -> None:
    """Raise `BadRequest` for what isn't a message that a client may send after its join."""
    match message:
        case Sync(sync_id, base, ops):
            check_id(sync_id, "a sync id")
            check_seq(base, "base")
            if not isinstance(ops, tuple) or not ops or not all(type(op) is Op for op in ops):
                raise BadRequest("the ops of a sync are a tuple of one Op or more")
            try:
                for op in ops:
                    op.check()
            except ValueError as error:
                raise BadRequest(str(error)) from None
        case Ack(seq):
            check_seq(seq, "seq")
        case Fetch(fetch_id):
            check_id(fetch_id, "a fetch id")
            for what in ("since", "at", "at_time"):
                value = getattr(message, what)
                if value is not None:
                    check_seq(value, what)
        case Refresh(refresh_id, token):
            check_id(refresh_id, "a refresh id")
            if not isinstance(token, str) or len(token) > MAX_TOKEN_LENGTH:
                raise BadRequest(f"a token is text of at most {MAX_TOKEN_LENGTH} characters")
        case PresenceUpdate(update_id, state):
            check_id(update_id, "the id of a presence")
            if type(state) is not Op:
                raise BadRequest("the state of a presence is an Op")
            try:
                state.check()
            except ValueError as error:
                raise BadRequest(str(error)) from None
        case Leave():
            pass
        case _:
            # Not what it holds: a `Join` has secrets.
            kind = type(message).__name__
            raise BadRequest(
                f"a message is Sync, Ack, Fetch, Refresh, PresenceUpdate or Leave, not {kind}"
            )
