"""The composition root: commands, flags, tables on the screen. The only place that picks real or fake effects."""
