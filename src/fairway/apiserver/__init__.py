"""The Kubernetes API, pure: a request and a `Store` go in, a response or a stream comes out."""
