"""`python -m tflitekit`."""

from .cli.main import command

if __name__ == "__main__":
    raise SystemExit(command())
