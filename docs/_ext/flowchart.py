"""Draw ```mermaid flowcharts as SVG while the pages are built, so that they need no script and no network.

GitHub draws the same blocks with Mermaid itself.
"""

from typing import Any

from docutils import nodes
from flowchart_svg import svg
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive that MyST makes of a mermaid block (`myst_fence_as_directive`)."""
    app.add_directive("mermaid", Flowchart)
    return {"parallel_read_safe": True}


class Flowchart(SphinxDirective):
    """A flowchart in Mermaid's language."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the drawing for HTML."""
        return [nodes.raw("", svg(list(self.content)), format="html")]
