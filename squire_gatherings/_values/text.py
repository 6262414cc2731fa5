"""Text: what may stand in an id or a name, wherever it comes from."""


def check_text(text: object, what: str, longest: int) -> str:
    """Return `text` if it has 1 to `longest` characters that UTF-8 can say.

    Args:
        text: What is checked.
        what: What it is to be, for the error.
        longest: How many characters it may have.

    Raises:
        ValueError: It isn't such a text.
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
    """Return `text` as it can go into a message: encodable, with at most `longest` characters."""
    return str(text)[:longest].encode(errors="replace").decode()
