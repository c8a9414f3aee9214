"""One exact rewrite per file; see the package's ``pipeline`` for the order they run in."""
