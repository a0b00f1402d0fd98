"""Quantization arithmetic and the rules of the operators. Nothing is imported here, so that the rules can be read without numpy."""
