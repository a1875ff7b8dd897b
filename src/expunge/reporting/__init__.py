"""The audit's report: one self-contained HTML page, and the same numbers in the terminal."""

from expunge.reporting.build import write_run_report
from expunge.reporting.html import ReportData, Sample, write_report
from expunge.reporting.metric_rows import Interval, Summaries, headline
from expunge.reporting.table import print_table

__all__ = ["Interval", "ReportData", "Sample", "Summaries", "headline", "print_table", "write_report", "write_run_report"]
