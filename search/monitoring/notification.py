"""Messages to the user when a search ends, through one of the services that apprise knows.

An address of such a service often is the secret itself, so nothing that is shown or written holds more than its scheme.
"""

import re
import threading

from paredown.search.errors import ConfigError

LIMIT_S = 60.0
"""Seconds after which a service that does not answer is given up."""
SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://")
INSTALL = "pip install 'paredown[notify]'"
MIN_SECRET = 4
"""Minimum number of characters of a part of an address that is removed from what a service says."""


def is_url(text: str) -> bool:
    """Return whether a text is the address of a service, `scheme://...`, and no shell command."""
    return SCHEME.match(text) is not None


def shown_url(url: str) -> str:
    """Return an address as it may be shown."""
    scheme = SCHEME.match(url)
    return f"{scheme[1]}://***" if scheme else "***"


def check_url(url: str, where: str) -> None:
    """Refuse an address that nothing could be sent to.

    Args:
        url: The address.
        where: How messages name file and key.

    Raises:
        ConfigError: apprise is not installed, or does not know such an address.
    """
    try:
        import apprise
    except ImportError:
        raise ConfigError(f"{where}: {shown_url(url)} needs apprise; install it: {INSTALL}") from None
    with apprise.LogCapture(level=apprise.logging.CRITICAL, name="apprise"):
        if not apprise.Apprise().add(url.strip()):
            raise ConfigError(
                f"{where}: {shown_url(url)} is no address of a service that apprise knows; allowed: a shell command, "
                "or an address as https://github.com/caronc/apprise/wiki lists them"
            )


def send(url: str, title: str, text: str) -> str:
    """Send a message, and return why it was not sent; empty where it was."""
    answers: list[str] = []
    thread = threading.Thread(target=_send, args=(url.strip(), title, text, answers), daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    return answers[0] if answers else f"{shown_url(url)} did not answer within {LIMIT_S:g} s"


def _send(url: str, title: str, text: str, answers: list[str]) -> None:
    import apprise

    with apprise.LogCapture(level=apprise.logging.WARNING, fmt="%(message)s") as log:
        service, said = apprise.Apprise(), ""
        try:
            is_sent = service.add(url) and service.notify(text, title=title, body_format=apprise.NotifyFormat.TEXT)
        except Exception as error:  # a message that cannot be sent must not hide how the search ended
            is_sent, said = False, f"{type(error).__name__}: {error}"
        said = " ".join([*log.getvalue().split(), *said.split()])
    answers.append("" if is_sent else _without_secrets(f"{shown_url(url)}: {said or 'not sent'}", url))


def _without_secrets(text: str, url: str) -> str:
    rest = url.partition("://")[2]
    for part in sorted(re.split(r"[/:@?&=,+]", rest), key=len, reverse=True):
        if len(part) >= MIN_SECRET:
            text = text.replace(part, "***")
    return text
