"""Starts cells quickly: imports everything once, then forks a process per life.

Reads lines of JSON from standard input: a cell's configuration, or the process id of a cell to be
reaped after it was killed. Answers the first with a line ``{"pid": ...}``; the cell itself writes
its ready line to standard output.
"""

import json
import os
import sys

from cell.config import CellConfig
from cell.main import run
from common.system.process import die_with_parent


def main():
    for line in sys.stdin:
        order = json.loads(line)
        if "reap" in order:
            os.waitpid(order["reap"], 0)
            print(json.dumps({"reaped": order["reap"]}), flush=True)
            continue
        parent_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            die_with_parent(parent_pid)
            os._exit(run(CellConfig.parse(order)))
        print(json.dumps({"pid": pid}), flush=True)


main()
