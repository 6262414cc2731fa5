"""Explaining: why a gathering is alive and when it ends, in sentences."""

from squire_gatherings._admin.api.end_shapes import Explanation, Here, Moved, Rules
from squire_gatherings._cli.operators.wording import count, instant, span, when
from squire_gatherings._cli.printing import printable
from squire_gatherings._cli.units import format_duration

_CALLS = ("open", "hold", "extend", "change_rules")


def end_of(said: Explanation) -> str:
    """Return in one sentence when a gathering ends, and by which rule."""
    if said.deadline is None:
        return f"{said.id} lives on: no rule ends it."
    begins = f"{said.id} lives until {when(said.deadline, said.now)}"
    if said.rule is None:
        return f"{begins}."
    rule = f"rule {_plain(said.rule)}"
    if said.held_until is not None:
        return f"{begins}: it is held until then, and {rule} ends it."
    return f"{begins}: {rule}{_in_words(said.rule, said.rules)}."


def explanation(said: Explanation) -> list[str]:
    """Return why a gathering is alive and when it ends, a sentence each."""
    lines = [end_of(said), _moved(said.moved, said.now)]
    # The rule that ends it comes first only where a hold has put its end off.
    is_held = said.held_until is not None
    ends = sorted(said.ends.items(), key=lambda one: (one[1], one[0]))
    for rule, at in ends:
        if rule != said.rule:
            lines.append(f"Rule {_plain(rule)} would end it at {when(at, said.now)}.")
        elif is_held:
            words = _in_words(rule, said.rules)
            lines.append(f"Without the hold, rule {_plain(rule)}{words} would end it at")
            lines[-1] += f" {when(at, said.now)}."
    hold = said.rules.hold_until
    if hold is not None and not is_held and hold > said.now:
        lines.append(f"It is held until {when(hold, said.now)}, which is before its end.")
    if said.warned:
        lines.append("Its clients have been told that it ends.")
    elif said.warns_at is not None:
        lines.append(f"Its clients are warned at {when(said.warns_at, said.now)}.")
    clients = count(said.clients, "client is", "clients are")
    opened, last = span(said.now - said.opened_at), span(said.now - said.last_processed_at)
    lines.append(f"{clients} connected; opened {opened} ago, last message {last} ago.")
    if said.here is not None and said.here.users + said.here.anonymous:
        lines.append(_here(said.here))
    return lines


def _here(here: Here) -> str:
    users = count(here.users, "user", "users") if here.users else ""
    nameless = count(here.anonymous, "connection", "connections") if here.anonymous else ""
    nameless += " of nobody known" if nameless else ""
    return f"Shown as being here: {' and '.join(filter(None, (users, nameless)))}."


def _moved(moved: Moved, now: float) -> str:
    ago = f"{span(max(0.0, now - moved.at))} ago"
    user = "" if moved.by is None else f" user {_plain(moved.by)}"
    who = f" ({_plain(moved.by)})" if moved.by else ""
    match moved.what:
        case "opened":
            return f"Nothing has moved that since it was opened, {ago}."
        case "left":
            return f"Last moved {ago}, when{user or ' a client'} had gone."
        case "returned":
            return f"Last moved {ago}, when{user or ' a client'} came back."
        case "behaviour":
            return f"Last moved {ago} by its behaviour."
        case what if what in _CALLS:
            return f"Last moved {ago} by an operator or the program: {what}{who}."
        case what:
            of = f" of{user}" if user else ""
            return f"Last moved {ago} by a message: {_plain(what)}{of}."


def _in_words(rule: str, rules: Rules) -> str:
    """Return what a rule waits for, after a comma; nothing for one that isn't known here."""
    alone = f"at most {count(rules.alone_clients, 'client', 'clients')} and no message"
    times = {
        "idle": ("no message", rules.idle_timeout),
        "empty": ("nobody connected", rules.empty_timeout),
        "unjoined": ("joined by nobody", rules.unjoined_timeout),
        "alone": (alone, rules.alone_timeout),
        "max_age": ("open", rules.max_age),
    }
    if rule == "ends_at" and rules.ends_at is not None:
        return f", which is set to {instant(rules.ends_at)}"
    words, seconds = times.get(rule, ("", None))
    return "" if seconds is None else f", {words} for {format_duration(seconds)}"


def _plain(text: str) -> str:
    """Return what others chose, as it may be shown on a terminal."""
    return printable(text)[1:-1]
