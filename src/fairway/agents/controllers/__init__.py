"""The loops that run the controllers: queues, one key at a time, writes, retries. What to write is `controllers/`."""
