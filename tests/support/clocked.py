"""Corkage's commands, for a process in which libfaketime sets the clock."""

import sys
import threading
import time

from corkage.cli import main


def sleep(seconds: float) -> None:
    """Sleep as Python does, by another call of the system: under libfaketime 0.9.10 that of time.sleep fails."""
    threading.Event().wait(seconds)


time.sleep = sleep
sys.exit(main())
