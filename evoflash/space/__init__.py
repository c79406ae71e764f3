"""Search spaces: parameters, constraints, valid genomes, and moves between them."""
