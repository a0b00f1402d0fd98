"""The repairs of `fix-quantization`, by families; `engine` runs them and keeps only what helps."""
