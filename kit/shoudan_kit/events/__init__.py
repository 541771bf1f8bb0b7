"""Events: written with the rows they tell of, published to JetStream after the commit."""
