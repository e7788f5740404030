"""How jobs meet the world: settings, tables, functions with side effects, releases."""


class Refusal(Exception):  # noqa: N818 - it refuses; nothing went wrong in the program
    """Something outside does not fit, said in one line that names where and what to do.

    The command line prints it as it stands, without a traceback.
    """
