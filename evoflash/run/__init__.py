"""What a search is made of: its plan, its tasks, the pipeline of candidates, the finals."""
