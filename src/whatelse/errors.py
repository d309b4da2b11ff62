"""Errors that a user can mend, told apart from bugs."""


class UserError(Exception):
    """Bad input: one line that names the file, field, value and allowed range.

    The command line prints it after ``error:`` and exits with code 2; anything
    else that escapes is a bug and keeps its traceback.
    """
