"""Child processes, and the sandbox that templates are rendered in."""
