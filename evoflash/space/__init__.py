"""Search spaces: parameters, constraints, the valid genomes and the moves between them."""
