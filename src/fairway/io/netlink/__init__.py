"""Kernel writers and readers over netlink: nftables, conntrack, links and addresses."""
