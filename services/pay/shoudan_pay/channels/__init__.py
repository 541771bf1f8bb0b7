"""Outside protocols: per module two pure transforms, a status map, one send."""
