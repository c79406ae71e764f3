"""Every gate on one kernel or function."""
