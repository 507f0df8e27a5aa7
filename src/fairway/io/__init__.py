"""Every effect, by subject. Agents get what they need handed in and never import from here."""
