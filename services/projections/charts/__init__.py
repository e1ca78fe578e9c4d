"""Charts: pure definitions (Vega-Lite) from the answers of the query routes, and the process that draws them."""
