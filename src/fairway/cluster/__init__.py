"""The embedded cluster, pure: which nodes, links, addresses and routes exist."""
