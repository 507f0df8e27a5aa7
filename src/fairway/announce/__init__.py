"""Which addresses of Services are reached by way of which nodes: pure. How a route is written is not known here."""
