"""The exceptions that the command line turns into a sentence."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend. The message is one sentence: what is wrong, where, and what to do."""


def missing_package(what: str, error: ModuleNotFoundError) -> str:
    """The sentence for a package that is not installed; `what` is what needs it."""
    package = str(error.name).partition(".")[0]
    return (
        f"{what} needs the package '{package}', which is not installed; run `pip install {package}`"
    )


class BadSettings(UserError):
    """A model's name asks for settings that it does not have or refuses: a slip of the pen, so nothing is run."""


class MissingWeights(UserError):
    """Weights are not there at all: a run that did not ask for this model leaves it out and says so."""
