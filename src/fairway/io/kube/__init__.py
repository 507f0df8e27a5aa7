"""API transport: kubeconfig, credentials, HTTP, list and watch streams."""
