"""The order service: catalogue, orders, bindings, refunds, notifies and audits."""
