"""Check quickly whether the Hugging Face hub, or the mirror that `HF_ENDPOINT` names, is reachable; its libraries try for half a minute."""

import urllib.error
import urllib.request

from huggingface_hub import constants

TIMEOUT = 5.0


def is_reachable(path: str = "") -> bool:
    """Return whether the hub answers within `TIMEOUT` seconds; False in offline mode (`HF_HUB_OFFLINE`).

    Args:
        path: a file that the hub must have; empty: any answer counts.
    """
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{constants.ENDPOINT}/{path}", method="HEAD"), timeout=TIMEOUT):
            return True
    except urllib.error.HTTPError:
        return not path
    except (OSError, ValueError):
        # It cannot be reached, or `HF_ENDPOINT` is no address.
        return False
