"""The one exception for what a user can mend."""


class UserError(Exception):
    """Wrong input, told in one line. The scripts print it on stderr and exit with code 2; the rest is a bug."""
