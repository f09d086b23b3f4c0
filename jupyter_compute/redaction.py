"""Which texts look like credentials, and texts without them.

What a log, a receipt or the panel shows may come from a user's code or from a library, and be
kept for weeks. A credential in it is replaced; the exception itself, and what code prints, reach
the notebook as they are.
"""

from __future__ import annotations

import re

__all__ = ["VALUES", "redacted"]

VALUES = (
    ("an AWS access key", r"(?:AKIA|ASIA)[A-Z0-9]{16}"),
    ("an AWS session token", r"(?:FQoG|FwoG|IQoJ)[A-Za-z0-9/+=]{100,}"),
    ("a Google API key", r"AIza[\w-]{35}"),
    ("a GitHub token", r"gh[oprsu]_[A-Za-z0-9]{30,}|github_pat_\w{22,}"),
    ("a GitLab token", r"glpat-[\w-]{20,}"),
    ("a Hugging Face token", r"hf_[A-Za-z0-9]{30,}"),
    ("an API key", r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    ("an API key", r"sk-(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{20,}"),
    ("a Slack token", r"xox[a-z]-[\w-]{10,}"),
    ("a PyPI token", r"pypi-[\w-]{50,}"),
    ("a JSON web token", r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*"),
)
"""Texts that are a credential from end to end."""

_INSTEAD = "[held back]"
_ASSIGNED = r"['\"]?\s*[=:]\s*['\"]?"
_PARTS = (
    # Groups 1 stay: they say what it was.
    r"(-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----)(?s:.*?)(?:-----END|\Z)",
    r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@]{0,200}:)[^\s/@]+(?=@)",
    r"(\b(?:Bearer|Basic) )[\w.~+/=-]{16,}",
    r"([?&](?:X-Amz-[A-Za-z-]+|X-Goog-Signature|sig)=)[\w%+/.-]{20,}",
    r"(\bAccountKey=)[A-Za-z0-9+/=]{40,}",
    rf"((?i:passphrase|passwd|password|pwd){_ASSIGNED})[^\s'\",;)]{{4,}}",
    rf"((?i:secret|token|[_-]key|apikey){_ASSIGNED})(?=\S{{0,99}}\d)(?=\S{{0,99}}[A-Za-z])[^\s'\",;)]{{16,}}",
    r"((?<![\w/+-]))(?:" + "|".join(pattern for _, pattern in VALUES) + r")(?![\w/+-])",
)
_ALL = [re.compile(part) for part in _PARTS]


def redacted(text: str) -> str:
    """Return the text with everything in it replaced that looks like a credential."""
    for part in _ALL:
        text = part.sub(rf"\1{_INSTEAD}", text)
    return text
