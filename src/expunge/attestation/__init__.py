"""The attestation: a signed document of what an audit's run did and measured, which anybody can check offline.

It is evidence that a stated procedure ran, not a proof: absence cannot be proved from weights.

- write.py writes it; details.py reads what the user adds; facts*.py collect its fields; schema*.py define them.
- verify.py checks it; check_data.py and check_files.py recompute its hashes.
- canonical.py, hashes.py, merkle.py and signature.py define what is hashed and signed, and how.
"""

from expunge.attestation.checks import Check
from expunge.attestation.details import NO_DETAILS, AttestationDetails, read_details
from expunge.attestation.verify import verify
from expunge.attestation.write import ATTESTATION, EARLIER, check_chain, write_attestation

__all__ = [
    "ATTESTATION",
    "EARLIER",
    "NO_DETAILS",
    "AttestationDetails",
    "Check",
    "check_chain",
    "read_details",
    "verify",
    "write_attestation",
]
