"""Networks of the papers, with exact shapes."""
