"""Wait until the process of some tests has ended, in whatever way, then end the servers that it left in its folders.

Each line of the input names a folder. It ends with that process: the other end of the pipe is nobody else's.
"""

import shutil
import sys
from contextlib import suppress
from pathlib import Path

import psutil

left = [folder for folder in map(Path, sys.stdin.read().splitlines()) if folder.exists()]
for process in psutil.process_iter() if left else ():
    with suppress(psutil.Error, OSError):
        if any(Path(process.cwd()).is_relative_to(folder) for folder in left):
            process.kill()
for folder in left:
    shutil.rmtree(folder, ignore_errors=True)
