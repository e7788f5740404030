"""What crosses a boundary: records, topics, the Redis value, settings, and what is derived from them."""
