"""Reports for the user: tables of runs and candidates, and live progress."""
