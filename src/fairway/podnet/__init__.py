"""The pod network on a node: pure. How a link or a rule is made is not known here."""
