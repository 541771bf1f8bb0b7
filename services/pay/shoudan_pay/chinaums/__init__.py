"""ChinaUMS (003): refunds through it, queries of its cash desks, its notifies."""
