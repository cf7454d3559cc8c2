"""Corkage's commands, in a process in which any thread can be made to raise MemoryError: SIGUSR1 after its name was
written to the file that STRUCK names. A name with a * stands for all that begin so.
"""

import ctypes
import fnmatch
import os
import signal
import sys
import threading
from pathlib import Path

from corkage.cli import main

RAISE = ctypes.pythonapi.PyThreadState_SetAsyncExc


def strike(*_: object) -> None:
    """Raise it in each thread of that name, at its next step."""
    name = Path(os.environ["STRUCK"]).read_text()
    if name == threading.main_thread().name:
        raise MemoryError
    for thread in threading.enumerate():
        if fnmatch.fnmatch(thread.name, name) and thread is not threading.main_thread():
            RAISE(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(MemoryError))


signal.signal(signal.SIGUSR1, strike)
sys.exit(main())
