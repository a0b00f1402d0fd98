"""What becomes of files when calls fail, processes are killed, and the power goes."""
