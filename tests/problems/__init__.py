"""Problems that are PyTorch functions in files."""
