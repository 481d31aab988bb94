"""`python -m perpixel`, and the command `perpixel`: Ctrl-C while the command line is imported is told as later."""

import sys


def main() -> None:
    try:
        from perpixel.cli import main as run
    except KeyboardInterrupt:
        print("perpixel: stopped; the same command continues.", file=sys.stderr)
        raise SystemExit(75) from None
    run()


if __name__ == "__main__":
    main()
