"""Check quickly whether the Hugging Face hub is reachable; its own libraries try for half a minute."""

import os
import urllib.error
import urllib.request

TIMEOUT = 5.0


def is_reachable(path: str = "") -> bool:
    """Return whether the hub answers within `TIMEOUT` seconds.

    Args:
        path: a file that the hub must have; empty: any answer counts.
    """
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(f"https://huggingface.co/{path}", method="HEAD"), timeout=TIMEOUT):
            return True
    except urllib.error.HTTPError:
        return not path
    except (urllib.error.URLError, TimeoutError):
        return False
