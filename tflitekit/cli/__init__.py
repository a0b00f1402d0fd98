"""The command line. Nothing here imports numpy, the graph or the codec before a command runs."""
