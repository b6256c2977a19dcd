"""`python -m silicast` and the command `silicast`."""

from __future__ import annotations


def main() -> None:
    """Runs the command line and exits with 0 (done), 2 (the caller's mistake) or 1 (ours)."""
    from .serving.cli import app

    app()


if __name__ == "__main__":
    main()
