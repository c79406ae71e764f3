"""From a genome to a library: templates are rendered, sources are built and cached."""
