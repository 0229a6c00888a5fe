"""Locations as people and evidence may see them: without user, password, query and fragment."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit


def shown(location: str) -> str:
    """A location for messages and evidence: what may hold secrets is left out, whatever the scheme."""
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", location):
        return location
    url = urlsplit(location)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def without_secrets(text: str, location: str) -> str:
    """``text``, which a library wrote about ``location``, with every part that :func:`shown` leaves out replaced."""
    text = text.replace(location, shown(location))
    url = urlsplit(location)
    user = url.netloc.rpartition("@")[0]
    values = (pair.partition("=")[2] for pair in url.query.split("&"))
    secrets = {user, *user.split(":"), url.query, *values, url.fragment}
    for secret in sorted({*secrets, *map(unquote, secrets)}, key=len, reverse=True):
        # a secret of one or two letters cannot be told from the text around it
        if len(secret) > 2:
            text = text.replace(secret, "***")
    return text
