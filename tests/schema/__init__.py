"""The field tables against other descriptions of the schema."""
