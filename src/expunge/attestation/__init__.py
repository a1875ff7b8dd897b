"""The record of a run: what was asked, done and measured, in a file that can be checked offline.

Not a proof, as absence cannot be proved from weights: evidence that a stated procedure ran, and of what was measured.
"""

from expunge.attestation.verify import Check, verify
from expunge.attestation.write import NOTHING_MORE, RECORD, RECORDS, Filing, read_filing, write_record

__all__ = ["NOTHING_MORE", "RECORD", "RECORDS", "Check", "Filing", "read_filing", "verify", "write_record"]
