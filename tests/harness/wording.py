"""What an error must say: not its every letter, but the words that name the thing and the mend."""

from __future__ import annotations

import re


def words(*parts: str) -> str:
    """A pattern for `pytest.raises`: these parts, in this order, with anything between."""
    return "(?s)" + ".*".join(map(re.escape, parts))
