"""HTTP servers: health, metrics, health check node ports."""
