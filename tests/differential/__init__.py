"""Our reader against independent ones."""
