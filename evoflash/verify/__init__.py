"""Verification: every correctness gate on one kernel or function."""
