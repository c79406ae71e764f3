"""Child processes, and the sandbox in which templates are rendered."""
