"""The record of a run: what was asked, done and measured, in a file that can be checked offline.

Not a proof, as absence cannot be proved from weights: evidence that a stated procedure ran, and of what was measured.
"""

from expunge.attestation.verify import Check, verify
from expunge.attestation.write import ATTESTATION, EARLIER, NO_DETAILS, AttestationDetails, read_details, write_attestation

__all__ = ["ATTESTATION", "EARLIER", "NO_DETAILS", "AttestationDetails", "Check", "read_details", "verify", "write_attestation"]
