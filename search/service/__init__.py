"""The service: studies that are submitted over HTTP, wait in a queue, and run in processes of workers."""
