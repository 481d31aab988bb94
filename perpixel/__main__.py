"""`perpixel` and `python -m perpixel`: the command line, which may be interrupted from its first moment on."""

import sys


def main() -> None:
    """Runs the command line of this process."""
    try:
        from perpixel.cli import main as run

        run()
    except KeyboardInterrupt:  # while modules were loaded
        sys.stderr.write("perpixel: stopped.\n")
        raise SystemExit(75) from None


if __name__ == "__main__":
    main()
