"""What everything else speaks of: genomes, candidates, their evaluations, and how times are compared."""
