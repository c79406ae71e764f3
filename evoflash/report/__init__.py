"""What a person sees: tables of runs and candidates, live progress."""
