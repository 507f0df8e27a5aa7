"""Services as elements of a few nftables maps under a constant number of rules (docs/nftables.md)."""
