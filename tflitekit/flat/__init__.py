"""The wire format: verify, read, write, patch. The only package that knows bytes."""
