"""The one decision: what each service port means on this node, for all dataplanes. Pure and synchronous."""
