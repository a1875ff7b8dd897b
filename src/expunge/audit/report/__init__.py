"""The audit's report: one self-contained HTML page, and the same numbers in the terminal."""

from expunge.audit.report.html import ReportData, Sample, write_report
from expunge.audit.report.of_run import write_run_report
from expunge.audit.report.rows import Interval, Summaries, headline
from expunge.audit.report.table import print_table

__all__ = ["Interval", "ReportData", "Sample", "Summaries", "headline", "print_table", "write_report", "write_run_report"]
