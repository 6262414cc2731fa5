"""Text: what may stand in an id or a name, wherever it comes from."""


def check_text(text: object, what: str, longest: int) -> str:
    """Return `text` if it is 1 to `longest` characters that UTF-8 can say.

    Raises `ValueError` if not; `what` says there what it was to be.
    """
    if not isinstance(text, str):
        raise ValueError(f"{what} is text, not {type(text).__name__}")
    if not 1 <= len(text) <= longest:
        raise ValueError(f"{what} has 1 to {longest} characters, not {len(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} can't contain a lone surrogate") from None
    return text


def sayable(text: object, longest: int = 1000) -> str:
    """Return a text that can go into a message, whatever it was: encodable, and not too long."""
    return str(text)[:longest].encode(errors="replace").decode()
