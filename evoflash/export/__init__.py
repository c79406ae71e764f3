"""Export: a winner becomes a Python distribution that needs torch and ninja, not evoflash."""
