"""Where a run's bus is served: in processes of its own, in a thread, or in the caller's event loop."""
