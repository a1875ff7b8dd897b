"""Whether this process is one of several that a launcher started."""

import os


def is_launched() -> bool:
    """Return whether a launcher such as `accelerate launch` started several processes, of which this is one."""
    # Some clusters set the number of processes for programs that they start once.
    return "LOCAL_RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"
