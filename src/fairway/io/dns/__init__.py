"""Sockets of the DNS: listeners for UDP, TCP and TLS, upstreams, and the fast path in C."""
