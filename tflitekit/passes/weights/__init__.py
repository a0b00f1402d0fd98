"""How `requantize-weights` works: choices, the constants of a model, what is legal for each, new data, and putting it into the graph."""
