"""Errors that a user can mend."""


class UserError(Exception):
    """One clear sentence: what is wrong and what to do. The command line shows it alone and exits with code 2."""
