"""Codecs that servers and clients share; bytes in, values out. No sockets, no clocks."""
