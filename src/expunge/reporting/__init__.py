"""The audit's report: report.html of a run, a comparison of runs, and the same numbers as tables in the terminal.

- build.py collects the content of a run's report from its folder; html.py renders it; comparison.py renders several runs.
- metric_rows.py and verdict_table.py order the numbers; table.py and gate_table.py print them.
- figures.py, attack_figures.py and svg.py draw; template.py fills the HTML templates; escape.py makes texts safe to show.
"""

from expunge.reporting.build import write_report
from expunge.reporting.html import ReportData, Sample, write_page
from expunge.reporting.metric_rows import Interval, Summaries, headline
from expunge.reporting.table import print_table

__all__ = ["Interval", "ReportData", "Sample", "Summaries", "headline", "print_table", "write_page", "write_report"]
