"""Events: written with the rows they describe, published to JetStream after the commit."""
