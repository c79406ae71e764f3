"""What a conformance suite expects."""


def expect(holds: bool, message: str) -> None:
    """Raises an AssertionError with a message where something does not hold, also under python -O."""
    if not holds:
        raise AssertionError(message)
