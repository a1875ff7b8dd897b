"""A Merkle tree hash over the forget rows (RFC 6962, section 2.1): one number that stands for all of them, in their order."""

import hashlib
from collections.abc import Sequence

# Leaves and nodes begin with different bytes, so that no pair of hashes can be passed off as a row.
LEAF, NODE = b"\x00", b"\x01"


def merkle_root(entries: Sequence[bytes]) -> bytes:
    """The root of the tree over entries, 32 bytes.

    Args:
        entries: what the leaves are of; of none the root is the hash of nothing.
    """
    if not entries:
        return hashlib.sha256().digest()
    if len(entries) == 1:
        return hashlib.sha256(LEAF + entries[0]).digest()
    # The largest power of two below the number of entries goes to the left.
    left = 1 << (len(entries) - 1).bit_length() - 1
    return hashlib.sha256(NODE + merkle_root(entries[:left]) + merkle_root(entries[left:])).digest()
