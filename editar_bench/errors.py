"""The one exception the command line turns into a sentence."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend. The message is one sentence: what is wrong, where, and what to do."""
