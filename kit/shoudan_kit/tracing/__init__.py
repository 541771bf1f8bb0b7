"""Where a request is followed: its id and W3C trace, through processes, batches, tasks and events."""
