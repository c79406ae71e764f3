"""Why the meaning of a name or the value of an expression is not known."""


class UnknownError(Exception):
    """It does not follow from the text for certain."""


class UnusedError(Exception):
    """It depends on a parameter of a template for which no use has been found so far."""
