"""Whether the Hugging Face hub can be asked: its libraries try for half a minute before they say no."""

import os
import urllib.error
import urllib.request

PATIENCE = 5.0


def is_reachable(path: str = "") -> bool:
    """Whether the hub answers within `PATIENCE` seconds.

    Args:
        path: of a file that it must have; none: any word from it will do.
    """
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(f"https://huggingface.co/{path}", method="HEAD"), timeout=PATIENCE):
            return True
    except urllib.error.HTTPError:
        return not path
    except (urllib.error.URLError, TimeoutError):
        return False
