"""ChinaUMS (003): refunds given back through it, cash desks that ask, its notifies."""
