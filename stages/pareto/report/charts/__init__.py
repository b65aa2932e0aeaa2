"""Vega-Lite specifications of the page's charts, made with Altair: pure functions of numbers."""
