"""`python -m perpixel`, and the command `perpixel`: how the process ends where it was stopped."""

import os
import sys
from contextlib import suppress

STOPPED = 75  # the exit code of `errors.Interrupted`


def main() -> None:
    try:
        from perpixel.cli import main as run

        run()
    except KeyboardInterrupt:  # while the command line is imported; later it tells so itself
        sys.stderr.write("perpixel: stopped; the same command continues.\n")
    except SystemExit as left:
        if left.code != STOPPED:
            raise
    else:
        return
    # Waits for no thread; and Python would end by the signal where it was inside eval, whatever code it is told.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(STOPPED)


if __name__ == "__main__":
    main()
