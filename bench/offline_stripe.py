"""The simulated Stripe as a process of its own: its faults are set over HTTP, its requests counted in memory."""

import sys

from corkage.simulator import Simulator

if __name__ == "__main__":
    simulator = Simulator()
    print(simulator.url, flush=True)
    sys.stdout.flush()
    simulator.run()
