"""Turn the text that a command printed into an SVG picture of a terminal.

expunge demo > demo.txt
python docs/images/terminal.py demo.txt docs/images/demo.svg --title "expunge demo" --last 45
"""

import argparse
import io
import re
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 112
"""Characters of a line; longer ones are wrapped."""


def main() -> None:
    """Read the text, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("svg", type=Path)
    parser.add_argument("--title", default="expunge")
    parser.add_argument("--last", type=int, help="show the last so many lines")
    args = parser.parse_args()
    lines = args.text.read_text(encoding="utf-8").rstrip().split("\n")[-(args.last or 0) :]
    console = Console(record=True, width=min(max(map(len, lines)), WIDTH), file=io.StringIO())
    for line in lines:
        console.print(Text(line, style="bold" if line.startswith(("set ", "Two questions", "Answers", "Forgot")) else ""))
    # Without its fonts, which are links, the picture loads nothing from elsewhere.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=args.title), flags=re.DOTALL)
    args.svg.write_text(svg + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
