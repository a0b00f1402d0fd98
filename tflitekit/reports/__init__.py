"""Reports: facts about a model as plain data, and their rendering for a terminal, a pipe, or as JSON."""
