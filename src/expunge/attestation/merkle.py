"""Merkle tree hash (RFC 6962, section 2.1): one hash that stands for all forget records, in their order."""

import hashlib
from collections.abc import Sequence

# Leaves and nodes start with different bytes, so that a pair of hashes cannot pass for a record.
LEAF, NODE = b"\x00", b"\x01"


def merkle_root(entries: Sequence[bytes]) -> bytes:
    """Return the root of the tree over entries, 32 bytes. Without entries it is the hash of no bytes."""
    if not entries:
        return hashlib.sha256().digest()
    if len(entries) == 1:
        return hashlib.sha256(LEAF + entries[0]).digest()
    # The size of the left part is the largest power of two below the number of entries.
    left = 1 << (len(entries) - 1).bit_length() - 1
    return hashlib.sha256(NODE + merkle_root(entries[:left]) + merkle_root(entries[left:])).digest()
