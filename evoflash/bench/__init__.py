"""Kernels timed beside the baselines, without a search."""
