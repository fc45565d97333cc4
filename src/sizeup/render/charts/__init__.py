"""Pictures: Vega-Lite specifications of what the answers say. Nothing is computed here, and nothing drawn.

``model_charts(card)``, ``train_charts(answer)``, ``serve_charts(answer)`` and ``envelope_charts()`` return Charts;
:mod:`sizeup.render.picture` turns them into SVG, PNG or HTML.
"""

from sizeup.render.charts.chart import Chart
from sizeup.render.charts.envelope import envelope_charts
from sizeup.render.charts.model import model_charts
from sizeup.render.charts.serve import serve_charts
from sizeup.render.charts.train import train_charts

__all__ = ["Chart", "envelope_charts", "model_charts", "serve_charts", "train_charts"]
