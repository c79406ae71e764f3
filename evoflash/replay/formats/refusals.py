"""Why a file is refused. `reading` turns these into errors that name the file."""


class MisfitError(Exception):
    """The content does not match its format; the message says where."""


class NoRecordingError(Exception):
    """The file is valid JSON of another kind; the message says which."""


class NoObjectiveError(Exception):
    """The wanted objective is not in the file; the arguments are its name and the known names."""
