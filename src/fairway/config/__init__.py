"""Configuration text to frozen settings, with every error named."""
